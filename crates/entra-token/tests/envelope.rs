//! The form of a token, its header and its signature (steps 2 and 3 of a sign-in).
//!
//! "Catalogue" numbers are those of the project's list of known attacks on tokens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    KeyPair, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
};
use common::*;
use entra_token::{Audience, Authority, Cloud, Envelope, Jws, Reason, TokenVersion};
use serde_json::{Value, json};

fn good() -> String {
    ISSUER.token(&user_v1())
}

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

fn with_payload(payload: &str) -> Result<(), Reason> {
    sign_in(
        &ISSUER.sign(&ISSUER.header().to_string(), payload),
        &alice(),
    )
}

/// Each rule of this file is shown by a token that differs from these in one respect.
#[test]
fn good_tokens_are_accepted() {
    assert_eq!(sign_in(&good(), &alice()), Ok(()));
    assert_eq!(sign_in(&ISSUER.token(&user_v2()), &alice()), Ok(()));
    assert_eq!(sign_in(&ISSUER.token(&service_v1()), &service()), Ok(()));
    assert_eq!(sign_in(&ISSUER.token(&service_v2()), &service()), Ok(()));
    assert_eq!(sign_in(&good(), &group()), Ok(()));
}

/// Catalogue 1, 2 and 9: other than three parts, empty ones, white space and prefixes.
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

/// Catalogue 3: each part has one spelling.
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

/// Catalogue 6: the limit itself is accepted, one byte more is not.
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

/// Catalogue 4, 5 and 7: the header is a JSON object with each member once.
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
    // Catalogue 7: the JSON forms of a JWS are not compact.
    let good = good();
    let [header, body, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!()
    };
    let flattened = json!({ "protected": header, "payload": body, "signature": signature });
    assert_eq!(parse(&flattened.to_string()), Err(Reason::TokenMalformed));
}

/// Catalogue 10: nothing but RS256, spelled so.
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

/// Catalogue 11 and 12: HMAC with whatever an attacker knows of the public key.
#[test]
fn no_hmac_is_accepted() {
    let jwk = ISSUER.jwk();
    let der = ISSUER.pair.public_key().as_ref().to_vec();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        encode(&der)
    );
    let secrets = [
        Vec::new(),
        der,
        format!(" {pem}").into_bytes(),
        pem.into_bytes(),
        jwk["n"].as_str().unwrap().as_bytes().to_vec(),
        jwk.to_string().into_bytes(),
    ];
    for (name, algorithm) in [
        ("HS256", hmac::HMAC_SHA256),
        ("HS384", hmac::HMAC_SHA384),
        ("HS512", hmac::HMAC_SHA512),
    ] {
        for secret in &secrets {
            let header = setting(ISSUER.header(), "alg", name).to_string();
            let signed = format!(
                "{}.{}",
                encode(header.as_bytes()),
                encode(user_v1().to_string().as_bytes())
            );
            let tag = hmac::sign(&hmac::Key::new(algorithm, secret), signed.as_bytes());
            let token = format!("{signed}.{}", encode(tag.as_ref()));
            assert_eq!(sign_in(&token, &alice()), Err(Reason::AlgorithmNotAllowed));
            // And with a header that claims RS256, the tag is no RSA signature.
            let (signed, _) = ISSUER
                .token(&user_v1())
                .rsplit_once('.')
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .unwrap();
            let tag = hmac::sign(&hmac::Key::new(algorithm, secret), signed.as_bytes());
            let token = format!("{signed}.{}", encode(tag.as_ref()));
            assert_eq!(sign_in(&token, &alice()), Err(Reason::SignatureInvalid));
        }
    }
}

