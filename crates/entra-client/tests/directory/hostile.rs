//! Answers that no Graph gives: each is refused, none of it is repeated, nothing panics.

use std::sync::atomic::AtomicBool;

use entra_api::{DirectoryError, ErrorKind};
use entra_client::Directory;
use entra_token::PrincipalKind::{Group, Service, User};
use uuid::Uuid;

use crate::emulator::soon;
use crate::rig::{SENTINEL, directory, graph};
use crate::server::Reply;

const ID: Uuid = Uuid::from_u128(0x1d000000_0000_4000_8000_000000000001);
const OTHER: Uuid = Uuid::from_u128(0x1d000000_0000_4000_8000_000000000002);

/// Asks everything there is to ask, by name.
fn everything(directory: &Directory) -> Vec<(&'static str, Result<(), DirectoryError>)> {
    let stop = AtomicBool::new(false);
    vec![
        (
            "find_by_name",
            directory.find_by_name("name", soon()).map(drop),
        ),
        (
            "find_by_object_id",
            directory.find_by_object_id(ID, soon()).map(drop),
        ),
        (
            "find_by_app_id",
            directory.find_by_app_id(ID, soon()).map(drop),
        ),
        (
            "is_member",
            directory.is_member(User, ID, OTHER, soon()).map(drop),
        ),
        (
            "is_member",
            directory.is_member(Service, ID, OTHER, soon()).map(drop),
        ),
        (
            "is_member",
            directory.is_member(Group, ID, OTHER, soon()).map(drop),
        ),
        ("members", directory.members(ID, &stop, &mut |_| true)),
        ("probe", directory.probe(soon())),
    ]
}

