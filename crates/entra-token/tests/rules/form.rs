//! The form of a token and of its payload.

use entra_token::{Envelope, Reason, TokenVersion};
use serde_json::json;

use crate::common::*;

fn good() -> String {
    ISSUER.token(&user_v1())
}

fn parse(token: &str) -> Result<(), Reason> {
    Envelope::parse(token.as_bytes(), 16 * 1024).map(|_| ())
}

fn with_payload(payload: &str) -> Result<(), Reason> {
    sign_in(
        &ISSUER.sign(&ISSUER.header().to_string(), payload),
        &alice(),
    )
}

/// Each rule of these files is shown by a token that differs from these in one respect.
#[test]
fn good_tokens_are_accepted() {
    assert_eq!(sign_in(&good(), &alice()), Ok(()));
    assert_eq!(sign_in(&ISSUER.token(&user_v2()), &alice()), Ok(()));
    assert_eq!(sign_in(&ISSUER.token(&service_v1()), &service()), Ok(()));
    assert_eq!(sign_in(&ISSUER.token(&service_v2()), &service()), Ok(()));
    assert_eq!(sign_in(&good(), &group()), Ok(()));
}

/// Other than three parts, empty ones, white space and prefixes.
#[test]
fn a_token_is_three_parts_and_nothing_else() {
    let good = good();
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!()
    };
    for bad in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        header.to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{header}.{payload}.{payload}.{payload}.{signature}"),
        format!(".{payload}.{signature}"),
        format!("{header}..{signature}"),
        format!("{header}.{payload}."),
        format!(".{good}"),
        format!("{good}."),
        format!(" {good}"),
        format!("{good} "),
        format!("{good}\n"),
        format!("\t{good}"),
        format!("{good}\0"),
        format!("Bearer {good}"),
        ".".repeat(10_000),
    ] {
        assert_eq!(parse(&bad), Err(Reason::TokenMalformed), "{bad:.40}");
    }
    // Signed over the empty payload, so that nothing but its emptiness is wrong.
    let empty = ISSUER.sign(&ISSUER.header().to_string(), "");
    assert_eq!(parse(&empty), Err(Reason::TokenMalformed));
    assert_eq!(
        Envelope::parse(&[b'.'; 65_530], 65_530).unwrap_err(),
        Reason::TokenMalformed
    );
    assert_eq!(
        Envelope::parse(&[0xff, b'.', 0xff, b'.', 0xff], 100).unwrap_err(),
        Reason::TokenMalformed
    );
}

/// Each part has one spelling.
#[test]
fn base64url_is_canonical() {
    let header = encode(ISSUER.header().to_string().as_bytes());
    // Of a length that leaves room for padding, and with bytes that are spelled with - and _.
    let mut payload = with(user_v1(), |claims| claims["x"] = "\u{fb}\u{ff}?>".into()).to_string();
    while payload.len() % 3 != 1 {
        payload.push(' ');
    }
    let plain = encode(payload.as_bytes());
    assert_eq!(
        sign_in(&ISSUER.sign_parts(&header, &plain), &alice()),
        Ok(())
    );

    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = plain.chars().last().unwrap();
    let trailing_bit = alphabet
        .chars()
        .nth(alphabet.find(last).unwrap() + 1)
        .unwrap();
    let head = &plain[..plain.len() - 1];
    for bad in [
        format!("{plain}=="),
        format!("{plain}="),
        format!("{head}{trailing_bit}"),
        format!("{}+{}", &plain[..8], &plain[9..]),
        format!("{}/{}", &plain[..8], &plain[9..]),
        format!("{} {}", &plain[..8], &plain[8..]),
        format!("{}\r\n{}", &plain[..8], &plain[8..]),
        format!("{}\0{}", &plain[..8], &plain[9..]),
        format!("{}%2D{}", &plain[..8], &plain[8..]),
        format!("{plain}AAA"),
        format!("\u{e9}{plain}"),
    ] {
        let token = ISSUER.sign_parts(&header, &bad);
        assert_eq!(parse(&token), Err(Reason::TokenMalformed), "{bad:.40}");
    }
    // The same in the header and in the signature.
    let good = good();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    assert_eq!(
        parse(&format!("{signed}.{signature}==")),
        Err(Reason::TokenMalformed)
    );
    let last = signature.chars().last().unwrap();
    let bit = alphabet
        .chars()
        .nth(alphabet.find(last).unwrap() + 1)
        .unwrap();
    let bent = format!("{signed}.{}{bit}", &signature[..signature.len() - 1]);
    assert_eq!(parse(&bent), Err(Reason::TokenMalformed));
    let padded = ISSUER.sign_parts(&format!("{header}="), &plain);
    assert_eq!(parse(&padded), Err(Reason::TokenMalformed));
}

