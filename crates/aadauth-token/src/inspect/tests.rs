use std::sync::atomic::{AtomicU32, Ordering};

use clap::Parser;
use clap::error::ErrorKind;
use entra_token::Reason;
use serde_json::{Value, json};

use super::common::*;
use super::{AFTER_HELP, Options, run};

#[derive(Debug, Parser)]
#[command(after_help = AFTER_HELP)]
struct Program {
    #[command(flatten)]
    options: Options,
}

/// A key file that goes when the test ends.
struct KeyFile(std::path::PathBuf);

impl KeyFile {
    fn new(content: &str) -> KeyFile {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("inspect-{}-{count}.json", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).unwrap();
        KeyFile(path)
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn ours() -> String {
    json!({ "keys": [ISSUER.jwk()] }).to_string()
}

fn check(jwks: &str, args: &[&str], token: &str) -> Result<(Option<Reason>, String), String> {
    let file = KeyFile::new(jwks);
    let fixed = ["inspect", "--keys", file.0.to_str().unwrap()];
    let args = fixed.iter().chain(args);
    let options = Program::try_parse_from(args)
        .map_err(|error| error.to_string())?
        .options;
    let mut output = Vec::new();
    let refusal = run(&options, &mut token.as_bytes(), &mut output)?;
    Ok((refusal, String::from_utf8(output).unwrap()))
}

/// With tenant, audience and moment given.
fn whole(args: &[&str], claims: &Value) -> (Option<Reason>, String) {
    let tenant = TENANT.to_string();
    let fixed = [
        "--tenant",
        &tenant,
        "--audience",
        AUDIENCE,
        "--at",
        "2027-01-15T08:00:00Z",
    ];
    let args: Vec<&str> = fixed.iter().chain(args).copied().collect();
    check(&ours(), &args, &ISSUER.token(claims)).unwrap()
}

#[test]
fn a_good_token_is_accepted() {
    let (refusal, output) = whole(&[], &user_v1());
    assert_eq!(refusal, None, "{output}");
    assert_eq!(output.lines().last(), Some("accepted"));
    assert!(output.contains("skipped: they need --type and --oid"));
    assert!(
        !output.contains("REFUSED") && !output.contains("not reached"),
        "{output}"
    );

    let alice = ALICE.to_string();
    let (refusal, output) = whole(&["--type", "user", "--oid", &alice, "--mfa"], &user_v1());
    assert_eq!(refusal, None, "{output}");
    assert!(
        output
            .lines()
            .any(|line| line.starts_with("principal ") && line.ends_with(" ok"))
    );
    assert!(!output.contains("skipped"));
    let group = GROUP.to_string();
    assert_eq!(
        whole(&["--type", "group", "--oid", &group], &user_v2()).0,
        None
    );
    let service = SERVICE_APP.to_string();
    assert_eq!(
        whole(&["--type", "service", "--oid", &service], &service_v2()).0,
        None
    );
}

#[test]
fn every_failed_check_is_shown_and_the_first_is_the_reason() {
    let claims = setting(setting(user_v1(), "aud", "x"), "exp", NOW - 60);
    let other = SERVICE.to_string();
    let (refusal, output) = whole(&["--type", "user", "--oid", &other], &claims);
    assert_eq!(refusal, Some(Reason::AudienceMismatch));
    assert_eq!(output.lines().last(), Some("refused: audience-mismatch"));
    for code in ["audience-mismatch", "expired", "object-id-mismatch"] {
        assert!(output.contains(&format!("REFUSED: {code}")), "{output}");
    }
}

#[test]
fn checks_behind_a_bad_form_are_not_reached() {
    let tenant = TENANT.to_string();
    let args = ["--tenant", &tenant, "--audience", AUDIENCE];
    let (refusal, output) = check(&ours(), &args, "no token").unwrap();
    assert_eq!(refusal, Some(Reason::TokenMalformed));
    assert!(
        output
            .lines()
            .any(|line| line.starts_with("signature ") && line.ends_with("not reached"))
    );
    assert_eq!(output.lines().last(), Some("refused: token-malformed"));
    let header = setting(ISSUER.header(), "alg", "none").to_string();
    let token = ISSUER.sign(&header, &user_v1().to_string());
    let (refusal, output) = check(&ours(), &args, &token).unwrap();
    assert_eq!(refusal, Some(Reason::AlgorithmNotAllowed));
    assert!(
        output
            .lines()
            .any(|line| line.starts_with("form ") && line.ends_with(" ok"))
    );
    assert!(
        output
            .lines()
            .any(|line| line.starts_with("header ") && line.contains("REFUSED"))
    );
    let (refusal, _) = check(&ours(), &args, "").unwrap();
    assert_eq!(refusal, Some(Reason::TokenMalformed));
    let (refusal, _) = check(&ours(), &args, &"a".repeat(100_000)).unwrap();
    assert_eq!(refusal, Some(Reason::TokenTooLarge));
}

#[test]
fn keys_decide() {
    let tenant = TENANT.to_string();
    let args = [
        "--tenant",
        &tenant,
        "--audience",
        AUDIENCE,
        "--at",
        "2027-01-15T08:00:00Z",
    ];
    let reason = |jwks: Value, claims: &Value| {
        check(&jwks.to_string(), &args, &ISSUER.token(claims))
            .unwrap()
            .0
    };
    let renamed = setting(ISSUER.jwk(), "kid", "other");
    assert_eq!(
        reason(json!({ "keys": [renamed] }), &user_v1()),
        Some(Reason::KeyUnknown)
    );
    let strange = Signer::generate(KEY_ID).jwk();
    assert_eq!(
        reason(json!({ "keys": [strange] }), &user_v1()),
        Some(Reason::SignatureInvalid)
    );
    // A key that says it is the v2 issuer's does not vouch for v1.
    let v2 = "https://login.microsoftonline.com/{tenantid}/v2.0";
    let bound = json!({ "keys": [setting(ISSUER.jwk(), "issuer", v2)] });
    assert_eq!(
        reason(bound.clone(), &user_v1()),
        Some(Reason::SigningKeysUnavailable)
    );
    assert_eq!(reason(bound, &user_v2()), None);
}

#[test]
fn the_issuer_follows_from_cloud_and_host() {
    let tenant = TENANT.to_string();
    let fixed = [
        "--tenant",
        &tenant,
        "--audience",
        AUDIENCE,
        "--at",
        "2027-01-15T08:00:00Z",
    ];
    let reason = |args: &[&str], issuer: &str| {
        let args: Vec<&str> = fixed.iter().chain(args).copied().collect();
        let token = ISSUER.token(&setting(user_v1(), "iss", issuer));
        check(&ours(), &args, &token).unwrap().0
    };
    let china = format!("https://sts.chinacloudapi.cn/{TENANT}/");
    assert_eq!(reason(&["--cloud", "china"], &china), None);
    assert_eq!(reason(&[], &china), Some(Reason::IssuerNotServed));
    let own = format!("https://localhost:8443/{TENANT}/");
    assert_eq!(
        reason(&["--authority-host", "https://localhost:8443"], &own),
        None
    );
    assert_eq!(reason(&[], &own), Some(Reason::IssuerNotServed));
}

#[test]
fn a_line_feed_behind_the_token_is_ignored() {
    let tenant = TENANT.to_string();
    let args = [
        "--tenant",
        &tenant,
        "--audience",
        AUDIENCE,
        "--at",
        "2027-01-15T08:00:00+00:00",
    ];
    let token = ISSUER.token(&user_v1());
    for ending in ["\n", "\r\n"] {
        assert_eq!(
            check(&ours(), &args, &format!("{token}{ending}"))
                .unwrap()
                .0,
            None
        );
    }
    for ending in ["\n\n", " \n", "\r"] {
        let refusal = check(&ours(), &args, &format!("{token}{ending}"))
            .unwrap()
            .0;
        assert_eq!(refusal, Some(Reason::TokenMalformed));
    }
}

#[test]
fn signatures_alone_leave_the_payload_unread() {
    let header = without(ISSUER.header(), "typ").to_string();
    for payload in ["Test", "", "{\"a\":1,\"a\":1}"] {
        let token = ISSUER.sign(&header, payload);
        let (refusal, output) = check(&ours(), &["--signature-only"], &token).unwrap();
        assert_eq!(refusal, None, "{output}");
        assert_eq!(output.lines().last(), Some("accepted"));
        assert!(
            output
                .lines()
                .any(|l| l.starts_with("payload ") && l.ends_with("not read"))
        );
    }
    let refusal = |token: &str| check(&ours(), &["--signature-only"], token).unwrap().0;
    let nameless = without(ISSUER.header(), "kid").to_string();
    assert_eq!(
        refusal(&ISSUER.sign(&nameless, "x")),
        Some(Reason::HeaderInvalid)
    );
    let hs256 = setting(ISSUER.header(), "alg", "HS256").to_string();
    assert_eq!(
        refusal(&ISSUER.sign(&hs256, "x")),
        Some(Reason::AlgorithmNotAllowed)
    );
    let forged = Signer::generate(KEY_ID).sign(&header, "x");
    assert_eq!(refusal(&forged), Some(Reason::SignatureInvalid));
    let unknown = Signer::generate("other").token(&user_v1());
    assert_eq!(refusal(&unknown), Some(Reason::KeyUnknown));
}

/// A set that the server would not take is no wrong usage: the server would refuse the token.
#[test]
fn a_set_without_usable_keys_refuses() {
    let token = ISSUER.token(&user_v1());
    let secret = json!({ "keys": [{ "kty": "oct", "kid": KEY_ID, "k": "AAAA" }] }).to_string();
    let (refusal, output) = check(&secret, &["--signature-only"], &token).unwrap();
    assert_eq!(refusal, Some(Reason::SigningKeysUnavailable));
    assert!(
        output.contains("no usable signing key: the first key's kty is not RSA"),
        "{output}"
    );
    let private = json!({ "keys": [setting(ISSUER.jwk(), "d", "AAAA")] }).to_string();
    let (refusal, output) = check(&private, &["--signature-only"], &token).unwrap();
    assert_eq!(refusal, Some(Reason::SigningKeysUnavailable));
    assert!(output.contains("it must hold public keys only"), "{output}");
    // The header is judged first.
    let hs256 = ISSUER.sign(&setting(ISSUER.header(), "alg", "HS256").to_string(), "x");
    let (refusal, _) = check(&secret, &["--signature-only"], &hs256).unwrap();
    assert_eq!(refusal, Some(Reason::AlgorithmNotAllowed));
}

/// Nothing that a stranger wrote comes out again, verified or not.
#[test]
fn no_part_of_the_token_is_shown() {
    let sentinel = "sentinel-Zq7";
    let claims = setting(setting(user_v1(), "name", sentinel), "scp", sentinel);
    let header = setting(ISSUER.header(), "x", sentinel).to_string();
    let good = ISSUER.sign(&header, &claims.to_string());
    let bad = Signer::generate(sentinel).token(&claims);
    let tenant = TENANT.to_string();
    let args = [
        "--tenant",
        &tenant,
        "--audience",
        AUDIENCE,
        "--at",
        "2027-01-15T08:00:00Z",
    ];
    for token in [&good, &bad, &format!("{sentinel}.{sentinel}.{sentinel}")] {
        let (_, output) = check(&ours(), &args, token).unwrap();
        assert!(!output.contains(sentinel), "{output}");
        for part in token.split('.') {
            assert!(!output.contains(part.get(..16).unwrap_or(part)));
        }
        assert!(!output.contains(&ALICE.to_string()));
    }
}

#[test]
fn wrong_usage_is_told_apart_from_a_refusal() {
    let tenant = TENANT.to_string();
    let good = ["--tenant", tenant.as_str(), "--audience", AUDIENCE];
    let usage = |args: &[&str]| check(&ours(), args, "x").unwrap_err();
    for (args, text) in [
        (vec![], "--tenant"),
        (vec!["--tenant", &tenant], "--audience"),
        (
            vec!["--tenant", "contoso.com", "--audience", AUDIENCE],
            "not a GUID",
        ),
        (
            vec!["--tenant", &tenant, "--audience", "db"],
            "an audience must be",
        ),
        ([&good[..], &["--at", "yesterday"]].concat(), "not a moment"),
        ([&good[..], &["--type", "user"]].concat(), "--oid"),
        ([&good[..], &["--oid", &tenant]].concat(), "--type"),
        (
            [&good[..], &["--type", "robot", "--oid", &tenant]].concat(),
            "accepted are user, group and service",
        ),
        (
            [&good[..], &["--cloud", "germany"]].concat(),
            "accepted are public, usgov and china",
        ),
        (
            [&good[..], &["--authority-host", "http://x"]].concat(),
            "https://",
        ),
        ([&good[..], &["--clock-skew", "301"]].concat(), "301"),
        (
            [&good[..], &["--max-token-size", "65531"]].concat(),
            "65531",
        ),
        (
            vec!["--signature-only", "--type", "user", "--oid", &tenant],
            "cannot be used with",
        ),
    ] {
        let error = usage(&args);
        assert!(error.contains(text), "{args:?}: {error}");
    }
    let error = check("{}", &good, "x").unwrap_err();
    assert!(
        error.ends_with("of objects, or repeats a member"),
        "{error}"
    );
    let missing = ["inspect", "--keys", "/nonexistent", "--signature-only"];
    let options = Program::try_parse_from(missing).unwrap().options;
    let error = run(&options, &mut &b""[..], &mut Vec::new()).unwrap_err();
    assert!(error.starts_with("/nonexistent: "), "{error}");
    let help = Program::try_parse_from(["inspect", "--help"]).unwrap_err();
    assert_eq!(help.kind(), ErrorKind::DisplayHelp);
    assert!(help.to_string().contains("refused: "));
    // clap ends with status 2 on wrong usage and 0 on help.
    assert_eq!(
        Program::try_parse_from(["inspect"])
            .unwrap_err()
            .exit_code(),
        2
    );
    assert_eq!(help.exit_code(), 0);
}
