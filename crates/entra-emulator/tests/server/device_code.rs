//! Device codes, and what users do with them.

use serde_json::Value;

use crate::emulator::{AUDIENCE, Emulator, TENANT, json, part};
use crate::users::{ALICE, AZURE_CLI};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

fn hand_out(emulator: &Emulator, tenant: &str) -> Value {
    let form = format!("client_id={AZURE_CLI}&scope={AUDIENCE}/.default+openid+offline_access");
    let answer = json(emulator.post(&format!("/{tenant}/oauth2/v2.0/devicecode"), &form));
    assert!(answer["device_code"].is_string(), "{answer}");
    answer
}

fn poll_as(emulator: &Emulator, client: &str, code: &Value) -> Value {
    let code = code["device_code"].as_str().unwrap();
    let form = format!("grant_type={GRANT}&client_id={client}&device_code={code}&client_info=1");
    json(emulator.post(&format!("/{TENANT}/oauth2/v2.0/token"), &form))
}

fn poll(emulator: &Emulator, code: &Value) -> Value {
    poll_as(emulator, AZURE_CLI, code)
}

fn enter(emulator: &Emulator, code: &Value, words: &[&str]) {
    let user_code = code["user_code"].as_str().unwrap();
    let words = [&["device", user_code], words].concat();
    let output = emulator.run(&["control"], &words);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn codes_wait_for_their_user() {
    let emulator = Emulator::start();
    let metadata = emulator.get_json("/contoso.com/v2.0/.well-known/openid-configuration");
    assert_eq!(
        metadata["device_authorization_endpoint"],
        format!(
            "{}/{TENANT}/oauth2/v2.0/devicecode",
            emulator.running.authority
        )
    );
    let code = hand_out(&emulator, TENANT);
    assert_eq!(code["expires_in"], 900);
    assert_eq!(code["interval"], 5);
    let user_code = code["user_code"].as_str().unwrap();
    assert_eq!(user_code.len(), 9);
    assert!(code["message"].as_str().unwrap().contains(user_code));
    let page = code["verification_uri"].as_str().unwrap();
    let page = emulator.client.get(page).send().unwrap().text().unwrap();
    assert!(page.contains("control --state DIR device"), "{page}");

    let pending = poll(&emulator, &code);
    assert_eq!(pending["error"], "authorization_pending");
    assert_eq!(pending["error_codes"][0], 70016);
    // Five seconds have not passed.
    assert_eq!(poll(&emulator, &code)["error"], "slow_down");
    assert_eq!(
        poll_as(&emulator, ALICE, &code)["error"],
        "unauthorized_client"
    );

    enter(&emulator, &code, &["--user", "alice@contoso.com"]);
    let answer = poll(&emulator, &code);
    let claims = part(answer["access_token"].as_str().unwrap(), 1);
    assert_eq!(claims["oid"], ALICE);
    assert_eq!(claims["aud"], AUDIENCE);
    assert_eq!(claims["amr"], serde_json::json!(["pwd", "mfa"]));
    assert_eq!(
        part(answer["id_token"].as_str().unwrap(), 1)["preferred_username"],
        "alice@contoso.com"
    );
    assert!(answer["refresh_token"].is_string());

    // A code is good once.
    let replayed = poll(&emulator, &code);
    assert_eq!(replayed["error"], "invalid_grant");
    assert_eq!(replayed["error_codes"][0], 54005);
    let again = emulator.run(&["control"], &["device", user_code, "--decline"]);
    assert_eq!(again.status.code(), Some(1));
}

#[test]
fn codes_are_declined_expire_and_are_not_invented() {
    let emulator = Emulator::start();
    let declined = hand_out(&emulator, "common");
    enter(&emulator, &declined, &["--decline"]);
    assert_eq!(
        poll(&emulator, &declined)["error"],
        "authorization_declined"
    );
    let expired = hand_out(&emulator, TENANT);
    enter(&emulator, &expired, &["--expire"]);
    let answer = poll(&emulator, &expired);
    assert_eq!(answer["error"], "expired_token");
    assert_eq!(answer["error_codes"][0], 70019);
    // Nobody is let in by what came too late.
    let late = expired["user_code"].as_str().unwrap();
    emulator.run(
        &["control"],
        &["device", late, "--user", "alice@contoso.com"],
    );
    assert_eq!(poll(&emulator, &expired)["error"], "expired_token");
    let invented = serde_json::json!({ "device_code": "x" });
    assert_eq!(poll(&emulator, &invented)["error"], "bad_verification_code");

    let code = hand_out(&emulator, TENANT);
    let user_code = code["user_code"].as_str().unwrap();
    for words in [
        &["device", user_code, "--user", "eve@contoso.com"][..],
        &["device", "BCDFGHJKL", "--user", "alice@contoso.com"],
        &["device", user_code],
    ] {
        assert!(
            !emulator.run(&["control"], words).status.success(),
            "{words:?}"
        );
    }
    assert_eq!(poll(&emulator, &code)["error"], "authorization_pending");
    enter(&emulator, &code, &["--user", "dave@contoso.com"]);
    assert_eq!(poll(&emulator, &code)["error_codes"][0], 50057);
}

#[test]
fn clients_of_codes_keep_no_secrets() {
    let emulator = Emulator::start();
    let ask = |form: &str| json(emulator.post("/contoso.com/oauth2/v2.0/devicecode", form));
    let reporting =
        format!("client_id=4e904700-0000-4000-8000-000000000020&scope={AUDIENCE}/.default");
    assert_eq!(ask(&reporting)["error_codes"][0], 7_000_218);
    assert_eq!(ask("scope=openid")["error_codes"][0], 900_144);
    assert_eq!(
        ask(&format!("client_id={AZURE_CLI}"))["error_codes"][0],
        900_144
    );
    let v1 = format!("client_id={AZURE_CLI}&resource={AUDIENCE}");
    let code = json(emulator.post("/contoso.com/oauth2/devicecode", &v1));
    assert!(code["verification_url"].is_string(), "{code}");
    enter(&emulator, &code, &["--user", "alice@contoso.com"]);
    // By the other names that clients use.
    let form = format!(
        "grant_type=device_code&client_id={AZURE_CLI}&resource={AUDIENCE}&code={}",
        code["device_code"].as_str().unwrap()
    );
    let answer = json(emulator.post("/contoso.com/oauth2/token", &form));
    assert_eq!(
        part(answer["access_token"].as_str().unwrap(), 1)["oid"],
        ALICE
    );
}

#[test]
fn one_user_may_enter_every_code() {
    let state = tempfile::tempdir().unwrap();
    let extra = ["--approve-device-codes", "alice@contoso.com"];
    let emulator = Emulator::start_on(state, &extra);
    let answer = poll(&emulator, &hand_out(&emulator, TENANT));
    assert_eq!(
        part(answer["access_token"].as_str().unwrap(), 1)["oid"],
        ALICE
    );

    let state = tempfile::tempdir().unwrap();
    let words = ["--approve-device-codes", "eve@contoso.com"];
    let refused = crate::emulator::run(state.path(), &["serve"], &words);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("eve@contoso.com"));
}
