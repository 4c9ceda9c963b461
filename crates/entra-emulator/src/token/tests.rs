use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::authority::{Authority, TokenVersion};
use crate::directory::{Directory, Subject};
use crate::signing_keys::SigningKeys;

const NOW: i64 = 1_800_000_000;
const OSSRDBMS: &str = "https://ossrdbms-aad.database.windows.net";

struct World {
    _state: tempfile::TempDir,
    directory: Directory,
    keys: SigningKeys,
}

impl World {
    fn new(directory: Directory) -> World {
        let state = tempfile::tempdir().unwrap();
        let keys = SigningKeys::open(state.path()).unwrap();
        World {
            _state: state,
            directory,
            keys,
        }
    }

    fn built_in() -> World {
        World::new(Directory::built_in().unwrap())
    }

    /// Header and claims of the token.
    fn mint(&self, request: &TokenRequest) -> (Value, Value) {
        let token = mint(&self.directory, &self.keys, request).unwrap();
        let parts: Vec<&str> = token.text.split('.').collect();
        assert_eq!(parts.len(), 3);
        let read =
            |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        (read(parts[0]), read(parts[1]))
    }
}

fn request(subject: Subject) -> TokenRequest {
    TokenRequest::new(
        subject,
        "api://aada0000-0000-4000-8000-000000000050",
        Authority::at("https://localhost:8443"),
        NOW,
    )
}

fn user(name: &str) -> Subject {
    Subject::User(name.to_owned())
}

fn managed(name: &str) -> Subject {
    Subject::ManagedIdentity(name.to_owned())
}

#[test]
fn users_have_names_scopes_and_groups() {
    let (header, claims) = World::built_in().mint(&request(user("ALICE@contoso.com")));
    assert_eq!(header["x5t"], header["kid"]);
    assert_eq!(claims["upn"], "alice@contoso.com");
    assert_eq!(claims["scp"], "user_impersonation");
    assert_eq!(claims["amr"], json!(["pwd", "mfa"]));
    // dba, and analysts through dba; loop-b and loop-a.
    assert_eq!(claims["groups"].as_array().unwrap().len(), 4);
    assert_ne!(claims["sub"], claims["oid"]);
    assert_eq!(claims["iat"], NOW - 300);
    assert_eq!(claims["nbf"], NOW - 300);
    let remaining = claims["exp"].as_i64().unwrap() - NOW;
    assert!((3600..5400).contains(&remaining), "{remaining}");
}

#[test]
fn a_resource_may_have_a_lifetime_of_its_own() {
    let world = World::built_in();
    for subject in [user("alice@contoso.com"), managed("vm-app")] {
        let short = TokenRequest {
            audience: "api://aada0000-0000-4000-8000-000000000052".into(),
            ..request(subject)
        };
        assert_eq!(world.mint(&short).1["exp"], NOW + 60);
        let given = TokenRequest {
            expires_in: Some(5),
            ..short
        };
        assert_eq!(world.mint(&given).1["exp"], NOW + 5);
    }
}

#[test]
fn guests_have_no_upn_in_v1() {
    let world = World::built_in();
    let (_, claims) = world.mint(&request(user("bob@fabrikam.com")));
    assert_eq!(claims["unique_name"], "bob@fabrikam.com");
    assert_eq!(
        claims["idp"],
        "https://sts.windows.net/fab41ca0-0000-4000-8000-00000000000f/"
    );
    assert!(claims.get("upn").is_none());
    let v2 = TokenRequest {
        version: Some(TokenVersion::V2),
        ..request(user("bob@fabrikam.com"))
    };
    let (header, claims) = world.mint(&v2);
    assert_eq!(claims["preferred_username"], "bob@fabrikam.com");
    assert!(header.get("x5t").is_none());

    let mut directory = Directory::built_in().unwrap();
    let guest = directory.tenants[0].users[1].guest.as_mut().unwrap();
    guest.home = crate::directory::Home::MicrosoftAccount;
    let (_, claims) = World::new(directory).mint(&request(user("bob@fabrikam.com")));
    assert_eq!(claims["unique_name"], "live.com#bob@fabrikam.com");
    assert_eq!(claims["idp"], "live.com");
}

#[test]
fn version_follows_the_resource() {
    let world = World::built_in();
    let v2 = TokenRequest {
        audience: "api://aada0000-0000-4000-8000-000000000051".into(),
        ..request(user("carol@contoso.com"))
    };
    let (_, claims) = world.mint(&v2);
    assert_eq!(claims["ver"], "2.0");
    assert_eq!(claims["aud"], "aada0000-0000-4000-8000-000000000051");
    assert_eq!(claims["azp"], AZURE_CLI.to_string());
    for v1_only in ["appid", "amr", "upn", "unique_name"] {
        assert!(claims.get(v1_only).is_none(), "{v1_only}");
    }
    // v1 repeats what was asked for, slash included.
    let slash = TokenRequest {
        audience: format!("{OSSRDBMS}/"),
        ..request(user("carol@contoso.com"))
    };
    assert_eq!(world.mint(&slash).1["aud"], format!("{OSSRDBMS}/"));
}

