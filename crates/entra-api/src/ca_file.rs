//! The file of certificate authorities.

use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;

/// Why a file of certificate authorities is not usable.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CaFileError {
    /// The file of certificate authorities can't be read.
    #[error("aadauth.ca_file {path:?} cannot be read: {problem}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word for it.
        problem: String,
    },
    /// The file of certificate authorities has none.
    #[error("aadauth.ca_file {0:?} holds no certificate in PEM form")]
    Empty(PathBuf),
    /// The file of certificate authorities is not one.
    #[error("aadauth.ca_file {0:?} holds something that is not a certificate in PEM form")]
    Malformed(PathBuf),
}

/// Reads the only certificates to trust.
///
/// # Errors
///
/// The file cannot be read, holds no certificate, or holds something that is not a certificate.
pub fn read_ca_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, CaFileError> {
    let content = std::fs::read(path).map_err(|error| CaFileError::Unreadable {
        path: path.to_owned(),
        problem: error.to_string(),
    })?;
    let roots = CertificateDer::pem_slice_iter(&content)
        .collect::<Result<Vec<_>, _>>()
        // The error would quote what it found in the file, which may be a private key.
        .map_err(|_| CaFileError::Malformed(path.to_owned()))?;
    match roots.is_empty() {
        true => Err(CaFileError::Empty(path.to_owned())),
        false => Ok(roots),
    }
}