/// The limit itself is accepted, one byte more is not.
#[test]
fn tokens_have_a_largest_size() {
    let token = good();
    let size = token.len();
    assert!(Envelope::parse(token.as_bytes(), size).is_ok());
    assert!(Envelope::parse(token.as_bytes(), size + 1).is_ok());
    assert_eq!(
        Envelope::parse(token.as_bytes(), size - 1).unwrap_err(),
        Reason::TokenTooLarge
    );
    let large = ISSUER.token(&setting(user_v1(), "x", "x".repeat(48_000)));
    assert!(large.len() < 65_530);
    assert!(Envelope::parse(large.as_bytes(), 65_530).is_ok());
    assert_eq!(
        Envelope::parse(&[b'a'; 65_531], 65_530).unwrap_err(),
        Reason::TokenTooLarge
    );
    assert_eq!(Envelope::parse(b"", 0).unwrap_err(), Reason::TokenMalformed);
}

/// Repeated members and the like, in the payload.
#[test]
fn the_payload_is_an_object_of_distinct_members() {
    let good = user_v1().to_string();
    let (_, rest) = good.split_at(1);
    assert_eq!(with_payload(&good), Ok(()));
    assert_eq!(
        with_payload(&format!(" {{\"x\":[{{\"y\":1}},{{\"y\":1}}],{rest}\n")),
        Ok(())
    );
    for payload in [
        "x".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        "\"text\"".to_owned(),
        "0".to_owned(),
        format!("[{good}]"),
        format!("{good}{good}"),
        format!("{{\"oid\":\"{ALICE}\",{rest}"),
        format!("{{\"\\u006fid\":\"{ALICE}\",{rest}"),
        format!("{{\"x\":1,\"x\":1,{rest}"),
        format!("{{\"x\":{{\"y\":{{\"z\":1,\"z\":2}}}},{rest}"),
        format!("{{\"x\":[{{\"y\":1,\"y\":2}}],{rest}"),
        format!("{{\"x\":{}{},{rest}", "[".repeat(5_000), "]".repeat(5_000)),
        format!("{{\"x\":1e400,{rest}"),
        format!("{{\"x\":\"\\udfff\",{rest}"),
        format!("{{\"x\":\"\0\",{rest}"),
    ] {
        assert_eq!(
            with_payload(&payload),
            Err(Reason::ClaimsMalformed),
            "{payload:.60}"
        );
    }
    let mut bytes = good.clone().into_bytes();
    bytes.insert(1, b'"');
    assert_eq!(
        parse(&ISSUER.sign_bytes(ISSUER.header().to_string().as_bytes(), &bytes)),
        Err(Reason::ClaimsMalformed)
    );
    // An escaped NUL is sound JSON, and no claim that we compare contains one.
    assert_eq!(with_payload(&format!("{{\"x\":\"\\u0000\",{rest}")), Ok(()));
}

