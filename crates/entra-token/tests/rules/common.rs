//! An issuer of our own with a key made for this run, and tokens to deviate from.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaEncoding, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entra_token::{
    Audience, Authority, Claims, Envelope, Judgment, KeySet, Mapping, Policy, PrincipalKind,
    Reason, TokenVersion, judge,
};
use serde_json::{Value, json};
use uuid::Uuid;

pub const TENANT: Uuid = Uuid::from_u128(0x6f1c2d3e_4a5b_4c6d_8e7f_a0b1c2d3e4f5);
pub const OTHER_TENANT: Uuid = Uuid::from_u128(0x7f1c2d3e_4a5b_4c6d_8e7f_a0b1c2d3e4f5);
pub const ALICE: Uuid = Uuid::from_u128(0xa11ce000_0000_4000_8000_000000000001);
pub const SERVICE: Uuid = Uuid::from_u128(0x5e41ce00_0000_4000_8000_000000000002);
pub const SERVICE_APP: Uuid = Uuid::from_u128(0x5e41ce00_0000_4000_8000_0000000000aa);
pub const CLIENT: Uuid = Uuid::from_u128(0xc11e4700_0000_4000_8000_000000000003);
pub const GROUP: Uuid = Uuid::from_u128(0x64009000_0000_4000_8000_000000000004);
pub const OTHER_GROUP: Uuid = Uuid::from_u128(0x64009000_0000_4000_8000_000000000005);
pub const AUDIENCE: &str = "api://postgres.contoso.example";
pub const NOW: i64 = 1_800_000_000;
pub const KEY_ID: &str = "Test-key_1";

pub static ISSUER: LazyLock<Signer> = LazyLock::new(|| Signer::generate(KEY_ID));

/// A signing key with its name.
pub struct Signer {
    pub key_id: String,
    pub pair: RsaKeyPair,
}

impl Signer {
    pub fn generate(key_id: &str) -> Signer {
        Signer {
            key_id: key_id.to_owned(),
            pair: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
        }
    }

    /// The public key as Entra publishes it.
    pub fn jwk(&self) -> Value {
        let components = PublicKeyComponents::<Vec<u8>>::from(self.pair.public_key());
        json!({
            "kty": "RSA",
            "use": "sig",
            "kid": self.key_id,
            "x5t": self.key_id,
            "n": encode(&components.n),
            "e": encode(&components.e),
            "x5c": ["MIIC"],
        })
    }

    pub fn key_set(&self, version: TokenVersion) -> KeySet {
        let issuer = Authority::default().issuer(version, TENANT);
        let jwks = json!({ "keys": [self.jwk()] }).to_string();
        KeySet::from_jwks(version, &issuer, TENANT, jwks.as_bytes()).unwrap()
    }

    pub fn header(&self) -> Value {
        json!({ "typ": "JWT", "alg": "RS256", "x5t": self.key_id, "kid": self.key_id })
    }

    pub fn token(&self, claims: &Value) -> String {
        self.sign(&self.header().to_string(), &claims.to_string())
    }

    pub fn sign(&self, header: &str, payload: &str) -> String {
        self.sign_bytes(header.as_bytes(), payload.as_bytes())
    }

    pub fn sign_bytes(&self, header: &[u8], payload: &[u8]) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature = self.signature(&RSA_PKCS1_SHA256, signed.as_bytes());
        format!("{signed}.{signature}")
    }

    /// Signs parts that are encoded already, so that they may be encoded wrongly.
    pub fn sign_parts(&self, header: &str, payload: &str) -> String {
        let signed = format!("{header}.{payload}");
        let signature = self.signature(&RSA_PKCS1_SHA256, signed.as_bytes());
        format!("{signed}.{signature}")
    }

    pub fn signature(&self, encoding: &'static dyn RsaEncoding, signed: &[u8]) -> String {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(encoding, &SystemRandom::new(), signed, &mut signature)
            .unwrap();
        encode(&signature)
    }
}

pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn policy() -> Policy {
    Policy::new(
        TENANT,
        Authority::default(),
        vec![AUDIENCE.parse::<Audience>().unwrap()],
    )
}

/// A delegated v1 token, with MFA, of a member of [`GROUP`].
pub fn user_v1() -> Value {
    json!({
        "aud": AUDIENCE,
        "iss": format!("https://sts.windows.net/{TENANT}/"),
        "iat": NOW - 600,
        "nbf": NOW - 600,
        "exp": NOW + 3000,
        "acr": "1",
        "amr": ["pwd", "mfa"],
        "appid": CLIENT,
        "appidacr": "0",
        "groups": [GROUP],
        "name": "Alice",
        "oid": ALICE,
        "scp": "user_impersonation",
        "sub": "Wm0-pairwise-subject",
        "tid": TENANT,
        "unique_name": "alice@contoso.example",
        "upn": "alice@contoso.example",
        "uti": "dGVzdC11dGk",
        "ver": "1.0",
        "xms_tcdt": 1_400_000_000,
    })
}

