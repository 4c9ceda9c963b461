//! Client credentials with a secret, at both token endpoints.

use crate::emulator::{AUDIENCE, Emulator, TENANT, json, part};

const CLIENT: &str = "4e904700-0000-4000-8000-000000000020";
const GOOD: &str = "grant_type=client_credentials&client_id=4e904700-0000-4000-8000-000000000020\
                    &client_secret=reporting-secret&scope=api%3A%2F%2Faada0000-0000-4000-8000-000000000050%2F.default";

#[test]
fn secret_gets_a_token() {
    let emulator = Emulator::start();
    let body = json(emulator.post(&format!("/{TENANT}/oauth2/v2.0/token"), GOOD));
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 3599);
    let claims = part(body["access_token"].as_str().unwrap(), 1);
    assert_eq!(claims["appid"], CLIENT);
    assert_eq!(claims["aud"], AUDIENCE);
    assert_eq!(claims["idtyp"], "app");
    assert_eq!(claims["appidacr"], "1");
    assert_eq!(claims["oid"], "4e904700-0000-4000-8000-000000000021");
    assert_eq!(
        claims["iss"],
        format!("{}/{TENANT}/", emulator.running.authority)
    );
}

#[test]
fn version_follows_the_resource_not_the_endpoint() {
    let emulator = Emulator::start();
    let form = GOOD.replace(
        "aada0000-0000-4000-8000-000000000050",
        "aada0000-0000-4000-8000-000000000051",
    );
    let body = json(emulator.post("/contoso.com/oauth2/v2.0/token", &form));
    assert_eq!(
        part(body["access_token"].as_str().unwrap(), 1)["ver"],
        "2.0"
    );
    let form = form
        .replace("scope=", "resource=")
        .replace("%2F.default", "");
    let body = json(emulator.post("/contoso.com/oauth2/token", &form));
    assert_eq!(
        part(body["access_token"].as_str().unwrap(), 1)["ver"],
        "2.0"
    );
    let body = json(emulator.post("/contoso.com/oauth2/v2.0/token", GOOD));
    assert_eq!(
        part(body["access_token"].as_str().unwrap(), 1)["ver"],
        "1.0"
    );
}

#[test]
fn v1_endpoint_writes_numbers_as_text() {
    let emulator = Emulator::start();
    let form = GOOD
        .replace("scope=", "resource=")
        .replace("%2F.default", "");
    let body = json(emulator.post("/contoso.com/oauth2/token", &form));
    for member in ["expires_in", "ext_expires_in", "expires_on", "not_before"] {
        assert!(
            body[member].as_str().unwrap().parse::<i64>().is_ok(),
            "{member}"
        );
    }
    assert_eq!(body["resource"], AUDIENCE);
    assert_eq!(
        part(body["access_token"].as_str().unwrap(), 1)["aud"],
        AUDIENCE
    );
}

#[test]
fn scope_loses_its_suffix_and_nothing_else() {
    let emulator = Emulator::start();
    for (scope, audience) in [
        (
            "https://ossrdbms-aad.database.windows.net/.default",
            "https://ossrdbms-aad.database.windows.net",
        ),
        (
            "https://ossrdbms-aad.database.windows.net//.default",
            "https://ossrdbms-aad.database.windows.net/",
        ),
    ] {
        let form = GOOD.replace(
            "api%3A%2F%2Faada0000-0000-4000-8000-000000000050%2F.default",
            scope,
        );
        let body = json(emulator.post("/contoso.com/oauth2/v2.0/token", &form));
        assert_eq!(
            part(body["access_token"].as_str().unwrap(), 1)["aud"],
            audience
        );
    }
}

#[test]
fn secret_may_come_in_the_authorization_header() {
    let emulator = Emulator::start();
    let ask = |secret: &str| {
        emulator
            .client
            .post(format!(
                "{}/contoso.com/oauth2/v2.0/token",
                emulator.running.authority
            ))
            .basic_auth(CLIENT, Some(secret))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body("grant_type=client_credentials&scope=api://aada0000-0000-4000-8000-000000000050/.default")
            .send()
            .unwrap()
    };
    assert!(json(ask("reporting-secret"))["access_token"].is_string());
    assert_eq!(json(ask("wrong"))["error_codes"][0], 7_000_215);
}

#[test]
fn errors_are_entras() {
    let emulator = Emulator::start();
    let other = "e15e0000-0000-4000-8000-0000000000e1";
    for (place, from, to, status, error, code) in [
        (
            "contoso.com",
            "client_credentials",
            "saml",
            400,
            "unsupported_grant_type",
            70003,
        ),
        (
            "contoso.com",
            "grant_type=",
            "x=",
            400,
            "invalid_request",
            900_144,
        ),
        (
            "contoso.com",
            "client_id=",
            "x=",
            400,
            "invalid_request",
            900_144,
        ),
        (
            "contoso.com",
            "&scope=",
            "&x=",
            400,
            "invalid_request",
            900_144,
        ),
        (
            "contoso.com",
            CLIENT,
            other,
            400,
            "unauthorized_client",
            700_016,
        ),
        (
            "contoso.com",
            "reporting-secret",
            "",
            401,
            "invalid_client",
            7_000_215,
        ),
        (
            "contoso.com",
            "reporting-secret",
            "Reporting-secret",
            401,
            "invalid_client",
            7_000_215,
        ),
        (
            "contoso.com",
            "client_secret=",
            "x=",
            401,
            "invalid_client",
            7_000_216,
        ),
        (
            "contoso.com",
            ".default",
            "read",
            400,
            "invalid_scope",
            1_002_012,
        ),
        (
            "contoso.com",
            "aada0000-0000-4000-8000-000000000050",
            "nothing",
            400,
            "invalid_resource",
            500_011,
        ),
        ("fabrikam.com", "", "", 400, "invalid_tenant", 90002),
        ("common", "", "", 400, "invalid_request", 50059),
    ] {
        let form = if from.is_empty() {
            GOOD.to_owned()
        } else {
            GOOD.replace(from, to)
        };
        let response = emulator.post(&format!("/{place}/oauth2/v2.0/token"), &form);
        assert_eq!(response.status(), status, "{code}");
        let body = json(response);
        assert_eq!(body["error"], error, "{body}");
        assert_eq!(body["error_codes"], serde_json::json!([code]), "{body}");
        let text = body["error_description"].as_str().unwrap();
        assert!(text.starts_with(&format!("AADSTS{code}: ")), "{text}");
        assert!(!text.contains("reporting-secret"), "{text}");
        assert!(body.get("access_token").is_none());
    }
}
