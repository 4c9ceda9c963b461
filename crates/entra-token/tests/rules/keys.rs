//! Key sets: which keys are taken, and which sets are refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{KeyPair, RsaKeyPair};
use entra_token::{KeySet, KeySetError, SigningKey, TokenVersion, Unusable};
use serde_json::{Value, json};

use crate::common::*;

const V2_ISSUER: &str =
    "https://login.microsoftonline.com/6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f5/v2.0";

fn read(set: &Value) -> Result<Vec<String>, KeySetError> {
    read_text(&set.to_string())
}

fn read_text(json: &str) -> Result<Vec<String>, KeySetError> {
    KeySet::from_jwks(TokenVersion::V2, V2_ISSUER, TENANT, json.as_bytes())
        .map(|set| set.keys.into_iter().map(|key| key.key_id).collect())
}

/// The set of a usable key and `jwk`.
fn beside_a_good_one(jwk: Value) -> Result<Vec<String>, KeySetError> {
    let mut good = ISSUER.jwk();
    good["kid"] = "good".into();
    read(&json!({ "keys": [jwk, good] }))
}

fn jwk_with(member: &str, value: impl Into<Value>) -> Value {
    setting(ISSUER.jwk(), member, value)
}

#[test]
fn entra_s_keys_are_read() {
    let set = json!({ "keys": [ISSUER.jwk()] });
    let keys = KeySet::from_jwks(
        TokenVersion::V2,
        V2_ISSUER,
        TENANT,
        set.to_string().as_bytes(),
    )
    .unwrap();
    assert_eq!(
        (keys.version, keys.issuer.as_str()),
        (TokenVersion::V2, V2_ISSUER)
    );
    let components = PublicKeyComponents::<Vec<u8>>::from(ISSUER.pair.public_key());
    let expected = SigningKey {
        key_id: KEY_ID.to_owned(),
        modulus: components.n,
        exponent: components.e,
    };
    assert_eq!(keys.find(KEY_ID), Some(&expected));
    assert_eq!(keys.find("test-key_1"), None);
    assert_eq!(keys.find(""), None);
    for (member, value) in [
        ("alg", json!("RS256")),
        ("use", json!("sig")),
        ("key_ops", json!(["verify"])),
        ("key_ops", json!(["verify", "encrypt"])),
        ("cloud_instance_name", json!("microsoftonline.com")),
        (
            "issuer",
            json!("https://login.microsoftonline.com/{tenantid}/v2.0"),
        ),
        ("issuer", json!(V2_ISSUER)),
    ] {
        assert_eq!(
            beside_a_good_one(jwk_with(member, value)).unwrap(),
            [KEY_ID, "good"]
        );
    }
    assert_eq!(
        beside_a_good_one(without(ISSUER.jwk(), "use")).unwrap(),
        [KEY_ID, "good"]
    );
}