/// The same person's v2 token.
pub fn user_v2() -> Value {
    with(user_v1(), |claims| {
        claims["iss"] = format!("https://login.microsoftonline.com/{TENANT}/v2.0").into();
        claims["ver"] = "2.0".into();
        claims["azp"] = claims["appid"].take();
        claims["preferred_username"] = claims["upn"].take();
        for member in ["appid", "upn", "unique_name", "amr"] {
            claims.as_object_mut().unwrap().remove(member);
        }
    })
}

/// A managed identity's v1 token, with the life of 24 hours and 5 minutes that Azure gives it.
pub fn service_v1() -> Value {
    json!({
        "aud": AUDIENCE,
        "iss": format!("https://sts.windows.net/{TENANT}/"),
        "iat": NOW - 600,
        "nbf": NOW - 600,
        "exp": NOW - 600 + 86_700,
        "appid": SERVICE_APP,
        "appidacr": "2",
        "idtyp": "app",
        "oid": SERVICE,
        "sub": SERVICE,
        "tid": TENANT,
        "uti": "c2VydmljZS11dGk",
        "ver": "1.0",
    })
}

pub fn service_v2() -> Value {
    with(service_v1(), |claims| {
        claims["iss"] = format!("https://login.microsoftonline.com/{TENANT}/v2.0").into();
        claims["ver"] = "2.0".into();
        claims["azp"] = claims["appid"].take();
        claims.as_object_mut().unwrap().remove("appid");
    })
}

pub fn with(mut claims: Value, change: impl FnOnce(&mut Value)) -> Value {
    change(&mut claims);
    claims
}

/// `claims` with one of them replaced.
pub fn setting(claims: Value, name: &str, value: impl Into<Value>) -> Value {
    with(claims, |claims| claims[name] = value.into())
}

/// `claims` without one of them.
pub fn without(claims: Value, name: &str) -> Value {
    with(claims, |claims| {
        claims.as_object_mut().unwrap().remove(name).unwrap();
    })
}

pub fn mapping(kind: PrincipalKind, object_id: Uuid) -> Mapping {
    Mapping {
        kind,
        object_id,
        tenant: TENANT,
        admin: false,
        mfa: false,
    }
}

pub fn alice() -> Mapping {
    mapping(PrincipalKind::User, ALICE)
}

pub fn service() -> Mapping {
    mapping(PrincipalKind::Service, SERVICE)
}

pub fn group() -> Mapping {
    mapping(PrincipalKind::Group, GROUP)
}

/// Steps 2 and 3 as a sign-in takes them, with both versions' key sets at hand.
pub fn verify(token: &str, policy: &Policy, now: i64) -> Result<Claims, Reason> {
    let envelope = Envelope::parse(token.as_bytes(), policy.max_token_size)?;
    let version = envelope.serving_version(policy)?;
    let keys = ISSUER.key_set(version);
    let Some(key) = keys.find(envelope.key_id()) else {
        envelope.plausible(policy, now)?;
        return Err(Reason::KeyRefreshTimedOut);
    };
    envelope.verify(key)
}

/// Steps 2 to 9.
pub fn sign_in(token: &str, mapping: &Mapping) -> Result<(), Reason> {
    let policy = policy();
    let claims = verify(token, &policy, NOW)?;
    judged(&policy, mapping, &claims, NOW)
        .refusal
        .map_or(Ok(()), Err)
}

pub fn judged(policy: &Policy, mapping: &Mapping, claims: &Claims, now: i64) -> Judgment {
    judge(
        policy,
        mapping,
        claims,
        claims.membership(mapping.object_id),
        now,
    )
}

/// Steps 2 to 9 on a properly signed token.
pub fn outcome(claims: &Value, mapping: &Mapping) -> Result<(), Reason> {
    sign_in(&ISSUER.token(claims), mapping)
}

/// The claims of a properly signed token, without asking whether we serve its issuer.
pub fn verified(claims: &Value) -> Claims {
    let token = ISSUER.token(claims);
    let envelope = Envelope::parse(token.as_bytes(), 64 * 1024).unwrap();
    envelope
        .verify(&ISSUER.key_set(TokenVersion::V1).keys[0])
        .unwrap()
}

pub fn with_mfa(mapping: Mapping) -> Mapping {
    Mapping {
        mfa: true,
        ..mapping
    }
}
