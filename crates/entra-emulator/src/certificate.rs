//! The emulator's certificate authority, and the TLS certificates that it issues.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::state::{CA_CERTIFICATE, StateDirectory, StateError};

const CA_KEY: &str = "ca.key";
const CA_LIFETIME: Duration = Duration::days(3650);
const SERVER_LIFETIME: Duration = Duration::days(397);
/// Clocks of containers and virtual machines lag behind.
const BACKDATED: Duration = Duration::days(1);

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("cannot make a certificate: {0}")]
    Making(#[from] rcgen::Error),
    #[error("\"{0}\" is neither a host name nor an IP address")]
    Name(String),
    #[error("a server certificate needs at least one name")]
    NoName,
}

/// A certificate and its private key, both PEM.
pub struct ServerCertificate {
    pub certificate: String,
    pub key: String,
}

/// The authority whose certificate is `ca.pem` of a state directory.
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
}

impl CertificateAuthority {
    /// The authority of `state`, made on first use and kept.
    pub fn open(state: &StateDirectory) -> Result<CertificateAuthority, CertificateError> {
        let _lock = state.lock()?;
        if let (Some(certificate), Some(key)) = (state.read(CA_CERTIFICATE)?, state.read(CA_KEY)?) {
            let key = KeyPair::from_pem(&key)?;
            return Ok(CertificateAuthority {
                issuer: Issuer::from_ca_cert_pem(&certificate, key)?,
            });
        }
        let key = KeyPair::generate()?;
        let mut parameters = backdated(CertificateParams::default(), CA_LIFETIME);
        parameters
            .distinguished_name
            .push(DnType::CommonName, "Entra emulator, not to be trusted");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = parameters.self_signed(&key)?;
        state.write_secret(CA_KEY, &key.serialize_pem())?;
        state.write(CA_CERTIFICATE, &certificate.pem())?;
        Ok(CertificateAuthority {
            issuer: Issuer::new(parameters, key),
        })
    }

    /// A certificate for TLS servers that are reached under `names`, host names or IP addresses.
    pub fn issue(&self, names: &[String]) -> Result<ServerCertificate, CertificateError> {
        let first = names.first().ok_or(CertificateError::NoName)?;
        let mut parameters = backdated(CertificateParams::default(), SERVER_LIFETIME);
        parameters
            .distinguished_name
            .push(DnType::CommonName, first.as_str());
        parameters.subject_alt_names = names
            .iter()
            .map(|name| alternative_name(name))
            .collect::<Result<_, _>>()?;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Strict verifiers, Python 3.13's default among them, refuse a leaf without it.
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        Ok(ServerCertificate {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn backdated(mut parameters: CertificateParams, lifetime: Duration) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    parameters.not_before = now.saturating_sub(BACKDATED);
    parameters.not_after = now.saturating_add(lifetime);
    parameters
}

fn alternative_name(name: &str) -> Result<SanType, CertificateError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let wrong = || CertificateError::Name(name.to_owned());
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    if !name.split('.').all(is_label) {
        return Err(wrong());
    }
    Ok(SanType::DnsName(name.try_into().map_err(|_| wrong())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authority_is_kept() {
        let place = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(place.path()).unwrap();
        CertificateAuthority::open(&state).unwrap();
        let first = state.read(CA_CERTIFICATE).unwrap();
        CertificateAuthority::open(&state)
            .unwrap()
            .issue(&["localhost".to_owned()])
            .unwrap();
        assert_eq!(state.read(CA_CERTIFICATE).unwrap(), first);
    }

    #[test]
    fn names_are_checked() {
        let place = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(place.path()).unwrap();
        let authority = CertificateAuthority::open(&state).unwrap();
        for name in ["", "a b", "a..b", "/etc", "ümlaut"] {
            assert!(authority.issue(&[name.to_owned()]).is_err(), "{name}");
        }
        assert!(authority.issue(&[]).is_err());
        assert!(
            authority
                .issue(&["127.0.0.1".to_owned(), "db_1.test".to_owned()])
                .is_ok()
        );
    }
}
