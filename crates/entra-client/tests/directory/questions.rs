//! Who is who, and who is in which group: the emulator's answers.

use entra_api::{CredentialSource, ErrorKind, Principal};
use entra_client::Directory;
use entra_token::PrincipalKind::{self, Group, Service, User};
use serde_json::json;
use uuid::Uuid;

use crate::emulator::{Emulator, soon};
use crate::rig::{directory, graph};
use crate::server::Reply;

pub const ALICE: Uuid = Uuid::from_u128(0xa11ce000_0000_4000_8000_000000000001);
pub const BOB: Uuid = Uuid::from_u128(0xb0b00000_0000_4000_8000_000000000002);
pub const CAROL: Uuid = Uuid::from_u128(0xca401000_0000_4000_8000_000000000003);
pub const MALLORY: Uuid = Uuid::from_u128(0x3a110000_0000_4000_8000_000000000004);
pub const DAVE: Uuid = Uuid::from_u128(0xda7e0000_0000_4000_8000_000000000005);
pub const DBA: Uuid = Uuid::from_u128(0xdba00000_0000_4000_8000_000000000010);
pub const ANALYSTS: Uuid = Uuid::from_u128(0xa4a10000_0000_4000_8000_000000000011);
pub const LOOP_A: Uuid = Uuid::from_u128(0x1009a000_0000_4000_8000_000000000012);
pub const LOOP_B: Uuid = Uuid::from_u128(0x1009b000_0000_4000_8000_000000000013);
pub const REPORTING: Uuid = Uuid::from_u128(0x4e904700_0000_4000_8000_000000000021);
const REPORTING_APP: Uuid = Uuid::from_u128(0x4e904700_0000_4000_8000_000000000020);
const MACHINE: Uuid = Uuid::from_u128(0x0a7b0000_0000_4000_8000_000000000031);
const MACHINE_APP: Uuid = Uuid::from_u128(0x0a7b0000_0000_4000_8000_000000000030);
const NOBODY: Uuid = Uuid::from_u128(0x0b0d1000_0000_4000_8000_000000000099);
const GUEST: &str = "bob_fabrikam.com#EXT#@contoso.onmicrosoft.com";

fn principal(kind: PrincipalKind, object_id: Uuid, name: &str) -> Principal {
    Principal {
        kind,
        object_id,
        name: name.to_owned(),
        app_id: None,
        enabled: true,
    }
}

fn service(object_id: Uuid, app_id: Uuid, name: &str) -> Principal {
    Principal {
        app_id: Some(app_id),
        ..principal(Service, object_id, name)
    }
}

/// Everybody of a kind of their own.
fn everybody() -> Vec<Principal> {
    vec![
        principal(User, ALICE, "alice@contoso.com"),
        principal(User, BOB, GUEST),
        Principal {
            enabled: false,
            ..principal(User, DAVE, "dave@contoso.com")
        },
        principal(Group, DBA, "dba"),
        service(REPORTING, REPORTING_APP, "reporting"),
        service(MACHINE, MACHINE_APP, "vm-app"),
    ]
}

#[test]
fn every_kind_is_found_by_name() {
    let emulator = Emulator::start();
    let directory = emulator.directory();
    for expected in everybody() {
        let found = directory.find_by_name(&expected.name, soon()).unwrap();
        assert_eq!(found, expected);
        let shouted = expected.name.to_uppercase();
        assert_eq!(directory.find_by_name(&shouted, soon()).unwrap(), expected);
    }
    // Three questions each, of one token.
    assert_eq!(emulator.requests("graph"), 36);
    assert_eq!(emulator.requests("token"), 1);
}

