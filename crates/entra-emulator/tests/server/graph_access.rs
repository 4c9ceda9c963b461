//! Microsoft Graph: who may ask, and what is wrong with a question.

use reqwest::Method;
use serde_json::{Value, json as value};

use crate::emulator::{Emulator, json};
use crate::graph::{ALICE, DBA, GUEST, Graph, REPORTING, SERVER, error};

#[test]
fn malformed_questions_are_refused_as_graph_does() {
    let emulator = Emulator::start();
    let graph = Graph::of(&emulator);
    for (path, status, code) in [
        ("groups/dba", 400, "Request_BadRequest"),
        ("directoryObjects/dba", 400, "Request_BadRequest"),
        ("groups?$filter=displayName", 400, "BadRequest"),
        (
            "groups?$filter=displayName%20eq%20'O'Brien'",
            400,
            "BadRequest",
        ),
        (
            "groups?$filter=userPrincipalName%20eq%20'x'",
            400,
            "BadRequest",
        ),
        (
            "groups?$filter=displayName%20ne%20'x'",
            400,
            "Request_UnsupportedQuery",
        ),
        ("users?$search=x", 400, "Request_UnsupportedQuery"),
        (
            "users/alice@contoso.com?$select=nonsense",
            400,
            "BadRequest",
        ),
        ("nonsense", 400, "BadRequest"),
        ("users?$top=1000", 400, "Request_BadRequest"),
        ("users?$skiptoken=nonsense", 400, "Request_BadRequest"),
    ] {
        assert_eq!(graph.get_refused(path), error(status, code), "{path}");
    }
    let response = emulator.get("/v1.0/users");
    assert_eq!(response.status(), 401);
    assert!(response.headers().contains_key("www-authenticate"));
    assert!(response.headers().contains_key("request-id"));
}

#[test]
fn tokens_of_every_cloud_and_of_the_emulators_own_address_are_good() {
    let emulator = Emulator::start();
    for resource in [
        "https://graph.microsoft.com",
        "https://graph.microsoft.us/",
        "https://microsoftgraph.chinacloudapi.cn",
        "00000003-0000-0000-c000-000000000000",
        &emulator.running.graph,
    ] {
        let graph = Graph::with(&emulator, SERVER, "aadauth-server-secret", resource);
        assert_eq!(
            graph.get(&format!("users/{ALICE}"))["id"],
            ALICE,
            "{resource}"
        );
    }
    let resource = format!("resource={}", emulator.running.graph);
    let answer = json(emulator.identity(&resource));
    let graph = Graph {
        emulator: &emulator,
        token: answer["access_token"].as_str().unwrap().to_owned(),
    };
    assert_eq!(graph.get(&format!("users/{ALICE}"))["id"], ALICE);
    let graph = Graph::minted(&emulator, &["--user", "alice@contoso.com"]);
    assert_eq!(graph.get(&format!("users/{GUEST}"))["id"], GUEST);
}

#[test]
fn bad_tokens_are_refused() {
    let emulator = Emulator::start();
    let words = ["--service-principal", "aadauth-server"];
    assert_eq!(
        Graph::minted(&emulator, &words).get(&format!("users/{ALICE}"))["id"],
        ALICE
    );
    for extra in [
        &["--with", "expired"][..],
        &["--with", "not-yet-valid"],
        &["--with", "bit-flipped"],
        &["--with", "foreign-key-known-kid"],
        &["--with", "alg-none"],
        &["--authority", "public"],
        &["--claim", "aud=api://aada0000-0000-4000-8000-000000000050"],
        &["--claim", "tid=00000000-0000-4000-8000-000000000000"],
        &["--header", "nonce=other"],
    ] {
        let words = [&words, extra].concat();
        let mut graph = Graph::minted(&emulator, &words);
        // The signature is of what the token shows: Graph's are not.
        if extra.first() == Some(&"--header") {
            let good = Graph::minted(&emulator, &["--service-principal", "aadauth-server"]).token;
            let (_, rest) = good.split_once('.').unwrap();
            let (header, _) = graph.token.split_once('.').unwrap();
            graph.token = format!("{header}.{rest}");
        }
        assert_eq!(
            graph.get_refused(&format!("users/{ALICE}")),
            error(401, "InvalidAuthenticationToken"),
            "{extra:?}"
        );
    }
    let other = Graph {
        emulator: &emulator,
        token: "nonsense".to_owned(),
    };
    assert_eq!(
        other.get_refused("users"),
        error(401, "InvalidAuthenticationToken")
    );
}

