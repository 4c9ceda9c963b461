//! The members of a group: through groups, over many pages, with interruptions.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use entra_api::{CredentialSource, DirectoryError, ErrorKind, Principal};
use entra_client::Directory;
use entra_token::PrincipalKind;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::emulator::{Emulator, SERVER, TENANT};
use crate::questions::{ALICE, ANALYSTS, BOB, CAROL, DAVE, DBA, LOOP_A, LOOP_B, REPORTING};
use crate::rig::{self, graph, in_a_process};
use crate::server::{Asked, Reply, Server};

const GROUP: Uuid = Uuid::from_u128(0x60000000_0000_4000_8000_000000000001);

fn members(directory: &Directory, group: Uuid) -> Result<Vec<Principal>, DirectoryError> {
    let mut members = Vec::new();
    directory.members(group, &AtomicBool::new(false), &mut |page| {
        assert!(!page.is_empty());
        members.extend(page);
        true
    })?;
    Ok(members)
}

fn ids(members: &[Principal]) -> BTreeSet<Uuid> {
    let ids: BTreeSet<_> = members.iter().map(|member| member.object_id).collect();
    assert_eq!(ids.len(), members.len(), "somebody comes twice");
    ids
}

#[test]
fn members_of_groups_in_the_group_are_members() {
    let emulator = Emulator::start();
    let directory = emulator.directory();
    for (group, expected) in [
        (DBA, [ALICE, CAROL].as_slice()),
        (ANALYSTS, &[ALICE, BOB, CAROL, REPORTING]),
        (LOOP_A, &[ALICE]),
        (LOOP_B, &[ALICE]),
    ] {
        let found = members(&directory, group).unwrap();
        assert_eq!(ids(&found), expected.iter().copied().collect(), "{group}");
    }
    let found = members(&directory, ANALYSTS).unwrap();
    let reporting = found
        .iter()
        .find(|member| member.object_id == REPORTING)
        .unwrap();
    assert_eq!(reporting.kind, PrincipalKind::Service);
    assert_eq!(reporting.name, "reporting");
    let bob = found.iter().find(|member| member.object_id == BOB).unwrap();
    assert_eq!(bob.name, "bob_fabrikam.com#EXT#@contoso.onmicrosoft.com");
}

#[test]
fn who_may_not_sign_in_is_listed_as_such() {
    let emulator = Emulator::start();
    emulator.change(&json!({"members": {"group": "dba", "add": ["dave@contoso.com"]}}));
    let found = members(&emulator.directory(), DBA).unwrap();
    let disabled: Vec<_> = found.iter().filter(|member| !member.enabled).collect();
    assert_eq!(disabled.len(), 1);
    assert_eq!(disabled[0].object_id, DAVE);
}

#[test]
fn a_group_that_is_gone_is_not_an_empty_one() {
    let emulator = Emulator::start();
    let directory = emulator.directory();
    emulator.change(&json!({"delete": {"name": "dba"}}));
    for group in [DBA, ALICE] {
        let error = members(&directory, group).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
    }
    // An empty one is.
    assert_eq!(
        members(
            &directory,
            Uuid::from_u128(0x7e145000_0000_4000_8000_000000000014)
        )
        .unwrap(),
        []
    );
}

#[test]
fn who_does_not_want_to_go_on_gets_no_list() {
    let emulator = Emulator::start();
    let directory = emulator.directory();
    let stop = AtomicBool::new(false);
    let mut pages = 0;
    let error = directory
        .members(ANALYSTS, &stop, &mut |_| {
            pages += 1;
            false
        })
        .unwrap_err();
    assert!(error.message.contains("stopped"), "{error}");
    assert_eq!(pages, 1);
    stop.store(true, Ordering::Relaxed);
    let asked = emulator.requests("graph");
    let never = &mut |_: Vec<Principal>| panic!("stopped before it began");
    directory.members(ANALYSTS, &stop, never).unwrap_err();
    assert_eq!(emulator.requests("graph"), asked);
}

