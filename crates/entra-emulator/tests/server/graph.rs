//! Microsoft Graph: who is who, and who is in which group.

use reqwest::Method;
use reqwest::blocking::Response;
use serde_json::{Value, json as value};

use crate::emulator::{Emulator, TENANT, json};

pub const ALICE: &str = "a11ce000-0000-4000-8000-000000000001";
pub const GUEST: &str = "b0b00000-0000-4000-8000-000000000002";
pub const DBA: &str = "dba00000-0000-4000-8000-000000000010";
const ANALYSTS: &str = "a4a10000-0000-4000-8000-000000000011";
pub const LOOP_A: &str = "1009a000-0000-4000-8000-000000000012";
pub const LOOP_B: &str = "1009b000-0000-4000-8000-000000000013";
pub const REPORTING: &str = "4e904700-0000-4000-8000-000000000021";
const MACHINE: &str = "0a7b0000-0000-4000-8000-000000000031";
pub const SERVER: &str = "aada5e4e-0000-4000-8000-000000000070";

/// Asks Graph with a bearer token.
pub struct Graph<'a> {
    pub emulator: &'a Emulator,
    pub token: String,
}

impl<'a> Graph<'a> {
    /// As the application that has the permissions which the extension asks for.
    pub fn of(emulator: &'a Emulator) -> Graph<'a> {
        Graph::with(
            emulator,
            SERVER,
            "aadauth-server-secret",
            &emulator.running.graph,
        )
    }

    pub fn with(emulator: &'a Emulator, client: &str, secret: &str, resource: &str) -> Graph<'a> {
        let form = format!(
            "grant_type=client_credentials&client_id={client}&client_secret={secret}\
             &scope={resource}/.default"
        );
        let answer = json(emulator.post(&format!("/{TENANT}/oauth2/v2.0/token"), &form));
        Graph {
            emulator,
            token: answer["access_token"].as_str().unwrap().to_owned(),
        }
    }

    /// As whom `entra-emulator token` makes a token for, with further words.
    pub fn minted(emulator: &'a Emulator, words: &[&str]) -> Graph<'a> {
        let audience = ["--audience", "https://graph.microsoft.com"];
        let output = emulator.run(&["token"], &[&audience, words].concat());
        assert!(output.status.success(), "{output:?}");
        Graph {
            emulator,
            token: String::from_utf8(output.stdout).unwrap().trim().to_owned(),
        }
    }

    pub fn send(&self, method: Method, path: &str, body: &Value) -> Response {
        let address = if path.starts_with("https:") {
            path.to_owned()
        } else {
            format!("{}/v1.0/{path}", self.emulator.running.graph)
        };
        let request = self
            .emulator
            .client
            .request(method, address)
            .header("Authorization", format!("Bearer {}", self.token))
            .header("ConsistencyLevel", "eventual");
        match body {
            Value::Null => request.send().unwrap(),
            body => request
                .header("Content-Type", "application/json")
                .body(body.to_string())
                .send()
                .unwrap(),
        }
    }

    pub fn get(&self, path: &str) -> Value {
        let response = self.send(Method::GET, path, &Value::Null);
        let status = response.status();
        let body = json(response);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub fn post(&self, path: &str, body: Value) -> Value {
        let response = self.send(Method::POST, path, &body);
        let status = response.status();
        let body = json(response);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Status and code of an answer that must be an error.
    pub fn refused(&self, method: Method, path: &str, body: &Value) -> (u16, String) {
        let response = self.send(method, path, body);
        let status = response.status().as_u16();
        let body = json(response);
        let error = &body["error"];
        assert!(error["message"].is_string(), "{path}: {body}");
        assert!(error["innerError"]["request-id"].is_string(), "{body}");
        (status, error["code"].as_str().unwrap().to_owned())
    }

    pub fn get_refused(&self, path: &str) -> (u16, String) {
        self.refused(Method::GET, path, &Value::Null)
    }
}

pub fn error(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

fn ids(answer: &Value) -> Vec<&str> {
    let objects = answer["value"].as_array().unwrap();
    objects
        .iter()
        .map(|object| object["id"].as_str().unwrap())
        .collect()
}

#[test]
fn users_are_found_by_id_and_name() {
    let emulator = Emulator::start();
    let graph = Graph::of(&emulator);
    for key in [ALICE, "alice@contoso.com", "Alice%40CONTOSO.com"] {
        let user = graph.get(&format!("users/{key}"));
        assert_eq!(user["id"], ALICE);
        assert_eq!(user["displayName"], "Alice Example");
        assert_eq!(user["userPrincipalName"], "alice@contoso.com");
        assert!(user.get("accountEnabled").is_none(), "{user}");
        assert!(
            user["@odata.context"]
                .as_str()
                .unwrap()
                .ends_with("/v1.0/$metadata#users/$entity")
        );
    }
    let guest = "bob_fabrikam.com%23EXT%23@contoso.onmicrosoft.com";
    let user = graph.get(&format!("users/{guest}?$select=id,mail,userType"));
    assert_eq!(user["id"], GUEST);
    assert_eq!(user["mail"], "bob@fabrikam.com");
    assert_eq!(user["userType"], "Guest");
    assert!(user.get("displayName").is_none());
    let dave = graph.get("users/dave@contoso.com?$select=accountEnabled");
    assert_eq!(dave["accountEnabled"], false);

    let found = graph.get(&format!("users?$filter=userPrincipalName%20eq%20'{guest}'"));
    assert_eq!(ids(&found), [GUEST]);
    let none = graph.get("users?$filter=userPrincipalName%20eq%20'eve@contoso.com'");
    assert_eq!(ids(&none), [""; 0]);
    assert_eq!(
        graph.get_refused("users/eve@contoso.com"),
        error(404, "Request_ResourceNotFound")
    );
    assert_eq!(
        graph.get_refused(&format!("users/{DBA}")),
        error(404, "Request_ResourceNotFound")
    );
}

#[test]
fn groups_and_service_principals_are_found_by_display_name() {
    let emulator = Emulator::start();
    let graph = Graph::of(&emulator);
    let found = graph.get("groups?$filter=displayName%20eq%20'DBA'&$select=id,displayName");
    assert_eq!(
        found["value"],
        value!([{ "id": DBA, "displayName": "dba" }])
    );
    let group = graph.get(&format!("groups/{DBA}"));
    assert_eq!(group["displayName"], "dba");
    assert_eq!(group["securityEnabled"], true);

    let found = graph.get("servicePrincipals?$filter=displayName%20eq%20'vm-app'");
    assert_eq!(ids(&found), [MACHINE]);
    assert_eq!(found["value"][0]["servicePrincipalType"], "ManagedIdentity");
    assert_eq!(found["value"][0]["accountEnabled"], true);
    let both = "displayName eq 'nobody' or appId eq '4E904700-0000-4000-8000-000000000020'";
    let both = both.replace(' ', "+");
    let found = graph.get(&format!("servicePrincipals?$filter={both}"));
    assert_eq!(ids(&found), [REPORTING]);
    assert_eq!(found["value"][0]["servicePrincipalType"], "Application");
    for key in [
        "servicePrincipals(appId='0a7b0000-0000-4000-8000-000000000030')",
        &format!("serviceprincipals/{MACHINE}"),
    ] {
        assert_eq!(graph.get(key)["id"], MACHINE);
    }

    let twins = "displayName%20eq%20'twins'";
    for set in ["groups", "servicePrincipals"] {
        assert_eq!(
            ids(&graph.get(&format!("{set}?$filter={twins}"))).len(),
            1,
            "{set}"
        );
    }
}

#[test]
fn objects_are_found_by_id_whatever_they_are() {
    let emulator = Emulator::start();
    let graph = Graph::of(&emulator);
    for (id, kind) in [
        (ALICE, "#microsoft.graph.user"),
        (DBA, "#microsoft.graph.group"),
        (REPORTING, "#microsoft.graph.servicePrincipal"),
        (MACHINE, "#microsoft.graph.servicePrincipal"),
    ] {
        let object = graph.get(&format!("directoryObjects/{id}"));
        assert_eq!(object["@odata.type"], kind);
        assert_eq!(object["id"], id);
    }
    let nobody = "00000000-0000-4000-8000-000000000000";
    assert_eq!(
        graph.get_refused(&format!("directoryObjects/{nobody}")),
        error(404, "Request_ResourceNotFound")
    );
    let found = graph.post(
        "directoryObjects/getByIds",
        value!({ "ids": [ALICE, nobody, DBA, MACHINE], "types": ["user", "servicePrincipal"] }),
    );
    assert_eq!(ids(&found), [ALICE, MACHINE]);
    let found = graph.post("directoryObjects/getByIds", value!({ "ids": [DBA] }));
    assert_eq!(found["value"][0]["@odata.type"], "#microsoft.graph.group");
}

#[test]
fn membership_counts_nested_groups_and_survives_cycles() {
    let emulator = Emulator::start();
    let graph = Graph::of(&emulator);
    let check = |object: &str, groups: &[&str]| {
        let answer = graph.post(
            &format!("{object}/checkMemberGroups"),
            value!({ "groupIds": groups }),
        );
        answer["value"].clone()
    };
    let all = [DBA, ANALYSTS, LOOP_A, LOOP_B];
    assert_eq!(check(&format!("users/{ALICE}"), &all), value!(all));
    assert_eq!(
        check("users/alice@contoso.com", &[ANALYSTS]),
        value!([ANALYSTS])
    );
    assert_eq!(check("users/mallory@contoso.com", &all), value!([]));
    assert_eq!(
        check(&format!("servicePrincipals/{REPORTING}"), &all),
        value!([ANALYSTS])
    );
    assert_eq!(
        check(&format!("directoryObjects/{MACHINE}"), &all),
        value!([])
    );
    assert_eq!(check(&format!("groups/{DBA}"), &all), value!([ANALYSTS]));

    let many: Vec<&str> = vec![DBA; 21];
    for body in [
        value!({ "groupIds": many }),
        value!({ "groupIds": ["dba"] }),
    ] {
        assert_eq!(
            graph.refused(
                Method::POST,
                &format!("users/{ALICE}/checkMemberGroups"),
                &body
            ),
            error(400, "Request_BadRequest")
        );
    }
    assert_eq!(
        graph.refused(
            Method::POST,
            &format!("users/{ALICE}/checkMemberGroups"),
            &value!({})
        ),
        error(400, "BadRequest")
    );
}

#[test]
fn organization_is_the_tenant() {
    let emulator = Emulator::start();
    let graph = Graph::minted(&emulator, &["--user", "alice@contoso.com"]);
    let organization = graph.get("organization")["value"][0].clone();
    assert_eq!(organization["id"], TENANT);
    assert_eq!(organization["verifiedDomains"][0]["name"], "contoso.com");
    assert_eq!(organization["verifiedDomains"][0]["isDefault"], true);
}
