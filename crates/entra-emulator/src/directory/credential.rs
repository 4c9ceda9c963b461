//! What an application proves itself with, beside secrets: certificates, and tokens of an issuer
//! that it trusts.

use std::fs;
use std::path::Path;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use x509_parser::parse_x509_certificate;

/// What tokens of other issuers are for, where nothing else is said.
pub const TOKEN_EXCHANGE: &str = "api://AzureADTokenExchange";

/// The public half of a key with which an application signs assertions.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub der: Vec<u8>,
    public_key: Vec<u8>,
    /// Unix times between which it is good.
    pub not_before: i64,
    pub not_after: i64,
}

/// The algorithms that assertions may be signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionAlgorithm {
    Rs256,
    Ps256,
}

impl Certificate {
    /// Reads the first certificate of a PEM text, or of the file that `text` names, seen from
    /// `beside`. What else is in there, a key for instance, is ignored.
    pub(super) fn read(text: &str, beside: Option<&Path>) -> Result<Certificate, String> {
        const PEM: &str = "-----BEGIN ";
        let pem = if text.contains(PEM) {
            text.as_bytes().to_vec()
        } else {
            let path = beside.unwrap_or(Path::new("")).join(text);
            fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?
        };
        let der = CertificateDer::from_pem_slice(&pem)
            .map_err(|_| "there is no PEM certificate in it".to_owned())?
            .to_vec();
        let (_, parsed) = parse_x509_certificate(&der)
            .map_err(|error| format!("no X.509 certificate: {error}"))?;
        let validity = parsed.validity();
        Ok(Certificate {
            public_key: parsed.public_key().raw.to_vec(),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            der,
        })
    }

    /// The `x5t` of an assertion's header.
    pub fn sha1_thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.der))
    }

    /// The `x5t#S256` of an assertion's header.
    pub fn sha256_thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &self.der))
    }

    /// Whether `signature` of `message` was made with the certificate's key.
    pub fn has_signed(
        &self,
        algorithm: AssertionAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let algorithm: &dyn VerificationAlgorithm = match algorithm {
            AssertionAlgorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            AssertionAlgorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
        };
        UnparsedPublicKey::new(algorithm, &self.public_key)
            .verify(message, signature)
            .is_ok()
    }
}

/// Whose tokens prove an application. Microsoft: "Workload identity federation concepts".
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederatedCredential {
    pub issuer: String,
    pub subject: String,
    #[serde(default = "token_exchange")]
    pub audience: String,
}

fn token_exchange() -> String {
    TOKEN_EXCHANGE.to_owned()
}