/// Catalogue 13 and 16: the right key with another algorithm's signature under an RS256 header.
#[test]
fn other_rsa_signatures_are_not_rs256() {
    let good = good();
    let (signed, _) = good.rsplit_once('.').unwrap();
    let others: [&'static dyn RsaEncoding; 3] =
        [&RSA_PKCS1_SHA384, &RSA_PKCS1_SHA512, &RSA_PSS_SHA256];
    for encoding in others {
        let token = format!("{signed}.{}", ISSUER.signature(encoding, signed.as_bytes()));
        assert_eq!(sign_in(&token, &alice()), Err(Reason::SignatureInvalid));
    }
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

/// Catalogue 8: members that change how a token is to be read.
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

/// Catalogue 17: a key that comes with the token is never used.
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

/// Catalogue 18: key ids that are none of ours.
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

/// Catalogue 4 and 5, in the payload.
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

/// Catalogue 21 to 29: a claim of the wrong type is an error, not an absent claim.
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
        "iss",
        "aud",
        "tid",
        "ver",
        "oid",
        "sub",
        "scp",
        "idtyp",
        "appid",
        "azp",
        "upn",
        "unique_name",
        "preferred_username",
        "name",
        "uti",
    ] {
        for value in &not_text {
            let token = ISSUER.token(&setting(user_v1(), claim, value.clone()));
            assert_eq!(
                sign_in(&token, &alice()),
                Err(Reason::ClaimsMalformed),
                "{claim} {value}"
            );
        }
    }
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
    for (claim, values) in [
        (
            "groups",
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
            "amr",
            vec![json!(null), json!("mfa"), json!({ "mfa": 1 }), json!([1])],
        ),
        ("hasgroups", vec![json!(null), json!("true"), json!(1)]),
        (
            "_claim_names",
            vec![json!(null), json!("groups"), json!(["groups"]), json!(1)],
        ),
    ] {
        for value in values {
            let token = ISSUER.token(&setting(user_v1(), claim, value.clone()));
            assert_eq!(
                sign_in(&token, &alice()),
                Err(Reason::ClaimsMalformed),
                "{claim} {value}"
            );
        }
    }
}

/// Catalogue 20: parts of two valid tokens do not mix, and no other key will do.
#[test]
fn the_signature_covers_header_and_payload() {
    let (one, other) = (
        good(),
        ISSUER.token(&setting(user_v1(), "oid", SERVICE.to_string())),
    );
    let split = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (one, other) = (split(&one), split(&other));
    let swapped = format!("{}.{}.{}", one[0], other[1], one[2]);
    assert_eq!(sign_in(&swapped, &alice()), Err(Reason::SignatureInvalid));
    let header = setting(ISSUER.header(), "typ", "at+jwt").to_string();
    let other_header = format!("{}.{}.{}", encode(header.as_bytes()), one[1], one[2]);
    assert_eq!(
        sign_in(&other_header, &alice()),
        Err(Reason::SignatureInvalid)
    );

    let forged = Signer::generate(KEY_ID).token(&user_v1());
    assert_eq!(sign_in(&forged, &alice()), Err(Reason::SignatureInvalid));
    let signed = format!("{}.{}", one[0], one[1]);
    for signature in [
        vec![0_u8; 256],
        vec![0; 1],
        vec![0xff; 256],
        vec![0; 255],
        vec![0; 257],
        vec![1; 512],
    ] {
        let token = format!("{signed}.{}", encode(&signature));
        assert_eq!(sign_in(&token, &alice()), Err(Reason::SignatureInvalid));
    }
}

/// A key that is not the one in the header is not tried at all.
#[test]
fn only_the_named_key_verifies() {
    let token = good();
    let mut key = ISSUER.key_set(TokenVersion::V1).keys.remove(0);
    key.key_id = "other".to_owned();
    let envelope = Envelope::parse(token.as_bytes(), 16 * 1024).unwrap();
    assert_eq!(envelope.verify(&key).unwrap_err(), Reason::KeyUnknown);
}

/// Catalogue 24 and 25, as far as it is decided before the signature: whose keys are asked.
#[test]
fn the_key_set_follows_from_an_issuer_that_is_served() {
    let version = |claims: &Value| {
        let token = ISSUER.token(claims);
        Envelope::parse(token.as_bytes(), 16 * 1024)
            .unwrap()
            .serving_version(&policy())
    };
    assert_eq!(version(&user_v1()), Ok(TokenVersion::V1));
    assert_eq!(version(&user_v2()), Ok(TokenVersion::V2));
    // The issuer decides, and `ver` is compared once it can be believed.
    assert_eq!(
        version(&setting(user_v1(), "ver", "2.0")),
        Ok(TokenVersion::V1)
    );
    let v1 = format!("https://sts.windows.net/{TENANT}/");
    for issuer in [
        String::new(),
        v1[..v1.len() - 1].to_owned(),
        format!("{v1}/"),
        format!("{v1}v2.0"),
        v1.to_uppercase(),
        v1.replace("https", "http"),
        v1.replace("sts.windows.net", "sts.windows.net.evil.example"),
        v1.replace(&TENANT.to_string(), &TENANT.to_string().to_uppercase()),
        v1.replace(&TENANT.to_string(), &OTHER_TENANT.to_string()),
        v1.replace(&TENANT.to_string(), "common"),
        v1.replace(&TENANT.to_string(), "{tenantid}"),
        format!(" {v1}"),
        format!("{v1} "),
        format!("https://login.microsoftonline.com/{TENANT}/v2.0/"),
        format!("https://login.microsoftonline.com/{TENANT}"),
        format!("https://login.microsoftonline.us/{TENANT}/v2.0"),
        format!("https://sts.chinacloudapi.cn/{TENANT}/"),
    ] {
        let claims = setting(user_v1(), "iss", issuer.as_str());
        assert_eq!(version(&claims), Err(Reason::IssuerNotServed), "{issuer}");
    }
    for (claim, value) in [
        ("tid", OTHER_TENANT.to_string()),
        ("tid", "common".to_owned()),
        ("tid", String::new()),
        ("tid", format!("{{{TENANT}}}")),
        ("ver", "3.0".to_owned()),
        ("ver", "1".to_owned()),
        ("ver", String::new()),
    ] {
        let claims = setting(user_v1(), claim, value.as_str());
        assert_eq!(
            version(&claims),
            Err(Reason::IssuerNotServed),
            "{claim} {value}"
        );
    }
    for claim in ["iss", "tid", "ver"] {
        let claims = without(user_v1(), claim);
        assert_eq!(version(&claims), Err(Reason::IssuerNotServed), "{claim}");
    }
    let upper = setting(user_v1(), "tid", TENANT.to_string().to_uppercase());
    assert_eq!(version(&upper), Ok(TokenVersion::V1));
}

