//! The files that prove to Entra who the server is.

use std::path::Path;

use zeroize::Zeroizing;

use crate::certificate::Certificate;
use crate::error::{DirectoryError, ErrorKind};
use crate::secret_file;
use crate::settings::CredentialSource;

const CERTIFICATE: &str = "client certificate";

impl CredentialSource {
    /// Reads the credential's file by the rules for it, and sends no request.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::CredentialUnusable`]: the file cannot be read, may be read by others, or does not hold
    /// what it should.
    pub fn check(&self) -> Result<(), DirectoryError> {
        match self {
            CredentialSource::ManagedIdentity => Ok(()),
            CredentialSource::ClientSecret(path) => read_secret(path).map(drop),
            CredentialSource::ClientCertificate(path) => read_certificate(path).map(drop),
            CredentialSource::WorkloadIdentity(path) => read_federated_token(path).map(drop),
        }
    }
}

/// Reads a client secret.
///
/// # Errors
///
/// [`ErrorKind::CredentialUnusable`]: see [`CredentialSource::check`].
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, DirectoryError> {
    secret_file::read_line(path, "client secret")
}

/// Reads the token of a workload identity.
///
/// # Errors
///
/// [`ErrorKind::CredentialUnusable`]: see [`CredentialSource::check`].
pub fn read_federated_token(path: &Path) -> Result<Zeroizing<Vec<u8>>, DirectoryError> {
    secret_file::read_line(path, "federated token")
}

/// Reads a client certificate and its private key.
///
/// # Errors
///
/// [`ErrorKind::CredentialUnusable`]: see [`CredentialSource::check`].
pub fn read_certificate(path: &Path) -> Result<Certificate, DirectoryError> {
    let content = secret_file::read(path, CERTIFICATE)?;
    Certificate::from_pem(&content).map_err(|problem| unusable_certificate(path, problem))
}

/// Why the certificate in a file is not used.
pub fn unusable_certificate(path: &Path, problem: &str) -> DirectoryError {
    let message = format!("the {CERTIFICATE} in {path:?} is not used: {problem}");
    DirectoryError::new(ErrorKind::CredentialUnusable, message)
}
