//! Signing keys, each set bound to the one issuer whose tokens it verifies.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use thiserror::Error;
use uuid::Uuid;

use crate::authority::TokenVersion;
use crate::json;
use crate::roca;

/// An RSA public key that may sign tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    /// The `kid` that tokens name it by.
    pub key_id: String,
    /// The modulus, big-endian without leading zeros.
    pub modulus: Vec<u8>,
    /// The public exponent, big-endian without leading zeros.
    pub exponent: Vec<u8>,
}

/// The signing keys of one issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    /// Version of the tokens that the keys verify.
    pub version: TokenVersion,
    /// The issuer that the keys belong to.
    pub issuer: String,
    /// The keys, no two with the same id.
    pub keys: Vec<SigningKey>,
}

impl KeySet {
    /// The most keys a set may have; Entra publishes about six.
    pub const MAX_KEYS: usize = 16;

    /// Reads a JWK set (RFC 7517 section 5) as the key set of `issuer`.
    ///
    /// As the RFC advises, keys that are no use to us are passed over: other key types, other uses,
    /// other algorithms, RSA keys of less than 2048 or more than 4096 bits, with a public exponent
    /// below 65537 or an even one, with the weakness of CVE-2017-15361 (ROCA), without a `kid` of 1
    /// to 128 printable ASCII characters, and those whose `issuer` member, after `{tenantid}` in it
    /// is replaced by `tenant`, names another issuer (Entra's v2 sets contain keys for several).
    ///
    /// # Errors
    ///
    /// [`KeySetError`] where the set as a whole can't be trusted to be what it should be. A set
    /// without a single usable key is an error too.
    pub fn from_jwks(
        version: TokenVersion,
        issuer: &str,
        tenant: Uuid,
        json: &[u8],
    ) -> Result<KeySet, KeySetError> {
        let tenant = tenant.as_hyphenated().to_string();
        let keys = read_jwks(json, |named| named.replace("{tenantid}", &tenant) == issuer)?;
        Ok(KeySet {
            version,
            issuer: issuer.to_owned(),
            keys,
        })
    }

    /// The keys as a JWK set, which [`KeySet::from_jwks`] reads as this one.
    pub fn to_jwks(&self) -> Value {
        let jwk = |key: &SigningKey| {
            json!({
                "kty": "RSA",
                "use": "sig",
                "kid": key.key_id,
                "n": URL_SAFE_NO_PAD.encode(&key.modulus),
                "e": URL_SAFE_NO_PAD.encode(&key.exponent),
            })
        };
        json!({ "keys": self.keys.iter().map(jwk).collect::<Vec<_>>() })
    }

    /// The key of this id.
    pub fn find(&self, key_id: &str) -> Option<&SigningKey> {
        self.keys.iter().find(|key| key.key_id == key_id)
    }
}

impl SigningKey {
    /// Reads a JWK set without regard to the issuer that its keys name.
    ///
    /// Meant for tools that judge only a signature. Sign-ins need [`KeySet::from_jwks`], because
    /// one issuer's key must not verify another's token.
    ///
    /// # Errors
    ///
    /// See [`KeySet::from_jwks`].
    pub fn read_all(json: &[u8]) -> Result<Vec<SigningKey>, KeySetError> {
        read_jwks(json, |_| true)
    }

    /// Reads one JWK of a set.
    fn from_jwk(jwk: &Map<String, Value>) -> Result<SigningKey, Unusable> {
        if jwk.get("kty") != Some(&Value::from("RSA")) {
            return Err(Unusable::NotRsa);
        }
        let is_or_absent = |member: &str, value: &str| jwk.get(member).is_none_or(|v| v == value);
        let may_verify = match jwk.get("key_ops") {
            None => true,
            Some(Value::Array(operations)) => operations.iter().any(|name| name == "verify"),
            Some(_) => false,
        };
        // Entra's keys have no `alg`; one that is there must not be overruled.
        if !is_or_absent("use", "sig") || !is_or_absent("alg", "RS256") || !may_verify {
            return Err(Unusable::OtherUse);
        }
        let key_id = match jwk.get("kid") {
            Some(Value::String(kid)) if is_key_id(kid) => kid.clone(),
            _ => return Err(Unusable::KeyId),
        };
        let modulus = integer(jwk.get("n")).ok_or(Unusable::Integers)?;
        let exponent = integer(jwk.get("e")).ok_or(Unusable::Integers)?;
        let is_odd = |integer: &[u8]| integer.last().is_some_and(|byte| byte % 2 == 1);
        if !(2048..=4096).contains(&bit_length(&modulus)) || !is_odd(&modulus) {
            return Err(Unusable::Modulus);
        }
        // An odd number of 17 bits or more is at least 65537.
        if !(17..=32).contains(&bit_length(&exponent)) || !is_odd(&exponent) {
            return Err(Unusable::Exponent);
        }
        if roca::has_fingerprint(&modulus) {
            return Err(Unusable::Roca);
        }
        Ok(SigningKey {
            key_id,
            modulus,
            exponent,
        })
    }
}