/// Keys that are passed over, and why.
#[test]
fn keys_of_no_use_are_passed_over() {
    let jwk = ISSUER.jwk();
    let n = jwk["n"].as_str().unwrap();
    let modulus = PublicKeyComponents::<Vec<u8>>::from(ISSUER.pair.public_key()).n;
    let mut even = modulus.clone();
    *even.last_mut().unwrap() &= 0xfe;
    let long = |bytes: usize| encode(&[&[0xff][..], &vec![0x55; bytes - 1]].concat());
    for (member, value, reason) in [
        ("kty", json!("EC"), Unusable::NotRsa),
        ("kty", json!("oct"), Unusable::NotRsa),
        ("kty", json!("rsa"), Unusable::NotRsa),
        ("kty", json!(null), Unusable::NotRsa),
        ("kty", json!(["RSA"]), Unusable::NotRsa),
        ("use", json!("enc"), Unusable::OtherUse),
        ("use", json!(""), Unusable::OtherUse),
        ("use", json!(null), Unusable::OtherUse),
        ("use", json!(["sig"]), Unusable::OtherUse),
        ("key_ops", json!(["encrypt"]), Unusable::OtherUse),
        ("key_ops", json!([]), Unusable::OtherUse),
        ("key_ops", json!("verify"), Unusable::OtherUse),
        ("alg", json!("RS512"), Unusable::OtherUse),
        ("alg", json!("PS256"), Unusable::OtherUse),
        ("alg", json!("RSA1_5"), Unusable::OtherUse),
        ("alg", json!(null), Unusable::OtherUse),
        ("kid", json!(""), Unusable::KeyId),
        ("kid", json!("a".repeat(129)), Unusable::KeyId),
        ("kid", json!("a b"), Unusable::KeyId),
        ("kid", json!("a\n"), Unusable::KeyId),
        ("kid", json!("\u{e9}"), Unusable::KeyId),
        ("kid", json!(null), Unusable::KeyId),
        ("kid", json!(7), Unusable::KeyId),
        ("n", json!(null), Unusable::Integers),
        ("n", json!(""), Unusable::Integers),
        ("n", json!(format!("{n}=")), Unusable::Integers),
        ("n", json!(format!(" {n}")), Unusable::Integers),
        (
            "n",
            json!(encode(&[&[0][..], &modulus].concat())),
            Unusable::Integers,
        ),
        ("n", json!(encode(&modulus[1..])), Unusable::Modulus),
        ("n", json!(encode(&modulus[..128])), Unusable::Modulus),
        ("n", json!(encode(&even)), Unusable::Modulus),
        ("n", json!(long(513)), Unusable::Modulus),
        ("n", json!(long(2048)), Unusable::Modulus),
        ("e", json!(null), Unusable::Integers),
        ("e", json!(""), Unusable::Integers),
        ("e", json!(65537), Unusable::Integers),
        ("e", json!("AAEAAQ"), Unusable::Integers),
        ("e", json!(encode(&[1])), Unusable::Exponent),
        ("e", json!(encode(&[3])), Unusable::Exponent),
        ("e", json!(encode(&[0xff, 0xff])), Unusable::Exponent),
        ("e", json!(encode(&[1, 0, 0])), Unusable::Exponent),
        ("e", json!(encode(&[1, 0, 0, 0, 1])), Unusable::Exponent),
        (
            "issuer",
            json!("https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"),
            Unusable::OtherIssuer,
        ),
        (
            "issuer",
            json!("https://sts.windows.net/{tenantid}/"),
            Unusable::OtherIssuer,
        ),
        ("issuer", json!("{tenantid}"), Unusable::OtherIssuer),
        ("issuer", json!(""), Unusable::OtherIssuer),
        ("issuer", json!(null), Unusable::OtherIssuer),
        ("issuer", json!([V2_ISSUER]), Unusable::OtherIssuer),
    ] {
        let bad = jwk_with(member, value.clone());
        assert_eq!(
            beside_a_good_one(bad.clone()).unwrap(),
            ["good"],
            "{member} {value:.60}"
        );
        assert_eq!(
            read(&json!({ "keys": [bad] })),
            Err(KeySetError::NoUsableKey(Some(reason))),
            "{member} {value:.60}"
        );
    }
    for member in ["kty", "kid", "n", "e"] {
        assert_eq!(
            beside_a_good_one(without(ISSUER.jwk(), member)).unwrap(),
            ["good"],
            "{member}"
        );
    }
    // The largest and the oddest that are taken.
    assert_eq!(
        beside_a_good_one(jwk_with("n", long(512))).unwrap(),
        [KEY_ID, "good"]
    );
    assert_eq!(
        beside_a_good_one(jwk_with("e", encode(&[1, 0, 1]))).unwrap(),
        [KEY_ID, "good"]
    );
    assert_eq!(
        beside_a_good_one(jwk_with("e", encode(&[0xff; 4]))).unwrap(),
        [KEY_ID, "good"]
    );
    assert_eq!(
        beside_a_good_one(jwk_with("kid", "a".repeat(128)))
            .unwrap()
            .len(),
        2
    );
}