/// A claim of the wrong type is an error, not an absent claim.
#[test]
fn claims_have_their_types() {
    let not_text = [
        json!(null),
        json!(1),
        json!(true),
        json!(["x"]),
        json!({}),
        json!([]),
    ];
    for claim in [
        "iss", "aud", "tid", "ver", "oid", "sub", "scp", "idtyp", "appid", "azp",
    ] {
        for value in &not_text {
            let token = ISSUER.token(&setting(user_v1(), claim, value.clone()));
            assert_eq!(
                sign_in(&token, &alice()),
                Err(Reason::ClaimsMalformed),
                "{claim} {value}"
            );
            let malformed = Envelope::malformed_claim(token.as_bytes(), 16 * 1024);
            assert_eq!(malformed, Some(claim));
        }
    }
    let payload = ISSUER.sign_bytes(ISSUER.header().to_string().as_bytes(), b"[]");
    assert_eq!(
        Envelope::malformed_claim(payload.as_bytes(), 16 * 1024),
        None
    );
    for claim in ["iss", "aud"] {
        // jsonwebtoken would take any match in an array.
        let token = ISSUER.token(&with(user_v1(), |claims| {
            claims[claim] = json!([claims[claim].clone(), "https://other.example"]);
        }));
        assert_eq!(
            sign_in(&token, &alice()),
            Err(Reason::ClaimsMalformed),
            "{claim}"
        );
    }
    for claim in ["exp", "nbf", "iat"] {
        for value in [
            "null",
            "\"1800000000\"",
            "1800000000.0",
            "1.8e9",
            "-0",
            "[1]",
            "{}",
            "true",
            "9223372036854775808",
            "18446744073709551616",
            "1e400",
        ] {
            let claims = without(user_v1(), claim).to_string();
            let payload = format!("{{\"{claim}\":{value},{}", &claims[1..]);
            assert_eq!(
                with_payload(&payload),
                Err(Reason::ClaimsMalformed),
                "{claim} {value}"
            );
        }
    }
}

/// A claim of the wrong type that decides nothing for the role is no reason to refuse; where it decides, it proves nothing.
#[test]
fn claims_that_only_some_roles_need() {
    let (group, with_mfa) = (group(), with_mfa(alice()));
    for claim in ["upn", "unique_name", "preferred_username", "name", "uti"] {
        for value in [json!(null), json!(1), json!(["x"])] {
            let token = ISSUER.token(&setting(user_v1(), claim, value));
            assert_eq!(sign_in(&token, &alice()), Ok(()), "{claim}");
        }
    }
    for (claim, role, refusal, values) in [
        (
            "groups",
            &group,
            Reason::GroupsUnknown,
            vec![
                json!(null),
                json!(GROUP),
                json!({}),
                json!([1]),
                json!([[GROUP]]),
                json!([null]),
            ],
        ),
        (
            "hasgroups",
            &group,
            Reason::GroupsUnknown,
            vec![json!(null), json!("true"), json!(1)],
        ),
        (
            "_claim_names",
            &group,
            Reason::GroupsUnknown,
            vec![json!(null), json!("groups"), json!(["groups"]), json!(1)],
        ),
        (
            "amr",
            &with_mfa,
            Reason::MfaMissing,
            vec![json!(null), json!("mfa"), json!({ "mfa": 1 }), json!([1])],
        ),
    ] {
        for value in values {
            let claims = setting(user_v1(), "groups", json!([GROUP]));
            let token = ISSUER.token(&setting(claims, claim, value.clone()));
            assert_eq!(sign_in(&token, &alice()), Ok(()), "{claim} {value}");
            assert_eq!(sign_in(&token, role), Err(refusal), "{claim} {value}");
            let claims = verify(&token, &policy(), NOW).unwrap();
            assert_eq!(claims.mistyped(refusal), Some(claim));
            assert_eq!(claims.mistyped(Reason::Expired), None);
        }
    }
}

/// House rule: nothing of a token gets into a log by way of `{:?}`.
#[test]
fn debug_output_shows_no_part_of_a_token() {
    let token = good();
    let envelope = Envelope::parse(token.as_bytes(), 16 * 1024).unwrap();
    assert_eq!(format!("{envelope:?}").matches(char::is_numeric).count(), 0);
    assert!(!format!("{envelope:?}").contains("alice"));
    assert!(!format!("{envelope:?}").contains(KEY_ID));
    let claims = envelope
        .verify(&ISSUER.key_set(TokenVersion::V1).keys[0])
        .unwrap();
    assert_eq!(format!("{claims:?}"), "Claims { .. }");
}