/// Why a set of keys is not taken.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeySetError {
    /// Not the JSON of a JWK set.
    #[error(
        "the key set is not a JSON object with an array \"keys\" of objects, or repeats a member"
    )]
    Malformed,
    /// Two usable keys have the same id, so that a token's `kid` would not say which is meant.
    #[error("the key set has two signing keys with the same kid")]
    DuplicateKeyId,
    /// A private key has been published; everyone who reads it can sign tokens.
    #[error("the key set contains the private part of a key: it must hold public keys only")]
    PrivateKey,
    /// More than [`KeySet::MAX_KEYS`].
    #[error("the key set has more than {} signing keys", KeySet::MAX_KEYS)]
    TooManyKeys,
    /// Nothing to verify a signature with.
    #[error("the key set has no usable signing key{}", first_reason(.0))]
    NoUsableKey(Option<Unusable>),
}

/// Why one key of a set was passed over.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unusable {
    /// Another key type than RSA.
    #[error("kty is not RSA")]
    NotRsa,
    /// Not for signatures, not for verifying, or for another algorithm.
    #[error("use, key_ops or alg says that it is not for RS256 signatures")]
    OtherUse,
    /// Belongs to another issuer.
    #[error("it belongs to another issuer")]
    OtherIssuer,
    /// No acceptable `kid`.
    #[error("kid is not 1 to 128 printable ASCII characters")]
    KeyId,
    /// Modulus or exponent unreadable.
    #[error("n or e is not a canonical base64url integer")]
    Integers,
    /// Modulus out of range.
    #[error("the modulus is not an odd number of 2048 to 4096 bits")]
    Modulus,
    /// Exponent out of range.
    #[error("the public exponent is not an odd number from 65537 to 32 bits")]
    Exponent,
    /// CVE-2017-15361.
    #[error("the modulus has the weakness of CVE-2017-15361")]
    Roca,
}

fn first_reason(reason: &Option<Unusable>) -> String {
    reason
        .map(|reason| format!(": the first key's {reason}"))
        .unwrap_or_default()
}

/// Whether `kid` may name a key: 1 to 128 printable ASCII characters, without spaces. Entra's are
/// 27 or 43 base64url characters.
pub(crate) fn is_key_id(kid: &str) -> bool {
    (1..=128).contains(&kid.len()) && kid.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Reads the usable keys of a JWK set. `belongs` judges the `issuer` member of keys that have one.
fn read_jwks(json: &[u8], belongs: impl Fn(&str) -> bool) -> Result<Vec<SigningKey>, KeySetError> {
    let set: Map<String, Value> = json::object(json).map_err(|_| KeySetError::Malformed)?;
    let Some(Value::Array(entries)) = set.get("keys") else {
        return Err(KeySetError::Malformed);
    };
    let mut keys: Vec<SigningKey> = Vec::new();
    let mut first_unusable = None;
    for entry in entries {
        let jwk = entry.as_object().ok_or(KeySetError::Malformed)?;
        // RFC 7518 section 6.3.2.
        if ["d", "p", "q", "dp", "dq", "qi", "oth"]
            .iter()
            .any(|member| jwk.contains_key(*member))
        {
            return Err(KeySetError::PrivateKey);
        }
        let is_ours = match jwk.get("issuer") {
            None => true,
            Some(Value::String(named)) => belongs(named),
            Some(_) => false,
        };
        let key = if is_ours {
            SigningKey::from_jwk(jwk)
        } else {
            Err(Unusable::OtherIssuer)
        };
        match key {
            Ok(key) if keys.iter().any(|known| known.key_id == key.key_id) => {
                return Err(KeySetError::DuplicateKeyId);
            }
            Ok(_) if keys.len() == KeySet::MAX_KEYS => return Err(KeySetError::TooManyKeys),
            Ok(key) => keys.push(key),
            Err(reason) => {
                first_unusable.get_or_insert(reason);
            }
        }
    }
    if keys.is_empty() {
        Err(KeySetError::NoUsableKey(first_unusable))
    } else {
        Ok(keys)
    }
}

/// Reads a Base64urlUInt, RFC 7518 section 2: big-endian, no leading zeros.
fn integer(member: Option<&Value>) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(member?.as_str()?).ok()?;
    bytes
        .first()
        .is_some_and(|first| *first != 0)
        .then_some(bytes)
}

/// Number of bits of a big-endian integer without leading zeros.
fn bit_length(integer: &[u8]) -> usize {
    match integer.first() {
        Some(first) => integer.len() * 8 - first.leading_zeros() as usize,
        None => 0,
    }
}
