//! Authorization codes: who signs in, where browsers are sent, and who may redeem what they bring.

use reqwest::Url;
use reqwest::blocking::Response;
use serde_json::Value;

use crate::emulator::{AUDIENCE, Emulator, TENANT, json, part, state};
use crate::users::{ALICE, AZURE_CLI};

const DESKTOP: &str = "de540000-0000-4000-8000-0000000000a0";
const REPORTING: &str = "4e904700-0000-4000-8000-000000000020";
const BACK: &str = "http://localhost:8400";
/// The example of RFC 7636.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// With a second public client, a confidential client that has a web page, and another tenant.
fn start(extra: &[&str]) -> Emulator {
    let state = state();
    let marker = "  [[tenant.application]]\n";
    let desktop = format!(
        "{marker}  name = \"desktop\"\n  client_id = \"{DESKTOP}\"\n  \
         oid = \"de540000-0000-4000-8000-0000000000a1\"\n  public_client = true\n  \
         redirect_uris = [\"http://localhost\"]\n\n"
    );
    let secret = "  secrets = [\"reporting-secret\"]\n";
    let web = format!("{secret}  redirect_uris = [\"https://reports.contoso.com/in?x=1\"]\n");
    let other = "\n[[tenant]]\nid = \"fab41ca0-0000-4000-8000-000000000001\"\n\
                 name = \"Fabrikam\"\ndomains = [\"fabrikam.com\"]\n";
    let text = entra_emulator::directory::BUILT_IN
        .replacen(secret, &web, 1)
        .replacen(marker, &(desktop + marker), 1)
        + other;
    let file = state.path().join("world.toml");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap().to_owned();
    Emulator::start_on(state, &[&["--directory", &file], extra].concat())
}

/// What a client of the user Alice sends a browser with; `changes` replace parameters, or remove them if empty.
fn authorize(emulator: &Emulator, changes: &[(&str, &str)]) -> Response {
    authorize_at(emulator, TENANT, changes)
}

