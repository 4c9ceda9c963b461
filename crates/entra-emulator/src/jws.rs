//! JSON Web Signatures in compact form (RFC 7515 section 7.1), as clients bring them.

use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::signing_keys::{SigningKey, SigningKeyError};

/// The parts of a token whose signature is not verified yet. Not `Debug`: it is a credential.
pub struct Parsed {
    pub header: Map<String, Value>,
    pub claims: Map<String, Value>,
    /// What was signed.
    pub message: String,
    pub signature: Vec<u8>,
}

impl Parsed {
    /// `None` where the text is no signed JSON in three parts.
    pub fn read(text: &str) -> Option<Parsed> {
        let (message, signature) = text.trim().rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let object = |part: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
            serde_json::from_slice(&bytes).ok()
        };
        Some(Parsed {
            header: object(header)?,
            claims: object(claims)?,
            message: message.to_owned(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// A claim's text; empty where it is none.
    pub fn text(&self, claim: &str) -> &str {
        self.claims
            .get(claim)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Whether `audience` is the token's audience, or one of several.
    pub fn is_for(&self, audience: impl Fn(&str) -> bool) -> bool {
        match self.claims.get("aud") {
            Some(Value::String(own)) => audience(own),
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).any(audience),
            _ => false,
        }
    }

    /// Whether it is good at `now`; what says nothing of its end never is. Times may have fractions:
    /// Python's library sends them.
    pub fn is_current(&self, now: i64, skew: i64) -> bool {
        let time = |claim: &str| self.claims.get(claim).and_then(seconds);
        time("exp").is_some_and(|end| now < end + skew)
            && time("nbf").is_none_or(|begin| begin - skew <= now)
    }
}

/// Signs with RS256.
pub fn signed(key: &SigningKey, header: &Value, claims: &Value) -> Result<String, SigningKeyError> {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = key.sign(&RSA_PKCS1_SHA256, message.as_bytes())?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// A NumericDate (RFC 7519 section 2) in whole seconds.
fn seconds(value: &Value) -> Option<i64> {
    // The conversion saturates, and no clock gets there.
    value.as_f64().map(|seconds| seconds.floor() as i64)
}