#[test]
fn a_missing_permission_is_no_empty_group() {
    let more = "[[tenant.application]]\nname = \"limited\"\n\
                client_id = \"11d17ed0-0000-4000-8000-000000000001\"\n\
                oid = \"11d17ed0-0000-4000-8000-000000000002\"\n\
                secrets = [\"limited-secret\"]\n";
    for (granted, missing) in [
        (
            vec!["User.Read.All", "Application.Read.All"],
            "GroupMember.Read.All",
        ),
        (
            vec!["GroupMember.Read.All", "Application.Read.All"],
            "User.Read.All",
        ),
        (
            vec!["GroupMember.Read.All", "User.Read.All"],
            "Application.Read.All",
        ),
    ] {
        let emulator = Emulator::with_more(&format!("{more}graph_permissions = {granted:?}\n"));
        let secret = emulator.secret_file("limited", "limited-secret");
        let client_id = Uuid::from_u128(0x11d17ed0_0000_4000_8000_000000000001);
        let settings =
            emulator.settings_with(Some(client_id), CredentialSource::ClientSecret(secret));
        let error = members(&Directory::new(settings).unwrap(), ANALYSTS).unwrap_err();
        assert_eq!(error.kind, ErrorKind::PermissionMissing, "{error}");
        assert!(error.message.contains(missing), "{error}");
    }
}

