//! Whose key made a signature, and over what.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    KeyPair, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
};
use entra_token::{Envelope, Jws, Reason, TokenVersion};

use crate::common::*;

fn good() -> String {
    ISSUER.token(&user_v1())
}

/// HMAC with whatever an attacker knows of the public key.
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
            let token = |alg: &str| {
                let header = setting(ISSUER.header(), "alg", alg).to_string();
                let payload = user_v1().to_string();
                let signed = format!(
                    "{}.{}",
                    encode(header.as_bytes()),
                    encode(payload.as_bytes())
                );
                let tag = hmac::sign(&hmac::Key::new(algorithm, secret), signed.as_bytes());
                format!("{signed}.{}", encode(tag.as_ref()))
            };
            assert_eq!(
                sign_in(&token(name), &alice()),
                Err(Reason::AlgorithmNotAllowed)
            );
            // And a tag is no RSA signature, whatever the header says.
            assert_eq!(
                sign_in(&token("RS256"), &alice()),
                Err(Reason::SignatureInvalid)
            );
        }
    }
}

/// The right key with another algorithm's signature under an RS256 header.
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

/// Parts of two valid tokens do not mix, and no other key will do.
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