/// The request's token carries only these permissions.
#[test]
fn each_question_needs_its_permissions() {
    let emulator = Emulator::start();
    let check = value!({ "groupIds": [DBA] });
    let by_ids = value!({ "ids": [ALICE] });
    let user = format!("users/{ALICE}");
    let enabled = format!("users/{ALICE}?$select=accountEnabled");
    let group = format!("groups/{DBA}");
    let members = format!("groups/{DBA}/members");
    let contents = format!("groups/{DBA}/transitiveMembers");
    let principal = format!("servicePrincipals/{REPORTING}");
    let object = format!("directoryObjects/{ALICE}");
    let (of_user, of_group, of_principal, of_object) = (
        format!("{user}/checkMemberGroups"),
        format!("{group}/checkMemberGroups"),
        format!("{principal}/checkMemberGroups"),
        format!("{object}/checkMemberGroups"),
    );
    let get = Value::Null;
    for (path, body, enough, not_enough) in [
        (&user, &get, "User.Read.All", "GroupMember.Read.All"),
        (&user, &get, "User.ReadBasic.All", "Application.Read.All"),
        (&enabled, &get, "User.Read.All", "User.ReadBasic.All"),
        (
            &"users".to_owned(),
            &get,
            "Directory.Read.All",
            "Group.Read.All",
        ),
        (&group, &get, "GroupMember.Read.All", "User.Read.All"),
        (&members, &get, "Group.Read.All", "User.Read.All"),
        (&contents, &get, "GroupMember.Read.All", "User.Read.All"),
        (&principal, &get, "Application.Read.All", "User.Read.All"),
        (&object, &get, "User.Read.All", "GroupMember.Read.All"),
        (
            &"organization".to_owned(),
            &get,
            "Organization.Read.All",
            "User.Read.All",
        ),
        (
            &of_user,
            &check,
            "User.Read.All GroupMember.Read.All",
            "User.Read.All",
        ),
        (
            &of_user,
            &check,
            "Directory.Read.All",
            "GroupMember.Read.All",
        ),
        (&of_group, &check, "GroupMember.Read.All", "User.Read.All"),
        (
            &of_principal,
            &check,
            "Application.Read.All",
            "User.Read.All GroupMember.Read.All",
        ),
        (
            &of_object,
            &check,
            "User.Read.All GroupMember.Read.All",
            "User.Read.All",
        ),
        (
            &"directoryObjects/getByIds".to_owned(),
            &by_ids,
            "User.Read.All",
            "Other.Read",
        ),
    ] {
        let status = |permissions: &str| {
            let roles: Vec<&str> = permissions.split(' ').collect();
            let claim = format!("roles={}", value!(roles));
            let words = ["--service-principal", "reporting", "--claim", &claim];
            let graph = Graph::minted(&emulator, &words);
            let method = if body.is_null() {
                Method::GET
            } else {
                Method::POST
            };
            if graph.send(method.clone(), path, body).status() == 200 {
                return error(200, "");
            }
            graph.refused(method, path, body)
        };
        assert_eq!(status(enough), error(200, ""), "{path}: {enough}");
        let denied = error(403, "Authorization_RequestDenied");
        assert_eq!(status(not_enough), denied, "{path}: {not_enough}");
    }
    let nothing = Graph::with(
        &emulator,
        "4e904700-0000-4000-8000-000000000020",
        "reporting-secret",
        "https://graph.microsoft.com",
    );
    assert_eq!(
        nothing.get_refused(&user),
        error(403, "Authorization_RequestDenied")
    );
}