/// Plays a Graph that gives the members of the group in these pages, the service principals in none.
fn pages(pages: impl Fn(&Asked) -> Value + Send + Sync + 'static) -> Server {
    graph(move |asked| match asked.path.contains("servicePrincipal") {
        true => Reply::json(r#"{"value":[]}"#),
        false => Reply::json(pages(asked).to_string()),
    })
}

fn user(number: u128) -> Value {
    json!({
        "@odata.type": "#microsoft.graph.user",
        "id": Uuid::from_u128(number),
        "userPrincipalName": format!("user-{number}@contoso.com"),
        "accountEnabled": true,
    })
}

#[test]
fn the_next_page_is_graphs_own_or_none() {
    let elsewhere = Server::start(|_| Reply::json(r#"{"value":[]}"#));
    let plain = Server::plain(|_| Reply::json(r#"{"value":[]}"#));
    let port = elsewhere.address.port();
    for link in [
        elsewhere.url() + "/v1.0/next",
        format!("http://localhost:{}/v1.0/next", plain.address.port()),
        format!("https://localhost:{port}/v1.0/next"),
        "https://GRAPH@localhost/v1.0/next".to_owned(),
        "https://user@GRAPH/v1.0/next".to_owned(),
        "https://:word@GRAPH/v1.0/next".to_owned(),
        "https://GRAPH.evil.test/v1.0/next".to_owned(),
        "https://GRAPH/v1.0/../beta/next".to_owned(),
        "https://GRAPH/other/next".to_owned(),
        "https://GRAPH\\@evil.test/v1.0/".to_owned(),
        "/v1.0/next".to_owned(),
        "next".to_owned(),
        String::new(),
        format!("https://GRAPH/v1.0/next?{}", "x".repeat(8192)),
    ] {
        let shown = link.clone();
        let server = pages(move |asked| {
            let link = link.replace("GRAPH", &asked.headers["host"]);
            json!({"value": [user(1)], "@odata.nextLink": link})
        });
        let error = members(&rig::directory(&server), GROUP).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadAnswer, "{shown}");
        assert!(
            error.message.contains("goes on elsewhere"),
            "{shown}: {error}"
        );
        assert_eq!(server.asked_at("/v1.0/").len(), 1, "{shown}");
    }
    assert_eq!(elsewhere.connections() + plain.connections(), 0);
}

#[test]
fn a_list_that_leads_in_a_circle_ends() {
    let server = pages(|asked| {
        let next = format!("https://{}/v1.0/again", asked.headers["host"]);
        json!({"value": [user(1), user(2)], "@odata.nextLink": next})
    });
    let error = members(&rig::directory(&server), GROUP).unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadAnswer);
    assert!(error.message.contains("without end"), "{error}");
    assert_eq!(server.asked_at("/v1.0/").len(), 51);
}

#[test]
fn a_group_without_end_is_not_read_to_its_end() {
    let server = pages(|asked| {
        let page = asked.path.strip_prefix("/v1.0/page-");
        let page: u128 = page.map_or(0, |page| page.parse().unwrap());
        let next = format!("https://{}/v1.0/page-{}", asked.headers["host"], page + 1);
        let users: Vec<_> = (1..=4000)
            .map(|number| user(page * 4000 + number))
            .collect();
        json!({"value": users, "@odata.nextLink": next})
    });
    let error = members(&rig::directory(&server), GROUP).unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadAnswer);
    assert!(error.message.contains("500000"), "{error}");
    assert_eq!(server.asked_at("/v1.0/").len(), 126);
}

#[test]
fn pages_may_be_empty_and_repeat_and_name_other_things() {
    let device = json!({"@odata.type": "#microsoft.graph.device", "id": Uuid::from_u128(9)});
    let nested = json!({"@odata.type": "#microsoft.graph.group", "id": Uuid::from_u128(8), "displayName": null});
    let server = pages(move |asked| {
        let link = |page: u32| format!("https://{}/v1.0/page-{page}", asked.headers["host"]);
        match asked.path.as_str() {
            "/v1.0/page-2" => json!({"value": [], "@odata.nextLink": link(3)}),
            "/v1.0/page-3" => json!({"value": [user(1), user(2)], "@odata.nextLink": null}),
            _ => json!({"value": [device, user(1), nested, user(1)], "@odata.nextLink": link(2)}),
        }
    });
    let found = members(&rig::directory(&server), GROUP).unwrap();
    let expected = [Uuid::from_u128(1), Uuid::from_u128(2)];
    assert_eq!(ids(&found), expected.into_iter().collect());
}

#[test]
fn service_principals_are_asked_for_as_graph_wants_it() {
    let refusing = |types: Value| {
        graph(move |asked| {
            if asked.path.contains("microsoft.graph.servicePrincipal") {
                let body = r#"{"error":{"code":"Request_UnsupportedQuery","message":"s3nt1nel"}}"#;
                Reply::Answer(400, &[], body.to_owned())
            } else if asked.path.contains("groupTypes") {
                Reply::json(json!({"id": GROUP, "groupTypes": types}).to_string())
            } else {
                Reply::json(r#"{"value":[]}"#)
            }
        })
    };
    // A group that can't have any, one of Microsoft 365.
    let server = refusing(json!(["Unified"]));
    assert_eq!(members(&rig::directory(&server), GROUP).unwrap(), []);
    let asked = server.asked_at("/v1.0/");
    assert_eq!(asked.len(), 3);
    // Where it can have some, there would be no telling who.
    for types in [json!([]), json!(["DynamicMembership"]), json!(null)] {
        let server = refusing(types.clone());
        let error = members(&rig::directory(&server), GROUP).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadAnswer, "{types}");
    }
    assert!(!asked[0].headers.contains_key("consistencylevel"));
    assert_eq!(asked[1].headers["consistencylevel"], "eventual");
    assert!(asked[1].path.contains("$count=true"), "{asked:?}");

    // Any other refusal is one.
    for (status, code) in [
        (400, "Request_BadRequest"),
        (500, "Request_UnsupportedQuery"),
    ] {
        let server = graph(move |asked| match asked.path.contains("servicePrincipal") {
            false => Reply::json(r#"{"value":[]}"#),
            true => Reply::Answer(status, &[], json!({"error": {"code": code}}).to_string()),
        });
        let stop = AtomicBool::new(false);
        let result = std::thread::scope(|threads| {
            let reading =
                threads.spawn(|| rig::directory(&server).members(GROUP, &stop, &mut |_| true));
            while server.asked_at("/v1.0/").len() < 2 {
                std::thread::yield_now();
            }
            if status == 500 {
                stop.store(true, Ordering::Relaxed);
            }
            reading.join().unwrap()
        });
        assert!(result.is_err(), "{status} {code}");
    }
}

/// Graph lists them apart today, and calls that an issue.
#[test]
fn service_principals_among_all_members_are_members() {
    let service = json!({
        "@odata.type": "#microsoft.graph.servicePrincipal",
        "id": Uuid::from_u128(7), "displayName": "reporting", "appId": Uuid::from_u128(8),
    });
    let server = pages(move |asked| {
        // As Graph does, nothing but what was selected.
        let mut service = service.clone();
        for name in ["displayName", "appId"] {
            if !asked.path.contains(name) {
                service[name] = Value::Null;
            }
        }
        json!({"value": [user(1), service]})
    });
    let found = members(&rig::directory(&server), GROUP).unwrap();
    let services: Vec<_> = found
        .iter()
        .filter(|member| member.kind == PrincipalKind::Service)
        .map(|member| (member.name.as_str(), member.app_id))
        .collect();
    assert_eq!(services, [("reporting", Some(Uuid::from_u128(8)))]);
}

#[test]
fn a_type_that_was_not_asked_for_is_left_out() {
    let server = graph(|asked| {
        let value = match asked.path.contains("servicePrincipal") {
            false => json!([]),
            true => json!([
                {"@odata.type": "#microsoft.graph.device", "id": Uuid::from_u128(1), "displayName": "device"},
                {"id": Uuid::from_u128(2), "displayName": "untyped", "appId": Uuid::from_u128(3)},
            ]),
        };
        Reply::json(json!({ "value": value }).to_string())
    });
    let found = members(&rig::directory(&server), GROUP).unwrap();
    assert_eq!(ids(&found), [Uuid::from_u128(2)].into_iter().collect());
    assert_eq!(found[0].kind, PrincipalKind::Service);
    // No value at all of who may sign in: service principals may.
    assert!(found[0].enabled);
}

const COUNT: usize = 50_000;
const EVERYONE: Uuid = Uuid::from_u128(0xe7e40000_0000_4000_8000_000000000001);
const AUTHORITY: &str = "TEST_AUTHORITY";

/// In a process of its own, whose memory is only that of the client.
#[test]
fn fifty_thousand_members_come_in_pages_though_graph_wants_pauses() {
    const TEST: &str = "members::fifty_thousand_members_come_in_pages_though_graph_wants_pauses";
    if std::env::var_os(AUTHORITY).is_some() {
        return read_everyone();
    }
    let emulator = Emulator::with_more(&format!(
        "[[tenant.group]]\nname = \"everyone\"\noid = \"{EVERYONE}\"\ngenerated_members = {COUNT}\n"
    ));
    let settings = emulator.settings();
    let CredentialSource::ClientSecret(secret) = &settings.credential else {
        panic!("another credential");
    };
    let mut said = Vec::new();
    for every in [None, Some(10)] {
        if let Some(every) = every {
            emulator.disturb(&json!({
                "endpoint": "graph", "fault": {"throttled": 1}, "every": every,
            }));
        }
        let before = emulator.requests("graph");
        let output = in_a_process(
            TEST,
            &[
                (AUTHORITY, &emulator.running.authority),
                (
                    "TEST_TRUSTED",
                    &emulator.running.ca_file.display().to_string(),
                ),
                ("TEST_SECRET", &secret.display().to_string()),
            ],
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text
            .lines()
            .find(|line| line.contains("members in"))
            .unwrap();
        let requests = emulator.requests("graph") - before;
        said.push(format!("{line}, {requests} requests"));
        // 51 pages of users, one of service principals, and those that were answered with 429.
        match every {
            None => assert_eq!(requests, 52),
            Some(_) => assert!((57..=58).contains(&requests), "{requests}"),
        }
    }
    println!("{}", said.join("\n"));
}

fn read_everyone() {
    let authority = std::env::var(AUTHORITY).unwrap();
    let directory = Directory::new(entra_api::DirectorySettings {
        tenant: TENANT,
        authority: entra_token::Authority::new(Default::default(), Some(&authority)).unwrap(),
        graph: authority,
        client_id: Some(SERVER),
        credential: CredentialSource::ClientSecret(std::env::var_os("TEST_SECRET").unwrap().into()),
        http: entra_api::HttpSettings {
            ca_file: std::env::var_os("TEST_TRUSTED").map(Into::into),
            proxy: None,
        },
    })
    .unwrap();
    let before = peak_memory();
    let started = Instant::now();
    let mut seen = HashSet::new();
    directory
        .members(EVERYONE, &AtomicBool::new(false), &mut |page| {
            for member in page {
                assert!(member.enabled && member.kind == PrincipalKind::User);
                assert!(seen.insert(member.object_id), "{member:?} comes twice");
            }
            true
        })
        .unwrap();
    let took = started.elapsed();
    assert_eq!(seen.len(), COUNT);
    let grown = peak_memory() - before;
    // A page is some 200 kB; the ids, kept here as well as in the client, some 2 MB each.
    assert!(grown < 20_000, "{grown} kB");
    println!("{COUNT} members in {took:.1?}, {grown} kB of memory");
}

/// The most memory that this process ever had, in kB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