#[test]
fn what_graph_never_sends_is_refused() {
    let nested = "[".repeat(10_000);
    for body in [
        String::new(),
        SENTINEL.to_owned(),
        format!("<html>{SENTINEL}</html>"),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        format!(r#"{{"value":"{SENTINEL}"}}"#),
        format!(r#"{{"value":["{SENTINEL}", 1]}}"#),
        r#"{"value":[{}]}"#.to_owned(),
        r#"{"value":[{"id":1}]}"#.to_owned(),
        format!(r#"{{"value":[{{"id":"{ID}""#),
        format!(r#"{{"value":[{{"id":"{ID}"}}],"value":[]}}"#),
        nested.clone(),
        format!(r#"{{"value":{nested}"#),
        "\u{feff}{\"value\":[]}".to_owned(),
        format!("{{\"value\":[]}} {SENTINEL}"),
    ] {
        let shown: String = body.chars().take(60).collect();
        let server = graph(move |_| Reply::json(body.clone()));
        for (question, outcome) in everything(&directory(&server)) {
            let error = outcome.expect_err(question);
            assert_eq!(
                error.kind,
                ErrorKind::BadAnswer,
                "{question}, {shown}: {error}"
            );
            assert!(!error.message.contains(SENTINEL), "{question}: {error}");
        }
    }
}

#[test]
fn what_was_not_asked_for_does_no_harm() {
    let nested = "[".repeat(10_000) + &"]".repeat(10_000);
    let server = graph(move |_| Reply::json(format!(r#"{{"unknown":{nested},"value":[]}}"#)));
    let directory = directory(&server);
    let error = directory.find_by_name("name", soon()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    directory.probe(soon()).unwrap();
}

#[test]
fn bodies_without_end_are_refused() {
    let server = graph(|_| Reply::Endless);
    for (question, outcome) in everything(&directory(&server)) {
        let error = outcome.expect_err(question);
        assert_eq!(error.kind, ErrorKind::BadAnswer, "{question}: {error}");
        assert!(error.message.contains("larger than"), "{error}");
    }
}

#[test]
fn a_foreign_not_found_is_not_the_directorys() {
    for body in [
        "<html>not found</html>",
        r#"{"error":{"code":"BadRequest"}}"#,
        r#"{"error":{"code":"Request_ResourceNotFound s3nt1nel"}}"#,
    ] {
        let server = graph(|_| Reply::Answer(404, &[], body.to_owned()));
        for (question, outcome) in everything(&directory(&server)) {
            let error = outcome.expect_err(question);
            assert_eq!(error.kind, ErrorKind::BadAnswer, "{question}: {error}");
            assert!(!error.message.contains(SENTINEL), "{error}");
        }
    }
}

#[test]
fn objects_that_do_not_fit_are_refused() {
    let good = format!(
        r#""userPrincipalName":"name","displayName":"name","accountEnabled":true,"appId":"{ID}""#
    );
    let long = "x".repeat(1025);
    for (object, kind) in [
        (format!(r#"{{"id":"x",{good}}}"#), ErrorKind::BadAnswer),
        (
            format!(r#"{{"id":"{}",{good}}}"#, Uuid::nil()),
            ErrorKind::BadAnswer,
        ),
        (
            format!(r#"{{"id":"{{{ID}}}",{good}}}"#),
            ErrorKind::BadAnswer,
        ),
        (
            format!(r#"{{"id":"{ID}","id":"{ID}",{good}}}"#),
            ErrorKind::BadAnswer,
        ),
        (
            format!(r#"{{"id":"{ID}",{}}}"#, good.replace("true", r#""yes""#)),
            ErrorKind::BadAnswer,
        ),
        (
            format!(
                r#"{{"id":"{ID}",{}}}"#,
                good.replace(&ID.to_string(), "s3nt1nel")
            ),
            ErrorKind::BadAnswer,
        ),
        (
            format!(
                r#"{{"id":"{ID}",{}}}"#,
                good.replace("name\"", &format!("{long}\""))
            ),
            ErrorKind::BadAnswer,
        ),
        (
            format!(r#"{{"id":"{ID}","userPrincipalName":null,"displayName":null}}"#),
            ErrorKind::PermissionMissing,
        ),
    ] {
        let sent = object.clone();
        let server = graph(move |asked| {
            // One object where one is asked for, else a list of it.
            let is_single = asked.path.contains(&format!("/{ID}?"));
            Reply::json(match is_single {
                true => sent.clone(),
                false => format!(r#"{{"value":[{sent}]}}"#),
            })
        });
        let directory = directory(&server);
        for outcome in [
            directory.find_by_name("name", soon()).map(drop),
            directory.find_by_object_id(ID, soon()).map(drop),
            directory.find_by_app_id(ID, soon()).map(drop),
            directory.probe(soon()),
        ] {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind, kind, "{object}: {error}");
            assert!(!error.message.contains(SENTINEL), "{error}");
        }
    }
}

#[test]
fn an_answer_about_somebody_else_is_refused() {
    let object = |id: Uuid, app_id: Uuid, name: &str| {
        format!(
            r#"{{"id":"{id}","userPrincipalName":"{name}","displayName":"{name}","accountEnabled":true,"appId":"{app_id}"}}"#
        )
    };
    let other_name = object(ID, ID, "other");
    let server = graph(move |asked| match asked.path.starts_with("/v1.0/groups") {
        true => Reply::json(format!(r#"{{"value":[{other_name}]}}"#)),
        false => Reply::json(r#"{"value":[]}"#),
    });
    let error = directory(&server).find_by_name("name", soon()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadAnswer, "{error}");

    for (answer, is_good) in [(object(ID, ID, "x"), true), (object(OTHER, ID, "x"), false)] {
        let server = graph(move |asked| match asked.path.starts_with("/v1.0/groups") {
            true => Reply::json(answer.clone()),
            false => {
                let body = r#"{"error":{"code":"Request_ResourceNotFound"}}"#;
                Reply::Answer(404, &[], body.to_owned())
            }
        });
        match directory(&server).find_by_object_id(ID, soon()) {
            Ok(found) => assert!(is_good && found.object_id == ID),
            Err(error) => assert!(!is_good && error.kind == ErrorKind::BadAnswer, "{error}"),
        }
    }
    // The same object id for two kinds.
    let both = object(ID, ID, "x");
    let server = graph(move |_| Reply::json(both.clone()));
    let error = directory(&server)
        .find_by_object_id(ID, soon())
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadAnswer);

    for (answer, is_good) in [
        (object(OTHER, ID, "x"), true),
        (object(OTHER, OTHER, "x"), false),
        (
            object(OTHER, ID, "x") + "," + &object(OTHER, ID, "x"),
            false,
        ),
        (
            object(OTHER, ID, "x").replace(&format!(r#","appId":"{ID}""#), ""),
            false,
        ),
    ] {
        let server = graph(move |_| Reply::json(format!(r#"{{"value":[{answer}]}}"#)));
        match directory(&server).find_by_app_id(ID, soon()) {
            Ok(found) => assert!(is_good && found.object_id == OTHER),
            Err(error) => assert!(!is_good && error.kind == ErrorKind::BadAnswer, "{error}"),
        }
    }
}

#[test]
fn a_membership_is_of_the_group_that_was_asked_about() {
    let lists = [
        (format!(r#"["{OTHER}"]"#), Some(true)),
        (
            format!(r#"["{}"]"#, OTHER.to_string().to_uppercase()),
            Some(true),
        ),
        ("[]".to_owned(), Some(false)),
        (format!(r#"["{ID}"]"#), None),
        (format!(r#"["{OTHER}","{ID}"]"#), None),
        (format!(r#"["{{{OTHER}}}"]"#), None),
        (r#"["s3nt1nel"]"#.to_owned(), None),
        ("[null]".to_owned(), None),
        (format!(r#""{OTHER}""#), None),
    ];
    for (list, expected) in lists {
        let server = graph({
            let list = list.clone();
            move |_| Reply::json(format!(r#"{{"value":{list}}}"#))
        });
        match directory(&server).is_member(User, ID, OTHER, soon()) {
            Ok(answer) => assert_eq!(Some(answer), expected, "{list}"),
            Err(error) => {
                assert!(
                    expected.is_none() && error.kind == ErrorKind::BadAnswer,
                    "{list}: {error}"
                );
                assert!(!error.message.contains(SENTINEL), "{error}");
            }
        }
        let asked = server.asked_at("/v1.0/");
        assert_eq!(asked[0].path, format!("/v1.0/users/{ID}/checkMemberGroups"));
        assert_eq!(asked[0].body, format!(r#"{{"groupIds":["{OTHER}"]}}"#));
    }
}
