//! Client assertions: with them an application proves that it holds the key of its certificate.
//!
//! <https://learn.microsoft.com/entra/identity-platform/certificate-credentials>

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::pem::{self, Section};
use crate::wiped::Wiped;

/// Microsoft advises 5 to 10 minutes at most.
const LIFETIME: i64 = 300;

/// A certificate's thumbprint and its private key.
pub struct Certificate {
    thumbprint: String,
    key: KeyPair,
}

impl Certificate {
    /// Reads a PEM file that holds an RSA private key and its certificate, in any order; other
    /// certificates, as of a chain, don't matter.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, without quoting it.
    pub fn from_pem(content: &[u8]) -> Result<Certificate, &'static str> {
        let text = str::from_utf8(content).map_err(|_| "it is not text")?;
        let sections = pem::sections(text)?;
        let key = private_key(&sections)?;
        // A certificate holds the encoded public key as it is (RFC 8017 in RFC 5280).
        let public = key.public_key().as_ref();
        let mut certificates = sections
            .iter()
            .filter(|section| section.label == "CERTIFICATE")
            .peekable();
        if certificates.peek().is_none() {
            return Err("it holds no certificate");
        }
        let certificate = certificates
            .find(|section| section.der.windows(public.len()).any(|part| part == public))
            .ok_or("its private key does not belong to its certificate")?;
        let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, &certificate.der));
        Ok(Certificate { thumbprint, key })
    }

    /// An assertion for the token endpoint `audience`, good for five minutes from `now`, which is in
    /// seconds since 1970.
    pub fn assert(
        &self,
        client_id: Uuid,
        audience: &str,
        now: i64,
    ) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        let header = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": self.thumbprint });
        let claims = json!({
            "aud": audience,
            "iss": client_id,
            "sub": client_id,
            "jti": Uuid::new_v4(),
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME,
        });
        let mut assertion = Wiped::default();
        assertion.append(URL_SAFE_NO_PAD.encode(header.to_string()).as_bytes());
        assertion.append(b".");
        assertion.append(URL_SAFE_NO_PAD.encode(claims.to_string()).as_bytes());
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                &RSA_PSS_SHA256,
                &SystemRandom::new(),
                assertion.as_slice(),
                &mut signature,
            )
            .map_err(|_| "its private key does not sign")?;
        let signature = Zeroizing::new(URL_SAFE_NO_PAD.encode(signature));
        assertion.append(b".");
        assertion.append(signature.as_bytes());
        Ok(assertion.into_bytes())
    }
}

fn private_key(sections: &[Section<'_>]) -> Result<KeyPair, &'static str> {
    // The library takes no others.
    const MALFORMED: &str = "its private key is not an RSA key of 2048 to 8192 bits";
    let mut keys = sections
        .iter()
        .filter(|section| section.label.ends_with("PRIVATE KEY"));
    let key = keys.next().ok_or("it holds no private key")?;
    if keys.next().is_some() {
        return Err("it holds more than one private key");
    }
    match key.label {
        "PRIVATE KEY" => KeyPair::from_pkcs8(&key.der).map_err(|_| MALFORMED),
        "RSA PRIVATE KEY" => KeyPair::from_der(&key.der).map_err(|_| MALFORMED),
        "ENCRYPTED PRIVATE KEY" => Err("its private key is encrypted"),
        _ => Err(MALFORMED),
    }
}