#[test]
fn every_kind_is_found_by_object_id() {
    let emulator = Emulator::start();
    let directory = emulator.directory();
    for expected in everybody() {
        let found = directory
            .find_by_object_id(expected.object_id, soon())
            .unwrap();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_service_principal_is_found_by_its_application() {
    let emulator = Emulator::start();
    let directory = emulator.directory();
    for expected in everybody() {
        let Some(app_id) = expected.app_id else {
            continue;
        };
        assert_eq!(directory.find_by_app_id(app_id, soon()).unwrap(), expected);
    }
    // The object id is not the application's.
    let error = directory.find_by_app_id(REPORTING, soon()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.message.contains(&REPORTING.to_string()), "{error}");
}

#[test]
fn a_name_with_anything_in_it_is_found() {
    let group = |number: u32, name: &str| {
        let oid = Uuid::from_u128(0x9000_0000_0000_4000_8000_0000_0000_0000 + u128::from(number));
        (
            oid,
            format!("[[tenant.group]]\nname = '''{name}'''\noid = \"{oid}\"\n"),
        )
    };
    let names = [
        "O'Brien's & Söhne",
        "a+b c%20d#e?f=g&h/i\\j\"k",
        "'",
        "x' or displayName eq 'dba",
        "日本語のグループ",
    ];
    let groups: Vec<_> = names
        .iter()
        .zip(1..)
        .map(|(name, number)| group(number, name))
        .collect();
    let more: String = groups.iter().map(|(_, text)| text.as_str()).collect();
    let emulator = Emulator::with_more(&more);
    let directory = emulator.directory();
    for (name, (oid, _)) in names.iter().zip(&groups) {
        assert_eq!(
            directory.find_by_name(name, soon()).unwrap(),
            principal(Group, *oid, name)
        );
    }
}

#[test]
fn nobody_is_found_where_there_is_nobody() {
    let emulator = Emulator::start();
    let directory = emulator.directory();
    for name in [
        "nobody@contoso.com",
        "alice",
        "x' or displayName eq 'dba",
        // An object id is no name.
        "a11ce000-0000-4000-8000-000000000001",
    ] {
        let error = directory.find_by_name(name, soon()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{name}: {error}");
        assert!(error.message.contains(&format!("{name:?}")), "{error}");
    }
    let asked = emulator.requests("graph");
    for name in ["", "two\nlines", "nul\0", &"x".repeat(1025)] {
        let error = directory.find_by_name(name, soon()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{name}: {error}");
        assert!(error.message.len() <= 200 && !error.message.contains(['\n', '\0']));
    }
    assert_eq!(emulator.requests("graph"), asked);
    let error = directory.find_by_object_id(NOBODY, soon()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.message.contains(&NOBODY.to_string()), "{error}");
}

#[test]
fn a_name_of_several_is_ambiguous() {
    let emulator = Emulator::start();
    let error = emulator
        .directory()
        .find_by_name("twins", soon())
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Ambiguous);
    assert_eq!(
        error.message,
        "the name \"twins\" is ambiguous: group 7e145000-0000-4000-8000-000000000014, \
         service 7e145000-0000-4000-8000-000000000081"
    );

    let group = |number: u32| {
        format!(
            "[[tenant.group]]\nname = \"many\"\noid = \"9a40{number:04}-0000-4000-8000-000000000000\"\n"
        )
    };
    for (count, more) in [(5, ""), (6, " and 1 more"), (7, " and 2 more")] {
        let emulator = Emulator::with_more(&(1..=count).map(group).collect::<String>());
        let error = emulator
            .directory()
            .find_by_name("many", soon())
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Ambiguous);
        assert_eq!(error.message.matches("group ").count(), 5);
        assert!(
            error.message.ends_with(&format!("-000000000000{more}")),
            "{error}"
        );
    }

    // There are more than were fetched, and that one name is long.
    let name = "x".repeat(256);
    let answer = json!({
        "value": (1..=50).map(|number| json!({
            "id": Uuid::from_u128(number), "displayName": name, "appId": Uuid::from_u128(number),
        })).collect::<Vec<_>>(),
        "@odata.nextLink": "https://anywhere",
    });
    let server = graph(move |asked| match asked.path.starts_with("/v1.0/groups?") {
        true => Reply::json(answer.to_string()),
        false => Reply::json(r#"{"value":[]}"#),
    });
    let error = directory(&server)
        .find_by_name(&"x".repeat(256), soon())
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Ambiguous);
    assert!(
        error.message.ends_with("000005 and more than 45 more"),
        "{error}"
    );
}

/// Who else has the name may be on the next page, which is not asked for.
#[test]
fn a_match_on_half_a_list_is_none() {
    for value in [
        json!([]),
        json!([{"id": Uuid::from_u128(1), "displayName": "batch", "appId": Uuid::from_u128(2)}]),
    ] {
        let answer = json!({"value": value, "@odata.nextLink": "https://anywhere"});
        let server = graph(
            move |asked| match asked.path.starts_with("/v1.0/servicePrincipals?") {
                true => Reply::json(answer.to_string()),
                false => Reply::json(r#"{"value":[]}"#),
            },
        );
        let error = directory(&server)
            .find_by_name("batch", soon())
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadAnswer, "{value}");
    }
}

#[test]
fn membership_reaches_through_groups() {
    let emulator = Emulator::start();
    let directory = emulator.directory();
    let is_member = |kind, member, group| directory.is_member(kind, member, group, soon()).unwrap();
    for (kind, member, group, expected) in [
        (User, ALICE, DBA, true),
        (User, ALICE, ANALYSTS, true),
        (User, BOB, ANALYSTS, true),
        (User, BOB, DBA, false),
        (User, MALLORY, ANALYSTS, false),
        (Service, REPORTING, ANALYSTS, true),
        (Service, REPORTING, DBA, false),
        (Service, MACHINE, ANALYSTS, false),
        (Group, DBA, ANALYSTS, true),
        (Group, ANALYSTS, DBA, false),
        (Group, DBA, DBA, false),
        // Each of these groups contains the other.
        (User, ALICE, LOOP_A, true),
        (User, ALICE, LOOP_B, true),
        (User, BOB, LOOP_A, false),
        // Nobody of that id, or of that kind.
        (User, NOBODY, DBA, false),
        (User, ALICE, NOBODY, false),
        (User, REPORTING, ANALYSTS, false),
        (Service, ALICE, DBA, false),
        (User, ALICE, ALICE, false),
    ] {
        assert_eq!(
            is_member(kind, member, group),
            expected,
            "{kind} {member} {group}"
        );
    }
}

#[test]
fn what_changes_is_noticed_at_once() {
    let emulator = Emulator::start();
    let directory = emulator.directory();
    let is_member = |kind, member, group| directory.is_member(kind, member, group, soon()).unwrap();
    assert!(is_member(User, ALICE, ANALYSTS));
    emulator.change(&json!({"members": {"group": "dba", "remove": ["alice@contoso.com"]}}));
    assert!(!is_member(User, ALICE, ANALYSTS));
    emulator.change(&json!({"members": {"group": "dba", "add": ["vm-app"]}}));
    assert!(is_member(Service, MACHINE, ANALYSTS));

    emulator.change(&json!({"user": {"user": "carol@contoso.com", "enabled": false}}));
    assert!(!directory.find_by_object_id(CAROL, soon()).unwrap().enabled);
    // Who may not sign in is a member all the same.
    assert!(is_member(User, CAROL, DBA));

    for (name, kind, object_id) in [
        ("carol@contoso.com", User, CAROL),
        ("vm-app", Service, MACHINE),
    ] {
        emulator.change(&json!({"delete": {"name": name}}));
        assert!(!is_member(kind, object_id, DBA));
        let error = directory.find_by_object_id(object_id, soon()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        let error = directory.find_by_name(name, soon()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
    }
    emulator.change(&json!({"delete": {"name": "analysts"}}));
    assert!(!is_member(User, BOB, ANALYSTS));
}

/// The directory, asked by an application that was granted these permissions.
fn asked_with(permissions: &[&str]) -> (Emulator, Directory) {
    let more = format!(
        "[[tenant.application]]\nname = \"limited\"\n\
         client_id = \"11d17ed0-0000-4000-8000-000000000001\"\n\
         oid = \"11d17ed0-0000-4000-8000-000000000002\"\n\
         secrets = [\"limited-secret\"]\ngraph_permissions = {permissions:?}\n"
    );
    let emulator = Emulator::with_more(&more);
    let secret = emulator.secret_file("limited", "limited-secret");
    let client_id = Uuid::from_u128(0x11d17ed0_0000_4000_8000_000000000001);
    let settings = emulator.settings_with(Some(client_id), CredentialSource::ClientSecret(secret));
    let directory = Directory::new(settings).unwrap();
    (emulator, directory)
}

#[test]
fn a_probe_names_every_permission_that_is_missing() {
    let emulator = Emulator::start();
    emulator.directory().probe(soon()).unwrap();
    for (granted, missing) in [
        (
            vec![],
            "User.Read.All, GroupMember.Read.All, Application.Read.All",
        ),
        (
            vec!["User.ReadBasic.All"],
            "User.Read.All, GroupMember.Read.All, Application.Read.All",
        ),
        (
            vec!["User.Read.All"],
            "GroupMember.Read.All, Application.Read.All",
        ),
        (
            vec!["User.Read.All", "GroupMember.Read.All"],
            "Application.Read.All",
        ),
        (
            vec!["GroupMember.Read.All", "Application.Read.All"],
            "User.Read.All",
        ),
    ] {
        let (_emulator, directory) = asked_with(&granted);
        let error = directory.probe(soon()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::PermissionMissing);
        assert_eq!(
            error.message,
            format!("the server's identity lacks {missing}")
        );
    }
}

#[test]
fn each_question_names_the_permission_that_it_lacks() {
    let (_emulator, directory) = asked_with(&["User.Read.All", "GroupMember.Read.All"]);
    let lacks = |error: entra_api::DirectoryError, permission: &str| {
        assert_eq!(error.kind, ErrorKind::PermissionMissing, "{error}");
        assert!(error.message.contains(permission), "{error}");
        assert!(
            error.message.contains("Authorization_RequestDenied"),
            "{error}"
        );
    };
    // Even where one of another kind is found: there may be a service principal of that name.
    lacks(
        directory.find_by_name("dba", soon()).unwrap_err(),
        "Application.Read.All",
    );
    lacks(
        directory.find_by_object_id(ALICE, soon()).unwrap_err(),
        "Application.Read.All",
    );
    lacks(
        directory.find_by_app_id(REPORTING_APP, soon()).unwrap_err(),
        "Application.Read.All",
    );
    let error = directory
        .is_member(Service, REPORTING, DBA, soon())
        .unwrap_err();
    lacks(error, "Application.Read.All");
    assert!(directory.is_member(User, ALICE, DBA, soon()).unwrap());

    let (_emulator, directory) = asked_with(&["User.Read.All", "Application.Read.All"]);
    lacks(
        directory.find_by_name("dba", soon()).unwrap_err(),
        "GroupMember.Read.All",
    );
    let error = directory.is_member(User, ALICE, DBA, soon()).unwrap_err();
    lacks(error, "GroupMember.Read.All");
    assert!(
        directory
            .is_member(Service, REPORTING, ANALYSTS, soon())
            .unwrap()
    );
}