#[test]
fn managed_identities_live_a_day_and_have_no_name() {
    let world = World::built_in();
    let asked = TokenRequest {
        audience: OSSRDBMS.into(),
        ..request(managed("vm-app"))
    };
    let (_, claims) = world.mint(&asked);
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["nbf"].as_i64().unwrap(),
        86_700
    );
    assert_eq!(claims["idtyp"], "app");
    assert_eq!(claims["oid"], claims["sub"]);
    assert_eq!(claims["appidacr"], "2");
    assert!(
        claims["xms_mirid"]
            .as_str()
            .unwrap()
            .ends_with("Microsoft.Compute/virtualMachines/vm-app")
    );
    for absent in ["upn", "name", "unique_name", "scp", "amr"] {
        assert!(claims.get(absent).is_none(), "{absent}");
    }
}

#[test]
fn idtyp_and_groups_are_the_resources_choice() {
    let mut directory = Directory::built_in().unwrap();
    directory.resources[0].idtyp = false;
    directory.resources[0].groups = false;
    let world = World::new(directory);
    for subject in [user("alice@contoso.com"), managed("vm-app")] {
        let (_, claims) = world.mint(&request(subject));
        assert!(claims.get("idtyp").is_none());
        assert!(claims.get("groups").is_none());
    }
}

#[test]
fn more_than_200_groups_become_a_pointer() {
    let mut directory = Directory::built_in().unwrap();
    let tenant = &mut directory.tenants[0];
    let alice = tenant.users[0].object_id;
    let group = |number: usize| crate::directory::Group {
        object_id: Uuid::new_v4(),
        name: format!("group {number}"),
        members: [alice].into(),
    };
    tenant.groups = (0..200).map(group).collect();
    tenant.index();
    let (_, claims) = World::new(directory.clone()).mint(&request(user("alice@contoso.com")));
    assert_eq!(claims["groups"].as_array().unwrap().len(), 200);
    directory.tenants[0].groups.push(group(200));
    directory.tenants[0].index();
    let (_, claims) = World::new(directory).mint(&request(user("alice@contoso.com")));
    assert!(claims.get("groups").is_none());
    assert_eq!(claims["_claim_names"]["groups"], "src1");
    let endpoint = claims["_claim_sources"]["src1"]["endpoint"]
        .as_str()
        .unwrap();
    assert!(
        endpoint.starts_with("https://graph.windows.net/6b1f0c7e-"),
        "{endpoint}"
    );
}

#[test]
fn groups_that_contain_each_other_end() {
    let mut directory = Directory::built_in().unwrap();
    let groups = &mut directory.tenants[0].groups;
    let analysts = groups[1].object_id;
    groups[0].members.insert(analysts);
    directory.tenants[0].index();
    let (_, claims) = World::new(directory).mint(&request(user("carol@contoso.com")));
    assert_eq!(claims["groups"].as_array().unwrap().len(), 2);
}

#[test]
fn size_is_met() {
    let world = World::built_in();
    for size in [3000, 3001, 3002, 3003, 12_288, 65_530] {
        let asked = TokenRequest {
            size: Some(size),
            ..request(user("alice@contoso.com"))
        };
        let length = mint(&world.directory, &world.keys, &asked)
            .unwrap()
            .text
            .len();
        assert!(
            length == size || length + 1 == size,
            "{length} instead of {size}"
        );
    }
    let asked = TokenRequest {
        size: Some(100),
        ..request(user("alice@contoso.com"))
    };
    let error = mint(&world.directory, &world.keys, &asked).err().unwrap();
    assert!(
        matches!(error, MintError::TooSmall { wanted: 100, .. }),
        "{error}"
    );
}

#[test]
fn what_the_caller_sets_wins() {
    let asked = TokenRequest {
        claims: vec![("aud".into(), json!("api://x")), ("new".into(), json!([1]))],
        without: vec!["amr".into()],
        header: vec![("kid".into(), json!("k"))],
        deviations: vec![Deviation::named("audience-other").unwrap()],
        ..request(user("alice@contoso.com"))
    };
    let (header, claims) = World::built_in().mint(&asked);
    assert_eq!(header["kid"], "k");
    assert_eq!(claims["aud"], "api://x");
    assert_eq!(claims["new"], json!([1]));
    assert!(claims.get("amr").is_none());
}

#[test]
fn expired_tokens_were_good_once() {
    let asked = TokenRequest {
        expires_in: Some(-10),
        ..request(user("alice@contoso.com"))
    };
    let (_, claims) = World::built_in().mint(&asked);
    assert_eq!(claims["exp"], NOW - 10);
    assert!(claims["nbf"].as_i64().unwrap() < NOW - 3600);
}

#[test]
fn errors_say_what_there_is() {
    let world = World::built_in();
    let nobody = mint(
        &world.directory,
        &world.keys,
        &request(user("eve@contoso.com")),
    );
    let text = nobody.err().unwrap().to_string();
    assert!(
        text.contains("\"eve@contoso.com\"") && text.contains("alice@contoso.com"),
        "{text}"
    );
    let asked = TokenRequest {
        audience: "api://none".into(),
        ..request(managed("vm-app"))
    };
    let text = mint(&world.directory, &world.keys, &asked)
        .err()
        .unwrap()
        .to_string();
    assert!(
        text.contains("api://aada0000-0000-4000-8000-000000000050"),
        "{text}"
    );
}

#[test]
fn table_of_deviations_is_json() {
    for deviation in Deviation::all() {
        match deviation.change {
            deviation::Change::Claim(_, json) | deviation::Change::Header(_, json) => {
                assert!(
                    serde_json::from_str::<Value>(json).is_ok(),
                    "{}",
                    deviation.name
                );
            }
            _ => {}
        }
    }
}
