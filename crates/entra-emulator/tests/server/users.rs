//! Grants in the name of users: passwords, refresh tokens, and what comes beside the access token.

use serde_json::{Value, json as value};

use crate::emulator::{AUDIENCE, Emulator, TENANT, json, part};

pub const AZURE_CLI: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
pub const ALICE: &str = "a11ce000-0000-4000-8000-000000000001";
const REPORTING: &str = "4e904700-0000-4000-8000-000000000020";
const DESKTOP: &str = "de540000-0000-4000-8000-0000000000a0";

fn form(scope: &str) -> String {
    format!(
        "grant_type=password&client_id={AZURE_CLI}&username=alice%40contoso.com\
         &password=correct+horse+battery+staple&client_info=1&scope={scope}"
    )
}

fn ask(emulator: &Emulator, form: &str) -> Value {
    json(emulator.post(&format!("/{TENANT}/oauth2/v2.0/token"), form))
}

fn token(answer: &Value) -> Value {
    part(
        answer["access_token"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}")),
        1,
    )
}

fn error(answer: &Value) -> (&str, u64) {
    assert!(answer.get("access_token").is_none(), "{answer}");
    (
        answer["error"].as_str().unwrap(),
        answer["error_codes"][0].as_u64().unwrap(),
    )
}

#[test]
fn passwords_get_tokens() {
    let emulator = Emulator::start();
    let scope = format!("{AUDIENCE}/.default+offline_access+openid+profile");
    let answer = ask(&emulator, &form(&scope));
    let claims = token(&answer);
    assert_eq!(claims["oid"], ALICE);
    assert_eq!(claims["aud"], AUDIENCE);
    assert_eq!(claims["scp"], "user_impersonation");
    assert_eq!(claims["appid"], AZURE_CLI);
    // Alice has a second factor, and didn't use it.
    assert_eq!(claims["amr"], value!(["pwd"]));

    let id = part(answer["id_token"].as_str().unwrap(), 1);
    assert_eq!(id["aud"], AZURE_CLI);
    assert_eq!(id["preferred_username"], "alice@contoso.com");
    assert_eq!(id["tid"], TENANT);
    assert_eq!(id["oid"], ALICE);
    assert_eq!(id["ver"], "2.0");
    assert_eq!(
        id["iss"],
        format!("{}/{TENANT}/v2.0", emulator.running.authority)
    );
    assert!(id.get("scp").is_none());
    use base64::Engine as _;
    let info = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(answer["client_info"].as_str().unwrap())
        .unwrap();
    let info: Value = serde_json::from_slice(&info).unwrap();
    assert_eq!(info, value!({ "uid": ALICE, "utid": TENANT }));
    assert!(answer["scope"].as_str().unwrap().contains(AUDIENCE));

    let answer = ask(
        &emulator,
        &form(&format!("{AUDIENCE}/.default")).replace("&client_info=1", ""),
    );
    assert_eq!(token(&answer)["oid"], ALICE);
    for member in ["id_token", "refresh_token", "client_info"] {
        assert!(answer.get(member).is_none(), "{member}");
    }
    for tenant in ["organizations", "common", "contoso.com"] {
        let answer = json(emulator.post(&format!("/{tenant}/oauth2/v2.0/token"), &form(&scope)));
        assert_eq!(token(&answer)["tid"], TENANT);
    }
    let v1 = form("x").replace("scope=x", &format!("resource={AUDIENCE}"));
    let answer = json(emulator.post("/contoso.com/oauth2/token", &v1));
    assert_eq!(token(&answer)["oid"], ALICE);
    assert!(answer["expires_on"].is_string());
}

