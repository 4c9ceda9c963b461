//! The keys that sign tokens.

use std::path::Path;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaEncoding, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, DnType, KeyPair, RsaKeySize};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::state::{StateDirectory, StateError};

const FILE: &str = "signing_keys.json";
/// The name in the certificates of Entra's own signing keys.
const SUBJECT: &str = "accounts.accesscontrol.windows.net";

#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("cannot make a signing key: {0}")]
    Making(#[from] rcgen::Error),
    #[error("{FILE} of the state directory is damaged ({0}); remove it to get new keys")]
    Damaged(String),
    #[error("no published signing key has the id \"{0}\"")]
    Unknown(String),
    #[error("the key that signs cannot be retired; rotate first")]
    InUse,
    #[error("the signing library refused: {0}")]
    Refused(&'static str),
}

/// An RSA key and its certificate.
pub struct SigningKey {
    key_id: String,
    pair: rsa::KeyPair,
    public_key_pem: String,
    certificate: Vec<u8>,
    stored: StoredKey,
}

impl SigningKey {
    /// The `kid`, which is also the `x5t`: the SHA-1 thumbprint of the certificate.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The public key as PEM text; what a verifier that confuses HMAC with RSA would use as secret.
    pub fn public_key_pem(&self) -> &str {
        &self.public_key_pem
    }

    /// The certificate as members of `x5c` carry it: standard base64 of DER.
    pub fn certificate(&self) -> String {
        STANDARD.encode(&self.certificate)
    }

    /// The public key as a JWK. Entra's have no `alg`.
    pub fn jwk(&self) -> Map<String, Value> {
        let public = self.pair.public_key();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let members = [
            ("kty", json!("RSA")),
            ("use", json!("sig")),
            ("kid", json!(self.key_id)),
            ("x5t", json!(self.key_id)),
            (
                "n",
                json!(number(public.modulus().big_endian_without_leading_zero())),
            ),
            (
                "e",
                json!(number(public.exponent().big_endian_without_leading_zero())),
            ),
            ("x5c", json!([self.certificate()])),
        ];
        members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// Signs `message` in one of the forms of RSA signature.
    pub fn sign(
        &self,
        encoding: &'static dyn RsaEncoding,
        message: &[u8],
    ) -> Result<Vec<u8>, SigningKeyError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(encoding, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| SigningKeyError::Refused("RSA signature"))?;
        Ok(signature)
    }

    /// Whether `signature` is this key's RS256 signature of `message`.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let public = self.pair.public_key();
        RsaPublicKeyComponents {
            n: public.modulus().big_endian_without_leading_zero(),
            e: public.exponent().big_endian_without_leading_zero(),
        }
        .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
        .is_ok()
    }

    pub(crate) fn generate() -> Result<SigningKey, SigningKeyError> {
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        let mut parameters = CertificateParams::default();
        parameters
            .distinguished_name
            .push(DnType::CommonName, SUBJECT);
        let certificate = parameters.self_signed(&key)?;
        SigningKey::load(StoredKey {
            private_key: key.serialize_pem(),
            certificate: certificate.pem(),
        })
    }

    /// The key as a private file keeps it.
    pub(crate) fn stored_text(&self) -> Result<String, SigningKeyError> {
        serde_json::to_string_pretty(&self.stored)
            .map_err(|error| SigningKeyError::Damaged(error.to_string()))
    }

    pub(crate) fn load_text(text: &str) -> Result<SigningKey, SigningKeyError> {
        let stored = serde_json::from_str(text)
            .map_err(|error| SigningKeyError::Damaged(error.to_string()))?;
        SigningKey::load(stored)
    }

    fn load(stored: StoredKey) -> Result<SigningKey, SigningKeyError> {
        let damaged = |what: &str| SigningKeyError::Damaged(what.to_owned());
        let key = KeyPair::from_pem(&stored.private_key).map_err(|_| damaged("private key"))?;
        let pair = rsa::KeyPair::from_pkcs8(key.serialized_der())
            .map_err(|_| damaged("private key is not RSA"))?;
        let certificate = CertificateDer::from_pem_slice(stored.certificate.as_bytes())
            .map_err(|_| damaged("certificate"))?
            .to_vec();
        let thumbprint = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &certificate);
        Ok(SigningKey {
            key_id: URL_SAFE_NO_PAD.encode(thumbprint),
            pair,
            public_key_pem: key.public_key_pem(),
            certificate,
            stored,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    private_key: String,
    certificate: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<Key> {
    signing: String,
    published: Vec<Key>,
    stranger: Key,
}

/// The keys of one state directory: those that the emulator publishes, one of which signs, and one
/// that it never publishes, which plays the part of an attacker's.
pub struct SigningKeys {
    state: StateDirectory,
    signing: String,
    published: Vec<SigningKey>,
    stranger: SigningKey,
}

impl SigningKeys {
    /// The keys in the directory `state`, made on first use and kept.
    pub fn open(state: &Path) -> Result<SigningKeys, SigningKeyError> {
        let state = StateDirectory::open(state)?;
        let _lock = state.lock()?;
        if let Some(text) = state.read(FILE)? {
            let stored: Stored<StoredKey> = serde_json::from_str(&text)
                .map_err(|error| SigningKeyError::Damaged(error.to_string()))?;
            let published = stored
                .published
                .into_iter()
                .map(SigningKey::load)
                .collect::<Result<Vec<_>, _>>()?;
            if !published.iter().any(|key| key.key_id == stored.signing) {
                return Err(SigningKeyError::Damaged(
                    "the signing key is missing".to_owned(),
                ));
            }
            let stranger = SigningKey::load(stored.stranger)?;
            return Ok(SigningKeys {
                state,
                signing: stored.signing,
                published,
                stranger,
            });
        }
        // Entra publishes keys before it signs with them, so there is always more than one.
        let (current, standby) = (SigningKey::generate()?, SigningKey::generate()?);
        let keys = SigningKeys {
            state,
            signing: current.key_id.clone(),
            published: vec![current, standby],
            stranger: SigningKey::generate()?,
        };
        keys.save()?;
        Ok(keys)
    }

    /// The key that signs.
    pub fn current(&self) -> Result<&SigningKey, SigningKeyError> {
        self.published
            .iter()
            .find(|key| key.key_id == self.signing)
            .ok_or_else(|| SigningKeyError::Unknown(self.signing.clone()))
    }

    /// A key that is never published.
    pub fn stranger(&self) -> &SigningKey {
        &self.stranger
    }

    /// What the key endpoints publish, oldest first.
    pub fn published(&self) -> &[SigningKey] {
        &self.published
    }

    /// The published keys as a key set; each names the `issuer` it belongs to, where one is given.
    pub fn key_set(&self, issuer: Option<&str>) -> Value {
        let entry = |key: &SigningKey| {
            let mut jwk = key.jwk();
            if let Some(issuer) = issuer {
                jwk.insert("issuer".to_owned(), issuer.into());
            }
            Value::Object(jwk)
        };
        json!({ "keys": self.published.iter().map(entry).collect::<Vec<_>>() })
    }

    /// Makes a new key, publishes it and signs with it; the others stay published. Returns its id.
    pub fn rotate(&mut self) -> Result<String, SigningKeyError> {
        let _lock = self.state.lock()?;
        let key = SigningKey::generate()?;
        self.signing = key.key_id.clone();
        self.published.push(key);
        self.save()?;
        Ok(self.signing.clone())
    }

    /// Publishes the key `key_id` no more, the oldest where none is named. Returns its id.
    pub fn retire(&mut self, key_id: Option<&str>) -> Result<String, SigningKeyError> {
        let _lock = self.state.lock()?;
        let place = match key_id {
            Some(key_id) => self
                .published
                .iter()
                .position(|key| key.key_id == key_id)
                .ok_or_else(|| SigningKeyError::Unknown(key_id.to_owned()))?,
            None => self
                .published
                .iter()
                .position(|key| key.key_id != self.signing)
                .ok_or(SigningKeyError::InUse)?,
        };
        if self
            .published
            .get(place)
            .is_some_and(|key| key.key_id == self.signing)
        {
            return Err(SigningKeyError::InUse);
        }
        let retired = self.published.remove(place);
        self.save()?;
        Ok(retired.key_id)
    }

    /// Writes these keys into another state directory, which then need not make its own: that takes a second.
    pub fn copy_to(&self, state: &Path) -> Result<(), SigningKeyError> {
        let state = StateDirectory::open(state)?;
        let _lock = state.lock()?;
        self.save_in(&state)
    }

    fn save(&self) -> Result<(), SigningKeyError> {
        self.save_in(&self.state)
    }

    fn save_in(&self, state: &StateDirectory) -> Result<(), SigningKeyError> {
        let stored = Stored {
            signing: self.signing.clone(),
            published: self.published.iter().map(|key| &key.stored).collect(),
            stranger: &self.stranger.stored,
        };
        let text = serde_json::to_string_pretty(&stored)
            .map_err(|error| SigningKeyError::Damaged(error.to_string()))?;
        Ok(state.write_secret(FILE, &text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kept_rotated_and_retired() {
        let place = tempfile::tempdir().unwrap();
        let mut keys = SigningKeys::open(place.path()).unwrap();
        let first = keys.current().unwrap().key_id().to_owned();
        assert_eq!(keys.published().len(), 2);
        assert!(
            keys.published()
                .iter()
                .all(|key| key.key_id() != keys.stranger().key_id())
        );

        let second = keys.rotate().unwrap();
        assert_ne!(first, second);
        let again = SigningKeys::open(place.path()).unwrap();
        assert_eq!(again.current().unwrap().key_id(), second);
        assert_eq!(again.published().len(), 3);
        assert_eq!(again.stranger().key_id(), keys.stranger().key_id());

        assert!(matches!(
            keys.retire(Some(&second)),
            Err(SigningKeyError::InUse)
        ));
        assert!(matches!(
            keys.retire(Some("x")),
            Err(SigningKeyError::Unknown(_))
        ));
        assert_eq!(keys.retire(None).unwrap(), first);
        keys.retire(None).unwrap();
        assert!(matches!(keys.retire(None), Err(SigningKeyError::InUse)));
    }

    #[test]
    fn key_id_is_the_certificates_thumbprint() {
        let place = tempfile::tempdir().unwrap();
        let keys = SigningKeys::open(place.path()).unwrap();
        let jwk = keys.current().unwrap().jwk();
        let certificate = STANDARD.decode(jwk["x5c"][0].as_str().unwrap()).unwrap();
        let thumbprint = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &certificate);
        assert_eq!(jwk["kid"], URL_SAFE_NO_PAD.encode(thumbprint));
        assert_eq!(jwk["kid"], jwk["x5t"]);
        assert!(!jwk.contains_key("alg"));
        for private in ["d", "p", "q", "dp", "dq", "qi"] {
            assert!(!jwk.contains_key(private));
        }
    }

    #[test]
    fn damage_is_reported() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join(FILE), "{}").unwrap();
        let error = SigningKeys::open(place.path()).err().unwrap();
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}
