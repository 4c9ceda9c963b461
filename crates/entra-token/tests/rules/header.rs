//! The header of a token: JSON, algorithm, type, extensions, key id.

use entra_token::{Envelope, Reason};
use serde_json::{Value, json};

use crate::common::*;

fn parse(token: &str) -> Result<(), Reason> {
    Envelope::parse(token.as_bytes(), 16 * 1024).map(|_| ())
}

/// A good token with another header, signed over it.
fn with_header(header: &Value) -> Result<(), Reason> {
    sign_in(
        &ISSUER.sign(&header.to_string(), &user_v1().to_string()),
        &alice(),
    )
}

/// The header is a JSON object with each member once.
#[test]
fn the_header_is_an_object_of_distinct_members() {
    let payload = user_v1().to_string();
    let kid = KEY_ID;
    for header in [
        String::new(),
        "x".to_owned(),
        "null".to_owned(),
        "1".to_owned(),
        "\"RS256\"".to_owned(),
        "[]".to_owned(),
        format!("[\"RS256\",\"JWT\",\"{kid}\"]"),
        format!("{{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"{kid}\",\"alg\":\"RS256\"}}"),
        format!("{{\"alg\":\"none\",\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"{kid}\"}}"),
        format!("{{\"alg\":\"RS256\",\"\\u0061lg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"{kid}\"}}"),
        format!(
            "{{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"{kid}\",\"x\":{{\"y\":1,\"y\":1}}}}"
        ),
        format!("{{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"{kid}\"}}{{}}"),
        format!("{{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"{kid}\",}}"),
        format!(
            "{{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"{kid}\",\"x\":{}}}",
            "[".repeat(9_000)
        ),
        format!("{{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"{kid}\",\"x\":\"\\ud800\"}}"),
        format!("{{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"{kid}\",\"x\":\"\0\"}}"),
    ] {
        let expected = if header.is_empty() {
            Reason::TokenMalformed
        } else {
            Reason::HeaderInvalid
        };
        assert_eq!(
            parse(&ISSUER.sign(&header, &payload)),
            Err(expected),
            "{header:.80}"
        );
    }
    let mut bytes = ISSUER.header().to_string().into_bytes();
    let end = bytes.pop().unwrap();
    bytes.extend([b',', b'"', 0xff, b'"', b':', b'1', end]);
    assert_eq!(
        parse(&ISSUER.sign_bytes(&bytes, payload.as_bytes())),
        Err(Reason::HeaderInvalid)
    );
    // The JSON forms of a JWS are not compact.
    let good = ISSUER.token(&user_v1());
    let [header, body, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!()
    };
    let flattened = json!({ "protected": header, "payload": body, "signature": signature });
    assert_eq!(parse(&flattened.to_string()), Err(Reason::TokenMalformed));
}

/// Nothing but RS256, spelled so.
#[test]
fn the_algorithm_is_rs256() {
    for alg in [
        json!("none"),
        json!("None"),
        json!("NONE"),
        json!("nOnE"),
        json!(""),
        json!("rs256"),
        json!("RS256 "),
        json!("RS384"),
        json!("RS512"),
        json!("PS256"),
        json!("ES256"),
        json!("EdDSA"),
        json!("HS256"),
        json!(null),
        json!(256),
        json!(true),
        json!(["RS256"]),
        json!({ "alg": "RS256" }),
    ] {
        let header = setting(ISSUER.header(), "alg", alg.clone());
        assert_eq!(
            with_header(&header),
            Err(Reason::AlgorithmNotAllowed),
            "{alg}"
        );
    }
    let header = without(ISSUER.header(), "alg");
    assert_eq!(with_header(&header), Err(Reason::AlgorithmNotAllowed));
}

#[test]
fn the_type_is_jwt_or_at_jwt_in_any_case() {
    for typ in ["JWT", "jwt", "Jwt", "at+jwt", "AT+JWT"] {
        assert_eq!(
            with_header(&setting(ISSUER.header(), "typ", typ)),
            Ok(()),
            "{typ}"
        );
    }
    for typ in [
        json!(""),
        json!("JWS"),
        json!("JOSE"),
        json!("JWT "),
        json!("id+jwt"),
        json!("dpop+jwt"),
        json!("logout+jwt"),
        json!("application/at+jwt"),
        json!(null),
        json!(1),
        json!(["JWT"]),
        json!({ "JWT": 1 }),
    ] {
        let header = setting(ISSUER.header(), "typ", typ.clone());
        assert_eq!(with_header(&header), Err(Reason::TypeNotAllowed), "{typ}");
    }
    assert_eq!(
        with_header(&without(ISSUER.header(), "typ")),
        Err(Reason::TypeNotAllowed)
    );
}

/// Members that change how a token is to be read.
#[test]
fn header_extensions_are_refused() {
    for (member, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!(["http://example.com/unknown"])),
        ("crit", json!([])),
        ("crit", json!(null)),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("zip", json!("DEF")),
        ("cty", json!("JWT")),
        ("cty", json!("json")),
    ] {
        let header = setting(ISSUER.header(), member, value.clone());
        assert_eq!(
            with_header(&header),
            Err(Reason::HeaderExtensionNotAllowed),
            "{member} {value}"
        );
    }
}

/// A key that comes with the token is never used.
#[test]
fn keys_in_the_header_are_ignored() {
    let attacker = Signer::generate(KEY_ID);
    for (member, value) in [
        ("jwk", attacker.jwk()),
        ("x5c", json!(["MIIC"])),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/certificate")),
    ] {
        let header = setting(ISSUER.header(), member, value);
        let forged = attacker.sign(&header.to_string(), &user_v1().to_string());
        assert_eq!(
            sign_in(&forged, &alice()),
            Err(Reason::SignatureInvalid),
            "{member}"
        );
        // With a genuine signature they neither help nor harm.
        assert_eq!(with_header(&header), Ok(()), "{member}");
    }
}

/// Key ids that are not in the key set.
#[test]
fn key_ids_are_short_and_printable() {
    for kid in [
        json!(""),
        json!("a".repeat(129)),
        json!("k".repeat(10_000)),
        json!("a b"),
        json!("a\n"),
        json!("\u{1b}[31mred"),
        json!("a\u{0}"),
        json!("T\u{435}st-key_1"),
        json!(null),
        json!(1),
        json!([KEY_ID]),
    ] {
        let header = setting(ISSUER.header(), "kid", kid.clone());
        assert_eq!(
            with_header(&header),
            Err(Reason::HeaderInvalid),
            "{kid:.40}"
        );
    }
    assert_eq!(
        with_header(&without(ISSUER.header(), "kid")),
        Err(Reason::HeaderInvalid)
    );
    for kid in [
        "../../dev/null",
        "'--",
        "$(id)",
        &"a".repeat(128),
        "test-key_1",
    ] {
        // Unknown, and what would follow is a refresh.
        let header = setting(ISSUER.header(), "kid", kid);
        assert_eq!(
            with_header(&header),
            Err(Reason::KeyRefreshTimedOut),
            "{kid:.40}"
        );
    }
}
