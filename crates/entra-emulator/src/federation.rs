//! The issuers that applications trust instead of having a secret: Kubernetes clusters, build
//! services and the like. The emulator plays all of them with one key of their own, which signs
//! whatever it is asked for and nothing of Entra's.

use serde_json::{Value, json};

use crate::jws;
use crate::signing_keys::{SigningKey, SigningKeyError};
use crate::state::StateDirectory;

const FILE: &str = "federation_key.json";

/// The key of all foreign issuers.
pub struct ForeignIssuers(SigningKey);

/// What a token of a foreign issuer says.
pub struct ForeignToken<'a> {
    pub issuer: &'a str,
    pub subject: &'a str,
    pub audience: &'a str,
    /// Unix times.
    pub issued_at: i64,
    pub expires_on: i64,
}

impl ForeignIssuers {
    /// The key in the state directory, made on first use and kept.
    pub fn open(state: &StateDirectory) -> Result<ForeignIssuers, SigningKeyError> {
        let _lock = state.lock()?;
        if let Some(found) = ForeignIssuers::find(state)? {
            return Ok(found);
        }
        let key = SigningKey::generate()?;
        state.write_secret(FILE, &key.stored_text()?)?;
        Ok(ForeignIssuers(key))
    }

    /// The key in the state directory, if a token was ever signed with it.
    pub fn find(state: &StateDirectory) -> Result<Option<ForeignIssuers>, SigningKeyError> {
        match state.read(FILE)? {
            Some(text) => Ok(Some(ForeignIssuers(SigningKey::load_text(&text)?))),
            None => Ok(None),
        }
    }

    /// Signs a token, as a projected service account token looks.
    pub fn sign(&self, token: &ForeignToken<'_>) -> Result<String, SigningKeyError> {
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.0.key_id() });
        let claims = json!({
            "iss": token.issuer,
            "sub": token.subject,
            "aud": [token.audience],
            "iat": token.issued_at,
            "nbf": token.issued_at,
            "exp": token.expires_on,
        });
        jws::signed(&self.0, &header, &claims)
    }

    /// Whether the token's signature is one of these issuers'.
    pub fn have_signed(&self, token: &jws::Parsed) -> bool {
        token.header.get("alg").and_then(Value::as_str) == Some("RS256")
            && self
                .0
                .has_signed(token.message.as_bytes(), &token.signature)
    }
}
