//! The compact form of a signed token, its header and its signature.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use crate::json::{self, present};
use crate::keys::{SigningKey, is_key_id};
use crate::reason::Reason;

/// A JSON Web Signature in compact form (RFC 7515 section 7.1) whose header is acceptable and whose
/// payload has not been looked at.
///
/// A sign-in is judged with [`Envelope`](crate::Envelope), which demands more of the header and
/// reads the payload too.
pub struct Jws<'t> {
    /// Header and payload with the dot between them: what the signature is over.
    signed: &'t [u8],
    payload: Zeroizing<Vec<u8>>,
    signature: Zeroizing<Vec<u8>>,
    key_id: String,
    is_typed: bool,
}

/// The header members that matter. `jwk`, `jku`, `x5c` and `x5u` are not among them: a key that
/// comes with the token proves nothing (RFC 8725 section 3.10).
#[derive(Deserialize)]
struct Header {
    #[serde(default, deserialize_with = "present")]
    alg: Option<Member>,
    #[serde(default, deserialize_with = "present")]
    typ: Option<Member>,
    #[serde(default, deserialize_with = "present")]
    kid: Option<Member>,
    #[serde(default, deserialize_with = "present")]
    crit: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    b64: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    zip: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    cty: Option<IgnoredAny>,
}

/// A header member that ought to be text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Member {
    Text(String),
    NotText(IgnoredAny),
}

impl<'t> Jws<'t> {
    /// Takes a token apart and judges its header.
    ///
    /// `max_size` is the size of the longest token that is looked at, in bytes.
    ///
    /// # Errors
    ///
    /// - [`Reason::TokenTooLarge`]
    /// - [`Reason::TokenMalformed`]: not three parts in canonical base64url, of which header and
    ///   signature are not empty
    /// - [`Reason::HeaderInvalid`]: not a JSON object, a repeated member, or no `kid` of 1 to 128
    ///   printable ASCII characters
    /// - [`Reason::AlgorithmNotAllowed`]: `alg` is not exactly `RS256`
    /// - [`Reason::TypeNotAllowed`]: `typ` is there and is neither `JWT` nor `at+jwt`
    /// - [`Reason::HeaderExtensionNotAllowed`]: `crit`, `b64`, `zip` or `cty` is there
    pub fn parse(token: &'t [u8], max_size: usize) -> Result<Jws<'t>, Reason> {
        if token.len() > max_size {
            return Err(Reason::TokenTooLarge);
        }
        let (signed, signature) = split_at_last_dot(token).ok_or(Reason::TokenMalformed)?;
        let (header, payload) = split_at_last_dot(signed).ok_or(Reason::TokenMalformed)?;
        if header.is_empty() || signature.is_empty() {
            return Err(Reason::TokenMalformed);
        }
        // A further dot is no base64url, so there are three parts or an error.
        let header = decode(header)?;
        let payload = decode(payload)?;
        let signature = decode(signature)?;

        let header: Header = json::object(&header).map_err(|_| Reason::HeaderInvalid)?;
        if !matches!(&header.alg, Some(Member::Text(alg)) if alg == "RS256") {
            return Err(Reason::AlgorithmNotAllowed);
        }
        let is_typed = match &header.typ {
            None => false,
            Some(Member::Text(typ)) if is_token_type(typ) => true,
            _ => return Err(Reason::TypeNotAllowed),
        };
        if header.crit.is_some()
            || header.b64.is_some()
            || header.zip.is_some()
            || header.cty.is_some()
        {
            return Err(Reason::HeaderExtensionNotAllowed);
        }
        let key_id = match header.kid {
            Some(Member::Text(kid)) if is_key_id(&kid) => kid,
            _ => return Err(Reason::HeaderInvalid),
        };
        Ok(Jws {
            signed,
            payload,
            signature,
            key_id,
            is_typed,
        })
    }

    /// The `kid` of the header: which key to ask for. Not believed, and not fit for a log.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Whether the header says by `typ` what the token is.
    pub(crate) fn is_typed(&self) -> bool {
        self.is_typed
    }

    /// The payload, unverified.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Verifies the signature, RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 section 3.3).
    ///
    /// # Errors
    ///
    /// [`Reason::KeyUnknown`] if `key` is not the one that the header names,
    /// [`Reason::SignatureInvalid`] if it did not make the signature.
    pub fn verify(&self, key: &SigningKey) -> Result<(), Reason> {
        if key.key_id != self.key_id {
            return Err(Reason::KeyUnknown);
        }
        let key = DecodingKey::from_rsa_raw_components(&key.modulus, &key.exponent);
        // jsonwebtoken's process-wide default panics when it guesses wrong, and remembers that.
        // The provider is named here instead, so that there is nothing to install: a backend that
        // was forked before or after makes no difference, and without the feature this is a
        // compile error.
        let verifier = (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&Algorithm::RS256, &key)
            .map_err(|_| Reason::SignatureInvalid)?;
        verifier
            .verify(self.signed, &self.signature)
            .map_err(|_| Reason::SignatureInvalid)
    }
}

/// Shows nothing of the token: it is not known yet whose it is, and everyone who reads it can use it.
impl fmt::Debug for Jws<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jws").finish_non_exhaustive()
    }
}

/// `typ` as a media type without `application/`, whose names are case-insensitive (RFC 7515 section
/// 4.1.9, RFC 2045 section 5.1). Entra writes `JWT`; `at+jwt` is RFC 9068's.
fn is_token_type(typ: &str) -> bool {
    typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("at+jwt")
}

fn split_at_last_dot(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (before, from_dot) = text.split_at(text.iter().rposition(|byte| *byte == b'.')?);
    Some((before, from_dot.get(1..)?))
}

/// Decodes one part of a token; what comes out is wiped when it is dropped.
///
/// The signature is over the encoded parts. If the decoder knew more than one spelling, a token
/// would have many, so padding, trailing bits and white space are errors.
fn decode(part: &[u8]) -> Result<Zeroizing<Vec<u8>>, Reason> {
    // Room for all of it at once: a vector that grows leaves copies behind that are not wiped.
    let mut bytes = Zeroizing::new(Vec::with_capacity(part.len().div_ceil(4).saturating_mul(3)));
    URL_SAFE_NO_PAD
        .decode_vec(part, &mut bytes)
        .map_err(|_| Reason::TokenMalformed)?;
    Ok(bytes)
}
