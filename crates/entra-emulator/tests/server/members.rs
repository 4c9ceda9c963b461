//! The members of groups: pages, nesting, disturbances, and changes while the emulator runs.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json as value};

use crate::emulator::{Emulator, json};
use crate::graph::{ALICE, Graph, LOOP_A, LOOP_B};

const EVERYONE: &str = "e5e00000-0000-4000-8000-000000000015";
const OUTER: &str = "e5e00000-0000-4000-8000-000000000016";
const REPORTING: &str = "4e904700-0000-4000-8000-000000000021";
const ADVANCED: &str = "$count=true";

/// An emulator whose directory has a group of `count` generated members, within another group.
fn with_generated(count: usize) -> Emulator {
    let groups = format!(
        "  [[tenant.group]]
  name = \"everyone\"
  oid = \"{EVERYONE}\"
  generated_members = {count}

  [[tenant.group]]
  name = \"outer\"
  oid = \"{OUTER}\"
  members = [\"everyone\", \"alice@contoso.com\", \"reporting\", \"vm-app\"]

"
    );
    let marker = "  [[tenant.application]]\n";
    let text = entra_emulator::directory::BUILT_IN.replacen(marker, &(groups + marker), 1);
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("directory.toml");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap().to_owned();
    Emulator::start_on(state, &["--directory", &file])
}

/// Everything that the pages from `path` on have, and how many pages there were. Waits where Graph
/// says so.
fn pages(graph: &Graph<'_>, path: &str) -> (Vec<Value>, usize) {
    let (mut found, mut count) = (Vec::new(), 0);
    let mut next = Some(path.to_owned());
    while let Some(address) = next {
        let response = graph.send(Method::GET, &address, &Value::Null);
        if response.status() == 429 {
            assert_eq!(response.headers()["retry-after"], "0");
            next = Some(address);
            continue;
        }
        assert_eq!(response.status(), 200, "{address}");
        let page = json(response);
        found.extend(page["value"].as_array().unwrap().clone());
        count += 1;
        next = page["@odata.nextLink"].as_str().map(str::to_owned);
    }
    (found, count)
}

fn ids(objects: &[Value]) -> BTreeSet<String> {
    let id = |object: &Value| object["id"].as_str().unwrap().to_owned();
    let ids: BTreeSet<String> = objects.iter().map(id).collect();
    assert_eq!(ids.len(), objects.len(), "some are there twice");
    ids
}

#[test]
fn members_come_in_pages() {
    let emulator = with_generated(2500);
    let graph = Graph::of(&emulator);
    let (found, count) = pages(&graph, &format!("groups/{EVERYONE}/members?$top=999"));
    assert_eq!((ids(&found).len(), count), (2500, 3));
    assert_eq!(found[0]["userPrincipalName"], "member-00001@contoso.com");
    assert_eq!(found[0]["id"], "6b1f0c7e-2a3d-4e58-9b41-000000000001");
    assert_eq!(found[0]["@odata.type"], "#microsoft.graph.user");
    // A hundred at a time, where nothing is said; the selection holds for all pages.
    let (found, count) = pages(&graph, &format!("groups/{EVERYONE}/members?$select=id"));
    assert_eq!((ids(&found).len(), count), (2500, 25));
    assert_eq!(found[2499].as_object().unwrap().len(), 2);
    let exactly = pages(&graph, &format!("groups/{EVERYONE}/members?$top=500"));
    assert_eq!(exactly.1, 5);
}

#[test]
fn transitive_members_are_flat_and_cycles_end() {
    let emulator = with_generated(150);
    let graph = Graph::of(&emulator);
    let all = format!("groups/{OUTER}/transitiveMembers");
    let (found, _) = pages(&graph, &all);
    // 150 users and Alice, and the group between; without a cast, no service principals.
    assert_eq!(ids(&found).len(), 152);
    let (users, _) = pages(
        &graph,
        &format!("{all}/microsoft.graph.user?{ADVANCED}&$top=50"),
    );
    assert_eq!(ids(&users).len(), 151);
    assert!(users[0].get("@odata.type").is_none());
    let (services, _) = pages(
        &graph,
        &format!("{all}/microsoft.graph.servicePrincipal?{ADVANCED}"),
    );
    assert_eq!(ids(&services).len(), 2);
    let first = graph.get(&format!("{all}/microsoft.graph.user?{ADVANCED}&$top=1"));
    assert_eq!(first["@odata.count"], 151);
    let plain = graph.get(&format!("groups/{OUTER}/members"));
    assert_eq!(plain["value"].as_array().unwrap().len(), 2);

    for (group, other) in [(LOOP_A, LOOP_B), (LOOP_B, LOOP_A)] {
        let (found, _) = pages(&graph, &format!("groups/{group}/transitiveMembers"));
        assert_eq!(ids(&found), [ALICE, other].map(str::to_owned).into());
    }
}

#[test]
fn casts_are_advanced_queries() {
    let emulator = Emulator::start();
    let graph = Graph::of(&emulator);
    let path = format!("groups/{LOOP_A}/transitiveMembers/microsoft.graph.user");
    let refused = graph.send(Method::GET, &path, &Value::Null);
    assert_eq!(json(refused)["error"]["code"], "Request_UnsupportedQuery");
    let address = format!("{}/v1.0/{path}?{ADVANCED}", emulator.running.graph);
    let without_header = emulator
        .client
        .get(address)
        .bearer_auth(&graph.token)
        .send();
    assert_eq!(
        json(without_header.unwrap())["error"]["code"],
        "Request_UnsupportedQuery"
    );
    assert_eq!(
        graph.get(&format!("{path}?{ADVANCED}"))["value"][0]["id"],
        ALICE
    );
    let unknown = graph.send(
        Method::GET,
        &format!("groups/{LOOP_A}/members/microsoft.graph.device?{ADVANCED}"),
        &Value::Null,
    );
    assert_eq!(unknown.status(), 400);
}

#[test]
fn who_may_not_read_members_learns_their_ids() {
    let emulator = Emulator::start();
    let claim = value!(["GroupMember.Read.All", "Application.Read.All"]);
    let words = [
        "--service-principal",
        "reporting",
        "--audience",
        &emulator.running.graph,
        "--claim",
        &format!("roles={claim}"),
    ];
    let token = emulator.run(&["token"], &words).stdout;
    let graph = Graph {
        emulator: &emulator,
        token: String::from_utf8(token).unwrap().trim().to_owned(),
    };
    let (found, _) = pages(&graph, &format!("groups/{LOOP_B}/members"));
    let alice = found.iter().find(|one| one["id"] == ALICE).unwrap();
    assert_eq!(alice["userPrincipalName"], Value::Null);
    assert_eq!(alice["displayName"], Value::Null);
    let group = found.iter().find(|one| one["id"] == LOOP_A).unwrap();
    assert_eq!(group["displayName"], "loop-a");
}

/// The whole of a large group, in a time that a scan per page would not allow for.
#[test]
fn fifty_thousand_members_are_read_while_graph_throttles() {
    let emulator = with_generated(50_000);
    let graph = Graph::of(&emulator);
    let order = value!({ "fault": { "throttled": 0 }, "endpoint": "graph", "every": 4 });
    let answer = emulator.control(Method::PUT, "/faults", &order);
    assert_eq!(json(answer)["faults"][0]["every"], 4);
    let begun = Instant::now();
    let path = format!("groups/{OUTER}/transitiveMembers?$top=999&$select=id,userPrincipalName");
    let (found, count) = pages(&graph, &path);
    let took = begun.elapsed();
    assert_eq!((ids(&found).len(), count), (50_002, 51));
    assert!(took < Duration::from_secs(20), "{took:?}");
    let counted = json(emulator.control(Method::GET, "/requests", &Value::Null));
    assert_eq!(counted["endpoints"]["graph"], 67);
    println!("50,000 members in {took:?}");
}

#[test]
fn the_directory_changes_while_it_is_read() {
    let emulator = with_generated(300);
    let graph = Graph::of(&emulator);
    let group = format!("groups/{OUTER}/transitiveMembers");
    let first = graph.get(&format!("{group}?$top=200"));
    // Somebody of the first page leaves: nobody of the second is missed for that.
    let change = |words: &[&str]| {
        let output = emulator.run(&["control"], words);
        assert!(output.status.success(), "{output:?}");
    };
    let gone = "6b1f0c7e-2a3d-4e58-9b41-000000000007";
    change(&[
        "members",
        "everyone",
        "--remove",
        gone,
        "--add",
        "mallory@contoso.com",
    ]);
    let (rest, _) = pages(&graph, first["@odata.nextLink"].as_str().unwrap());
    let mut seen = ids(first["value"].as_array().unwrap());
    seen.extend(ids(&rest));
    assert_eq!(seen.len(), 302);
    assert!(!ids(&pages(&graph, &group).0).contains(gone));

    let check = |id: &str| {
        let groups = value!({ "groupIds": [OUTER] });
        let path = format!("users/{id}/checkMemberGroups");
        let answer = graph.send(Method::POST, &path, &groups);
        let status = answer.status().as_u16();
        (status, json(answer)["value"] == value!([OUTER]))
    };
    assert_eq!(check(gone), (200, false));
    assert_eq!(check("mallory@contoso.com"), (200, true));

    let enabled = |expected: bool| {
        let user = graph.get("users/mallory@contoso.com?$select=accountEnabled");
        assert_eq!(user["accountEnabled"], expected);
    };
    change(&["user", "mallory@contoso.com", "--disable"]);
    enabled(false);
    change(&["user", "mallory@contoso.com", "--enable"]);
    enabled(true);
    change(&["user", "mallory@contoso.com", "--delete"]);
    assert_eq!(check("mallory@contoso.com").0, 404);
    change(&["delete", "reporting"]);
    let gone = graph.send(
        Method::GET,
        &format!("servicePrincipals/{REPORTING}"),
        &Value::Null,
    );
    assert_eq!(gone.status(), 404);
    change(&["delete", "everyone"]);
    assert_eq!(pages(&graph, &group).0.len(), 1);
    let refused = emulator.run(&["control"], &["delete", "twins"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("names several"));
}

#[test]
fn graph_has_bad_days_of_its_own() {
    let emulator = Emulator::start();
    let graph = Graph::of(&emulator);
    let path = format!("users/{ALICE}");
    let disturbed = |fault: Value| {
        let order = value!({ "fault": fault, "endpoint": "graph", "times": 1 });
        emulator.control(Method::PUT, "/faults", &order);
        // The keys are as good as ever.
        assert_eq!(emulator.get("/common/discovery/keys").status(), 200);
        graph.send(Method::GET, &path, &Value::Null)
    };
    let throttled = disturbed(value!({ "throttled": 3 }));
    assert_eq!(throttled.status(), 429);
    assert_eq!(throttled.headers()["retry-after"], "3");
    assert_eq!(disturbed(value!("unavailable")).status(), 503);
    assert_eq!(disturbed(value!("error")).status(), 500);
    let elsewhere = disturbed(value!({ "redirect": "https://elsewhere.example/v1.0" }));
    assert_eq!(elsewhere.status(), 302);
    assert!(
        serde_json::from_slice::<Value>(&disturbed(value!("garbage")).bytes().unwrap()).is_err()
    );
    let half = disturbed(value!("truncated")).bytes().unwrap();
    assert!(!half.is_empty() && serde_json::from_slice::<Value>(&half).is_err());
    assert_eq!(
        disturbed(value!({ "huge": 3_000_000 }))
            .bytes()
            .unwrap()
            .len(),
        3_000_000
    );
    let begun = Instant::now();
    assert_eq!(disturbed(value!({ "slow": 500 })).status(), 200);
    assert!(begun.elapsed() >= Duration::from_millis(500));
    assert_eq!(graph.get(&path)["id"], ALICE);
}