/// A symmetric key under the wanted id neither counts nor collides.
#[test]
fn other_types_share_no_name_space_with_ours() {
    let secret = json!({ "kty": "oct", "kid": KEY_ID, "k": "c2VjcmV0", "alg": "HS256" });
    let set = json!({ "keys": [secret, ISSUER.jwk()] });
    assert_eq!(read(&set).unwrap(), [KEY_ID]);
    assert_eq!(
        read(&json!({ "keys": [secret] })),
        Err(KeySetError::NoUsableKey(Some(Unusable::NotRsa)))
    );
}

/// Sets that can't be trusted as a whole.
#[test]
fn bad_sets_are_refused_whole() {
    let jwk = ISSUER.jwk();
    assert_eq!(
        read(&json!({ "keys": [jwk, jwk] })),
        Err(KeySetError::DuplicateKeyId)
    );
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth"] {
        let private = jwk_with(member, "AQAB");
        assert_eq!(
            beside_a_good_one(private),
            Err(KeySetError::PrivateKey),
            "{member}"
        );
    }
    let text = json!({ "keys": [jwk] }).to_string();
    for bad in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        json!([jwk]).to_string(),
        jwk.to_string(),
        json!({ "keys": jwk }).to_string(),
        json!({ "keys": null }).to_string(),
        json!({ "keys": ["x", jwk] }).to_string(),
        json!({ "keys": [[jwk]] }).to_string(),
        json!({ "keys": [["RSA", "sig", "kid"]] }).to_string(),
        format!("{{\"keys\":[],{}", &text[1..]),
        text.replace("\"kty\"", "\"kty\":\"RSA\",\"kty\""),
        text.replace("\"kty\"", "\"x\":{\"y\":1,\"y\":2},\"kty\""),
        format!("{text}{text}"),
        text[..text.len() - 1].to_owned(),
    ] {
        assert_eq!(read_text(&bad), Err(KeySetError::Malformed), "{bad:.60}");
    }
    assert_eq!(
        read(&json!({ "keys": [] })),
        Err(KeySetError::NoUsableKey(None))
    );
}

#[test]
fn sets_have_a_largest_size() {
    let keys = |count: usize| {
        let keys: Vec<_> = (0..count)
            .map(|n| jwk_with("kid", format!("key-{n}")))
            .collect();
        read(&json!({ "keys": keys })).map(|keys| keys.len())
    };
    assert_eq!(keys(16), Ok(16));
    assert_eq!(keys(17), Err(KeySetError::TooManyKeys));
    // Keys of no use do not count.
    let mut many: Vec<_> = (0..100)
        .map(|n| json!({ "kty": "EC", "kid": format!("ec-{n}") }))
        .collect();
    many.push(ISSUER.jwk());
    assert_eq!(read(&json!({ "keys": many })).unwrap(), [KEY_ID]);
}

#[test]
fn a_reader_without_issuer_keeps_every_other_rule() {
    let foreign = jwk_with("issuer", "https://elsewhere.example/");
    let set = json!({ "keys": [foreign, jwk_with("use", "enc")] }).to_string();
    let keys = SigningKey::read_all(set.as_bytes()).unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].key_id, KEY_ID);
}

#[test]
fn longer_keys_verify_too() {
    for (name, size) in [("three", KeySize::Rsa3072), ("four", KeySize::Rsa4096)] {
        let signer = Signer {
            key_id: name.to_owned(),
            pair: RsaKeyPair::generate(size).unwrap(),
        };
        let token = signer.token(&user_v1());
        let keys = signer.key_set(TokenVersion::V1);
        let envelope = entra_token::Envelope::parse(token.as_bytes(), 16 * 1024).unwrap();
        assert!(envelope.verify(keys.find(name).unwrap()).is_ok());
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let set = json!({ "keys": [jwk_with("use", "enc")] });
    assert_eq!(
        read(&set).unwrap_err().to_string(),
        "the key set has no usable signing key: the first key's use, key_ops or alg says that it \
         is not for RS256 signatures"
    );
}
