//! A token in the making: header, claims, key and algorithm can still be changed.

use aws_lc_rs::{digest, hmac, signature};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::error::MintError;
use crate::signing_keys::{SigningKey, SigningKeys};

/// The header member of Graph's tokens that hides from others what was signed.
pub(super) const NONCE: &str = "nonce";

/// The header that was signed. Graph's tokens show a nonce and are signed with its digest in its
/// place, so that only Graph can tell that they are genuine.
pub(crate) fn signed_header(header: &Map<String, Value>) -> Map<String, Value> {
    let mut signed = header.clone();
    if let Some(nonce) = header.get(NONCE).and_then(Value::as_str) {
        let digest = digest::digest(&digest::SHA256, nonce.as_bytes());
        signed.insert(NONCE.to_owned(), URL_SAFE_NO_PAD.encode(digest).into());
    }
    signed
}

/// What makes the third part of the token.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signer {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    /// HMAC with the public key's PEM text as secret, which every reader of the key set has.
    Hs256,
    Nobody,
}

/// Which key signs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hand {
    Current,
    Stranger,
}

/// A change to the finished text: of the header, of the claims, or of the token.
pub(super) type Edit = fn(String) -> String;

pub(super) struct Draft<'a> {
    keys: &'a SigningKeys,
    pub header: Map<String, Value>,
    pub claims: Map<String, Value>,
    pub signer: Signer,
    pub hand: Hand,
    pub header_edits: Vec<Edit>,
    pub claims_edits: Vec<Edit>,
    pub token_edits: Vec<Edit>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        keys: &'a SigningKeys,
        header: Map<String, Value>,
        claims: Map<String, Value>,
    ) -> Draft<'a> {
        Draft {
            keys,
            header,
            claims,
            signer: Signer::Rs256,
            hand: Hand::Current,
            header_edits: Vec::new(),
            claims_edits: Vec::new(),
            token_edits: Vec::new(),
        }
    }

    pub(super) fn set(&mut self, claim: &str, value: impl Into<Value>) {
        self.claims.insert(claim.to_owned(), value.into());
    }

    pub(super) fn set_header(&mut self, member: &str, value: impl Into<Value>) {
        self.header.insert(member.to_owned(), value.into());
    }

    pub(super) fn remove(&mut self, claim: &str) {
        self.claims.remove(claim);
    }

    /// A claim's text; empty where it is none.
    pub(super) fn text(&self, claim: &str) -> String {
        self.claims
            .get(claim)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }

    /// A claim's number; 0 where it is none.
    pub(super) fn number(&self, claim: &str) -> i64 {
        self.claims
            .get(claim)
            .and_then(Value::as_i64)
            .unwrap_or_default()
    }

    /// Has the key that is never published sign instead.
    pub(super) fn sign_as_stranger(&mut self) {
        self.hand = Hand::Stranger;
    }

    /// The same, and says in the header where that key can be found; `kid` stays.
    pub(super) fn lure(&mut self, member: &str, value: Value) {
        self.sign_as_stranger();
        self.set_header(member, value);
    }

    pub(super) fn stranger(&self) -> &'a SigningKey {
        self.keys.stranger()
    }

    /// Adds a claim that brings the token to `size` bytes, or to one less.
    pub(super) fn fill(&mut self, size: usize) -> Result<(), MintError> {
        const NAME: &str = "xms_filler";
        self.set(NAME, "");
        let natural = self.compact()?.len();
        let too_small = MintError::TooSmall {
            natural,
            wanted: size,
        };
        let Some(missing) = size.checked_sub(natural) else {
            return Err(too_small);
        };
        // Base64 turns three bytes into four characters. A single character more is not
        // possible, so lower estimates follow until one fits.
        let estimate = missing / 4 * 3 + 3;
        for length in (0..=estimate).rev() {
            self.set(NAME, "x".repeat(length));
            if self.parts(&self.header).len() + 1 + self.signature_length() <= size {
                return Ok(());
            }
        }
        Err(too_small)
    }

    pub(super) fn finish(&self) -> Result<String, MintError> {
        Ok(self
            .token_edits
            .iter()
            .fold(self.compact()?, |token, edit| edit(token)))
    }

    /// JWS compact serialization, RFC 7515 section 7.1.
    fn compact(&self) -> Result<String, MintError> {
        let signed = self.parts(&signed_header(&self.header));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes())?);
        Ok(format!("{}.{signature}", self.parts(&self.header)))
    }

    /// Header and claims.
    fn parts(&self, header: &Map<String, Value>) -> String {
        let text = |members: &Map<String, Value>, edits: &[Edit]| {
            let json = Value::Object(members.clone()).to_string();
            URL_SAFE_NO_PAD.encode(edits.iter().fold(json, |json, edit| edit(json)))
        };
        format!(
            "{}.{}",
            text(header, &self.header_edits),
            text(&self.claims, &self.claims_edits)
        )
    }

    fn signature_length(&self) -> usize {
        match self.signer {
            Signer::Nobody => 0,
            Signer::Hs256 => 43,
            _ => 342,
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, MintError> {
        let key = match self.hand {
            Hand::Current => self.keys.current()?,
            Hand::Stranger => self.keys.stranger(),
        };
        let signed = match self.signer {
            Signer::Nobody => return Ok(Vec::new()),
            Signer::Hs256 => {
                let secret = hmac::Key::new(hmac::HMAC_SHA256, key.public_key_pem().as_bytes());
                return Ok(hmac::sign(&secret, message).as_ref().to_vec());
            }
            Signer::Rs256 => key.sign(&signature::RSA_PKCS1_SHA256, message),
            Signer::Rs384 => key.sign(&signature::RSA_PKCS1_SHA384, message),
            Signer::Rs512 => key.sign(&signature::RSA_PKCS1_SHA512, message),
            Signer::Ps256 => key.sign(&signature::RSA_PSS_SHA256, message),
        };
        Ok(signed?)
    }
}
