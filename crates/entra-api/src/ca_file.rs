//! The file of certificate authorities.

use std::fs::File;
use std::io::{self, Read as _};
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

/// More than any list of certificate authorities has; Mozilla's has 230 kB.
const LARGEST: u64 = 4 * 1024 * 1024;

/// Reads the only certificates to trust.
///
/// # Errors
///
/// The file cannot be read, holds no certificate, or holds something that is not a certificate.
pub fn read_ca_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, CaFileError> {
    let content = read(path).map_err(|error| CaFileError::Unreadable {
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

/// What has no end, such as a device, must not take all memory.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let size = File::open(path)?
        .take(LARGEST + 1)
        .read_to_end(&mut content)?;
    match size as u64 > LARGEST {
        true => Err(io::Error::other(format!(
            "it is larger than {LARGEST} bytes"
        ))),
        false => Ok(content),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_not_read_to_its_end() {
        let error = read_ca_file(Path::new("/dev/zero")).unwrap_err();
        assert!(error.to_string().contains("larger than"), "{error}");
    }
}
