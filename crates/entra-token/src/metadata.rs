//! OpenID provider metadata: where an issuer's keys are.

use serde::Deserialize;
use thiserror::Error;

use crate::authority::Authority;
use crate::json;

/// What is needed of an OpenID provider metadata document (OpenID Connect Discovery 1.0 section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The issuer that the document speaks for.
    pub issuer: String,
    /// Address of the issuer's key set, on the authority's own origin.
    pub jwks_uri: String,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

impl Metadata {
    /// Reads the document that `authority` serves for `issuer`.
    ///
    /// # Errors
    ///
    /// [`MetadataError`]. Section 4.3 of the specification demands that the issuer be exactly the
    /// one asked for; that the keys lie on the authority's own origin is our rule, so that nobody
    /// who can write a metadata document can send the server elsewhere.
    pub fn parse(
        json: &[u8],
        issuer: &str,
        authority: &Authority,
    ) -> Result<Metadata, MetadataError> {
        let document: Document = json::object(json).map_err(|_| MetadataError::Malformed)?;
        if document.issuer != issuer {
            return Err(MetadataError::OtherIssuer);
        }
        if !authority.owns(&document.jwks_uri) {
            return Err(MetadataError::ForeignKeys);
        }
        Ok(Metadata {
            issuer: document.issuer,
            jwks_uri: document.jwks_uri,
        })
    }
}

/// Why a metadata document is not taken.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetadataError {
    /// Not the JSON of a metadata document.
    #[error("the metadata is not a JSON object with an issuer and a jwks_uri, or repeats a member")]
    Malformed,
    /// Speaks for another issuer.
    #[error("the metadata names another issuer than the one that was asked for")]
    OtherIssuer,
    /// Keys elsewhere.
    #[error("the jwks_uri in the metadata is not an https address on the authority's own host")]
    ForeignKeys,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://sts.windows.net/6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f5/";
    const KEYS: &str = "https://login.microsoftonline.com/common/discovery/keys";

    fn parse(document: &str) -> Result<Metadata, MetadataError> {
        Metadata::parse(document.as_bytes(), ISSUER, &Authority::default())
    }

    fn document(issuer: &str, jwks_uri: &str) -> String {
        serde_json::json!({ "issuer": issuer, "jwks_uri": jwks_uri, "other": [1] }).to_string()
    }

    #[test]
    fn the_document_of_the_issuer_is_read() {
        let metadata = parse(&document(ISSUER, KEYS)).unwrap();
        assert_eq!(
            (metadata.issuer.as_str(), metadata.jwks_uri.as_str()),
            (ISSUER, KEYS)
        );
    }

    /// Issuer mismatch, keys on a foreign host.
    #[test]
    fn other_issuers_and_foreign_keys_are_refused() {
        for issuer in [
            "",
            &ISSUER[..ISSUER.len() - 1],
            "https://sts.windows.net/common/",
        ] {
            assert_eq!(
                parse(&document(issuer, KEYS)),
                Err(MetadataError::OtherIssuer)
            );
        }
        for uri in [
            "",
            "http://login.microsoftonline.com/common/discovery/keys",
            "https://login.microsoftonline.com.evil.example/keys",
            "https://login.microsoftonline.com@evil.example/keys",
            "https://sts.windows.net/keys",
            "file:///etc/passwd",
        ] {
            assert_eq!(
                parse(&document(ISSUER, uri)),
                Err(MetadataError::ForeignKeys),
                "{uri}"
            );
        }
    }

    #[test]
    fn malformed_documents_are_refused() {
        let good = document(ISSUER, KEYS);
        for text in [
            String::new(),
            "[]".to_owned(),
            format!("[{ISSUER:?},{KEYS:?}]"),
            "{}".to_owned(),
            format!("{{\"issuer\":{ISSUER:?}}}"),
            format!("{{\"issuer\":{ISSUER:?},\"issuer\":{ISSUER:?},\"jwks_uri\":{KEYS:?}}}"),
            format!("{{\"issuer\":[{ISSUER:?}],\"jwks_uri\":{KEYS:?}}}"),
            good[..good.len() - 1].to_owned(),
        ] {
            assert_eq!(parse(&text), Err(MetadataError::Malformed), "{text}");
        }
    }
}