#[test]
fn wrong_passwords_and_users_are_refused() {
    let emulator = Emulator::start();
    let good = form(&format!("{AUDIENCE}/.default"));
    let refused = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        let answer = ask(&emulator, &good.replace(from, to));
        let (error, code) = error(&answer);
        let text = answer["error_description"].as_str().unwrap();
        assert!(!text.contains("battery"), "{text}");
        (error.to_owned(), code)
    };
    let refusal = |error: &str, code| (error.to_owned(), code);
    assert_eq!(refused("staple", "Staple"), refusal("invalid_grant", 50126));
    assert_eq!(refused("alice", "carol"), refusal("invalid_grant", 50126));
    assert_eq!(refused("alice", "eve"), refusal("invalid_grant", 50034));
    assert_eq!(
        refused("username", "user"),
        refusal("invalid_request", 900_144)
    );
    assert_eq!(
        refused("password=", "x="),
        refusal("invalid_request", 900_144)
    );
    assert_eq!(refused("scope", "x"), refusal("invalid_request", 900_144));
    assert_eq!(
        refused("aada0000-0000-4000-8000-000000000050/", "nothing/"),
        refusal("invalid_resource", 500_011)
    );
    let two = "aada0000-0000-4000-8000-000000000050/.default+User.Read";
    assert_eq!(
        refused("aada0000-0000-4000-8000-000000000050/.default", two),
        refusal("invalid_scope", 28000)
    );
    assert_eq!(
        refused(AZURE_CLI, "00000000-0000-4000-8000-000000000000"),
        refusal("unauthorized_client", 700_016)
    );
    // An application that can keep a secret must show it; one that can't must not have one.
    assert_eq!(
        refused(AZURE_CLI, REPORTING),
        refusal("invalid_client", 7_000_218)
    );
    let secret = format!("{REPORTING}&client_secret=wrong");
    assert_eq!(
        refused(AZURE_CLI, &secret),
        refusal("invalid_client", 7_000_215)
    );
    let secret = format!("{AZURE_CLI}&client_secret=x");
    assert_eq!(
        refused(AZURE_CLI, &secret),
        refusal("invalid_client", 700_025)
    );
    let secret = format!("{REPORTING}&client_secret=reporting-secret");
    let answer = ask(&emulator, &good.replace(AZURE_CLI, &secret));
    assert_eq!(token(&answer)["appid"], REPORTING);

    let blocked = emulator.run(&["control"], &["user", "alice@contoso.com", "--disable"]);
    assert!(blocked.status.success());
    assert_eq!(error(&ask(&emulator, &good)), ("invalid_grant", 50057));
}

#[test]
fn refresh_tokens_are_for_their_client_and_any_resource() {
    let emulator = Emulator::start();
    let first = ask(
        &emulator,
        &form(&format!("{AUDIENCE}/.default+offline_access")),
    );
    let given = first["refresh_token"].as_str().unwrap();
    let refresh = |token: &str, client: &str, scope: &str| {
        let form = format!(
            "grant_type=refresh_token&client_id={client}&refresh_token={token}&scope={scope}"
        );
        ask(&emulator, &form)
    };
    let again = refresh(
        given,
        AZURE_CLI,
        "api://aada0000-0000-4000-8000-000000000051/.default+offline_access",
    );
    let claims = token(&again);
    assert_eq!(claims["oid"], ALICE);
    assert_eq!(claims["ver"], "2.0");
    assert_ne!(again["refresh_token"], first["refresh_token"]);
    assert_eq!(
        token(&refresh(given, AZURE_CLI, "User.Read"))["aud"],
        "https://graph.microsoft.com"
    );

    assert_eq!(
        error(&refresh("x", AZURE_CLI, "User.Read")),
        ("invalid_grant", 70000)
    );
    let other = format!("{REPORTING}&client_secret=reporting-secret");
    assert_eq!(
        error(&refresh(given, &other, "User.Read")),
        ("invalid_grant", 70000)
    );
    emulator.run(&["control"], &["user", "alice@contoso.com", "--delete"]);
    assert_eq!(
        error(&refresh(given, AZURE_CLI, "User.Read")),
        ("invalid_grant", 50034)
    );
}

#[test]
fn public_clients_stand_in_the_directory_file() {
    let state = tempfile::tempdir().unwrap();
    let application = format!(
        "  [[tenant.application]]\n  name = \"desktop\"\n  client_id = \"{DESKTOP}\"\n  \
         oid = \"de540000-0000-4000-8000-0000000000a1\"\n  public_client = true\n\n"
    );
    let marker = "  [[tenant.application]]\n";
    let text = entra_emulator::directory::BUILT_IN.replacen(marker, &(application + marker), 1);
    let file = state.path().join("world.toml");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap().to_owned();
    let emulator = Emulator::start_on(state, &["--directory", &file]);
    let good = form(&format!("{AUDIENCE}/.default")).replace(AZURE_CLI, DESKTOP);
    assert_eq!(token(&ask(&emulator, &good))["appid"], DESKTOP);
    let own = good.replace("grant_type=password", "grant_type=client_credentials");
    assert_eq!(error(&ask(&emulator, &own)), ("invalid_client", 7_000_216));
}

#[test]
fn users_realms_are_told() {
    let emulator = Emulator::start();
    let realm = emulator.get_json("/common/userrealm/alice%40contoso.com?api-version=1.0");
    assert_eq!(realm["account_type"], "Managed");
    assert_eq!(realm["domain_name"], "contoso.com");
    let realm = emulator.get_json("/common/userrealm/eve@fabrikam.com?api-version=1.0");
    assert_eq!(realm["account_type"], "Unknown");
}