fn authorize_at(emulator: &Emulator, tenant: &str, changes: &[(&str, &str)]) -> Response {
    let scope = format!("{AUDIENCE}/.default openid offline_access");
    let usual = [
        ("client_id", AZURE_CLI),
        ("response_type", "code"),
        ("redirect_uri", BACK),
        ("scope", &scope),
        ("state", "a b&\"<c>"),
        ("nonce", "once"),
        ("login_hint", "alice@contoso.com"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    let changed = |name: &str| changes.iter().any(|(own, _)| *own == name);
    let kept = usual.iter().filter(|(name, _)| !changed(name));
    let new = changes.iter().filter(|(_, value)| !value.is_empty());
    let address = format!(
        "{}/{tenant}/oauth2/v2.0/authorize",
        emulator.running.authority
    );
    let url = Url::parse_with_params(&address, kept.chain(new)).unwrap();
    emulator.client.get(url).send().unwrap()
}

/// Where the browser is sent.
fn location(response: &Response) -> Url {
    assert_eq!(response.status(), 302);
    Url::parse(response.headers()["location"].to_str().unwrap()).unwrap()
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    let mut pairs = url.query_pairs();
    let found = pairs.find(|(own, _)| own == name);
    found.map(|(_, value)| value.into_owned())
}

fn code(emulator: &Emulator, changes: &[(&str, &str)]) -> String {
    parameter(&location(&authorize(emulator, changes)), "code").unwrap()
}

/// Redeems a code, with the same changes of what is usual.
fn redeem(emulator: &Emulator, code: &str, changes: &[(&str, &str)]) -> Value {
    redeem_at(emulator, TENANT, code, changes)
}

fn redeem_at(emulator: &Emulator, tenant: &str, code: &str, changes: &[(&str, &str)]) -> Value {
    let usual = [
        ("grant_type", "authorization_code"),
        ("client_id", AZURE_CLI),
        ("code", code),
        ("redirect_uri", BACK),
        ("code_verifier", VERIFIER),
    ];
    let changed = |name: &str| changes.iter().any(|(own, _)| *own == name);
    let kept = usual.iter().filter(|(name, _)| !changed(name));
    let new = changes.iter().filter(|(_, value)| !value.is_empty());
    let form = Url::parse_with_params("form:", kept.chain(new)).unwrap();
    json(emulator.post(
        &format!("/{tenant}/oauth2/v2.0/token"),
        form.query().unwrap(),
    ))
}

fn error(answer: &Value) -> (&str, u64) {
    assert!(answer.get("access_token").is_none(), "{answer}");
    (
        answer["error"].as_str().unwrap(),
        answer["error_codes"][0].as_u64().unwrap(),
    )
}

#[test]
fn codes_get_tokens_once() {
    let emulator = start(&[]);
    let metadata = emulator.get_json("/contoso.com/v2.0/.well-known/openid-configuration");
    let endpoint = format!(
        "{}/{TENANT}/oauth2/v2.0/authorize",
        emulator.running.authority
    );
    assert_eq!(metadata["authorization_endpoint"], endpoint);

    let back = location(&authorize(&emulator, &[]));
    assert!(back.as_str().starts_with("http://localhost:8400/?code="));
    assert_eq!(parameter(&back, "state").unwrap(), "a b&\"<c>");
    let code = parameter(&back, "code").unwrap();
    let answer = redeem(&emulator, &code, &[]);
    let claims = part(answer["access_token"].as_str().unwrap(), 1);
    assert_eq!(claims["oid"], ALICE);
    assert_eq!(claims["aud"], AUDIENCE);
    assert_eq!(claims["appid"], AZURE_CLI);
    assert_eq!(claims["amr"], serde_json::json!(["pwd", "mfa"]));
    let id = part(answer["id_token"].as_str().unwrap(), 1);
    assert_eq!(id["nonce"], "once");
    assert_eq!(id["aud"], AZURE_CLI);

    let refresh = answer["refresh_token"].as_str().unwrap();
    let form = format!(
        "grant_type=refresh_token&client_id={AZURE_CLI}&refresh_token={refresh}\
         &scope={AUDIENCE}/.default+openid"
    );
    let again = json(emulator.post(&format!("/{TENANT}/oauth2/v2.0/token"), &form));
    assert_eq!(
        part(again["access_token"].as_str().unwrap(), 1)["oid"],
        ALICE
    );
    let id = part(again["id_token"].as_str().unwrap(), 1);
    assert!(id.get("nonce").is_none(), "{id}");

    assert_eq!(
        error(&redeem(&emulator, &code, &[])),
        ("invalid_grant", 54005)
    );
}

#[test]
fn codes_are_bound_to_what_they_were_asked_with() {
    let emulator = start(&[]);
    let given = code(&emulator, &[]);
    let refused = |changes: &[(&str, &str)]| {
        let answer = redeem(&emulator, &given, changes);
        let (error, code) = error(&answer);
        (error.to_owned(), code)
    };
    let refusal = |error: &str, code| (error.to_owned(), code);
    let wrong = "x".repeat(43);
    for (changes, wanted) in [
        (
            ("code_verifier", wrong.as_str()),
            ("invalid_grant", 501_481),
        ),
        (("code_verifier", CHALLENGE), ("invalid_grant", 501_481)),
        (("code_verifier", ""), ("invalid_grant", 50148)),
        (("client_id", DESKTOP), ("invalid_grant", 70000)),
        (
            ("redirect_uri", "http://localhost:8401"),
            ("invalid_client", 500_112),
        ),
        (("redirect_uri", ""), ("invalid_request", 900_144)),
        (("code", "invented"), ("invalid_grant", 70000)),
        (("code", ""), ("invalid_request", 900_144)),
        (("client_secret", "x"), ("invalid_client", 700_025)),
    ] {
        assert_eq!(
            refused(&[changes]),
            refusal(wanted.0, wanted.1),
            "{changes:?}"
        );
    }
    for tenant in ["common", "fabrikam.com"] {
        let answer = redeem_at(&emulator, tenant, &given, &[]);
        assert_eq!(error(&answer), ("invalid_grant", 700_005), "{tenant}");
    }
    // None of that used it up.
    assert!(redeem(&emulator, &given, &[])["access_token"].is_string());

    let unguarded = [("code_challenge", ""), ("code_challenge_method", "")];
    let given = code(&emulator, &unguarded);
    let answer = redeem(&emulator, &given, &[]);
    assert_eq!(error(&answer), ("invalid_grant", 501_481));
    let answer = redeem(&emulator, &given, &[("code_verifier", "")]);
    assert!(answer["access_token"].is_string(), "{answer}");

    let given = code(&emulator, &[]);
    emulator.run(&["control"], &["user", "alice@contoso.com", "--disable"]);
    assert_eq!(
        error(&redeem(&emulator, &given, &[])),
        ("invalid_grant", 50057)
    );
}

#[test]
fn browsers_are_sent_nowhere_else() {
    let emulator = start(&[]);
    for (changes, wanted) in [
        (("redirect_uri", "http://localhost:8400/other"), 50011),
        (("redirect_uri", "https://evil.example/"), 50011),
        (("redirect_uri", "localhost"), 50011),
        (("redirect_uri", ""), 900_144),
        (
            ("client_id", "00000000-0000-4000-8000-000000000000"),
            700_016,
        ),
        (("client_id", REPORTING), 50011),
        (("client_id", ""), 900_144),
        (("response_mode", "web_message"), 70007),
        (("login_hint", "eve@contoso.com"), 50034),
        (("login_hint", "dave@contoso.com"), 50057),
    ] {
        let response = authorize(&emulator, &[changes]);
        assert!(response.headers().get("location").is_none(), "{changes:?}");
        assert_eq!(json(response)["error_codes"][0], wanted, "{changes:?}");
    }
    // Alice is not of that tenant, nor is the desktop application.
    let answer = json(authorize_at(&emulator, "fabrikam.com", &[]));
    assert_eq!(answer["error_codes"][0], 50034);
    let answer = authorize_at(&emulator, "fabrikam.com", &[("client_id", DESKTOP)]);
    assert_eq!(json(answer)["error_codes"][0], 700_016);
}

#[test]
fn clients_are_told_what_they_did_wrong() {
    let emulator = start(&[]);
    let nobody = ("login_hint", "");
    for (changes, error, code) in [
        (
            &[("response_type", "id_token")][..],
            "unsupported_response_type",
            "AADSTS70005:",
        ),
        (&[("response_type", "")], "invalid_request", "AADSTS900144:"),
        (&[("scope", "")], "invalid_request", "AADSTS900144:"),
        (&[("code_challenge", "")], "invalid_request", "AADSTS50147:"),
        (
            &[("code_challenge", "short")],
            "invalid_request",
            "AADSTS501491:",
        ),
        (
            &[("code_challenge_method", "S512")],
            "invalid_request",
            "AADSTS50149:",
        ),
        (
            &[nobody, ("prompt", "none")],
            "login_required",
            "AADSTS50058:",
        ),
    ] {
        let back = location(&authorize(&emulator, changes));
        assert!(back.as_str().starts_with(BACK), "{back}");
        assert_eq!(parameter(&back, "error").unwrap(), error);
        let text = parameter(&back, "error_description").unwrap();
        assert!(text.starts_with(code), "{text}");
        assert_eq!(parameter(&back, "state").unwrap(), "a b&\"<c>");
        assert_eq!(parameter(&back, "code"), None);
    }
}

#[test]
fn somebody_chooses_who_signs_in() {
    let emulator = start(&[]);
    let page = authorize(&emulator, &[("login_hint", "")]).text().unwrap();
    assert!(!page.contains("<c>"), "{page}");
    let link = page
        .lines()
        .find(|line| line.contains(">mallory@contoso.com<"))
        .and_then(|line| line.split('"').nth(1))
        .unwrap()
        .replace("&amp;", "&");
    let back = location(&emulator.client.get(link).send().unwrap());
    let answer = redeem(&emulator, &parameter(&back, "code").unwrap(), &[]);
    let claims = part(answer["access_token"].as_str().unwrap(), 1);
    assert_eq!(claims["oid"], "3a110000-0000-4000-8000-000000000004");

    let emulator = start(&["--approve-device-codes", "carol@contoso.com"]);
    let nobody = [("login_hint", ""), ("prompt", "none")];
    let answer = redeem(&emulator, &code(&emulator, &nobody), &[]);
    let claims = part(answer["access_token"].as_str().unwrap(), 1);
    assert_eq!(claims["oid"], "ca401000-0000-4000-8000-000000000003");
    // A hint says more than a default.
    let answer = redeem(&emulator, &code(&emulator, &[]), &[]);
    let claims = part(answer["access_token"].as_str().unwrap(), 1);
    assert_eq!(claims["oid"], ALICE);
}

#[test]
fn answers_are_carried_as_the_client_wants() {
    let emulator = start(&[]);
    let fragment = location(&authorize(&emulator, &[("response_mode", "fragment")]));
    assert_eq!(fragment.query(), None);
    assert!(fragment.fragment().unwrap().starts_with("code="));

    let response = authorize(&emulator, &[("response_mode", "form_post")]);
    assert_eq!(response.status(), 200);
    let page = response.text().unwrap();
    assert!(page.contains("action=\"http://localhost:8400/\""), "{page}");
    assert!(page.contains("value=\"a b&amp;&quot;&lt;c&gt;\""), "{page}");
    let code = page
        .split("name=\"code\" value=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap();
    assert!(redeem(&emulator, code, &[])["access_token"].is_string());
}

#[test]
fn confidential_clients_prove_themselves_when_they_redeem() {
    let emulator = start(&[]);
    let web = [
        ("client_id", REPORTING),
        ("redirect_uri", "https://reports.contoso.com/in?x=1"),
    ];
    let back = location(&authorize_at(&emulator, "common", &web));
    assert_eq!(parameter(&back, "x").unwrap(), "1");
    let given = parameter(&back, "code").unwrap();
    let redeem = |secret: &str| {
        let secret = [&web[..], &[("client_secret", secret)]].concat();
        redeem_at(&emulator, "common", &given, &secret)
    };
    assert_eq!(error(&redeem("")), ("invalid_client", 7_000_218));
    assert_eq!(error(&redeem("wrong")), ("invalid_client", 7_000_215));
    let answer = redeem("reporting-secret");
    let claims = part(answer["access_token"].as_str().unwrap(), 1);
    assert_eq!(claims["appid"], REPORTING);
    assert_eq!(claims["oid"], ALICE);
}