/// An emulator's keys never vouch for Microsoft's issuers, nor the other way round.
#[test]
fn an_own_host_serves_its_own_issuers_only() {
    let mut emulated = policy();
    emulated.authority = Authority::new(Cloud::Public, Some("https://127.0.0.1:8443")).unwrap();
    let microsoft = ISSUER.token(&user_v1());
    let own = ISSUER.token(&setting(
        user_v1(),
        "iss",
        format!("https://127.0.0.1:8443/{TENANT}/"),
    ));
    let version = |token: &str, policy| {
        Envelope::parse(token.as_bytes(), 16 * 1024)
            .unwrap()
            .serving_version(policy)
    };
    assert_eq!(version(&own, &emulated), Ok(TokenVersion::V1));
    let real = policy();
    assert_eq!(version(&own, &real), Err(Reason::IssuerNotServed));
    assert_eq!(version(&microsoft, &emulated), Err(Reason::IssuerNotServed));
}

/// Only a token for us that has not expired may make the worker fetch keys, and whatever is wrong
/// with one whose key is unknown, that is all that is said of it.
#[test]
fn implausible_tokens_are_of_an_unknown_key() {
    let stranger = Signer::generate("unknown-key");
    let plausible = |claims: &Value, now| {
        let token = stranger.token(claims);
        Envelope::parse(token.as_bytes(), 16 * 1024)
            .unwrap()
            .plausible(&policy(), now)
    };
    assert_eq!(plausible(&user_v1(), NOW), Ok(()));
    for claims in [
        setting(user_v1(), "aud", "https://graph.microsoft.com"),
        without(user_v1(), "aud"),
        setting(user_v1(), "exp", NOW - 60),
        setting(user_v1(), "exp", i64::MIN),
        without(user_v1(), "exp"),
    ] {
        assert_eq!(plausible(&claims, NOW), Err(Reason::KeyUnknown));
        let token = stranger.token(&claims);
        assert_eq!(sign_in(&token, &alice()), Err(Reason::KeyUnknown));
    }
    assert_eq!(plausible(&setting(user_v1(), "exp", NOW - 59), NOW), Ok(()));
    let mut closed = policy();
    closed.audiences = Vec::<Audience>::new();
    let token = stranger.token(&user_v1());
    let envelope = Envelope::parse(token.as_bytes(), 16 * 1024).unwrap();
    assert_eq!(envelope.plausible(&closed, NOW), Err(Reason::KeyUnknown));
}

/// Without the payload, `typ` may be absent and the payload may be anything.
#[test]
fn a_bare_signature_can_be_judged() {
    let key = ISSUER.key_set(TokenVersion::V1).keys.remove(0);
    for payload in ["", "Test", "{\"a\":1,\"a\":2}"] {
        let header = without(ISSUER.header(), "typ").to_string();
        let token = ISSUER.sign(&header, payload);
        let jws = Jws::parse(token.as_bytes(), 16 * 1024).unwrap();
        assert_eq!(jws.key_id(), KEY_ID);
        assert_eq!(jws.verify(&key), Ok(()));
        assert!(Envelope::parse(token.as_bytes(), 16 * 1024).is_err());
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
