//! The refresh tokens of users, each in a file of its own that only its owner may read.

use std::fs::DirBuilder;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use entra_api::secret_file::read_line;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

/// Where one refresh token is kept.
pub struct Cache(PathBuf);

impl Cache {
    /// The file for what `parts` name: authority, tenant, client and resource; `None` where neither
    /// `XDG_CACHE_HOME` nor `HOME` is set.
    pub fn of(parts: &[&str]) -> Option<Cache> {
        let directory = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let place =
            directory("XDG_CACHE_HOME").or_else(|| Some(directory("HOME")?.join(".cache")))?;
        let name = Sha256::digest(parts.join("\n"))
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        Some(Cache(place.join("aadauth-token").join(name)))
    }

    /// The refresh token, if one is kept where it can be reached.
    ///
    /// # Errors
    ///
    /// The file can be read by others, or does not hold a token.
    pub fn read(&self) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        match self.0.try_exists() {
            Ok(true) => read_line(&self.0, "refresh token")
                .map(Some)
                .map_err(|error| format!("{}: delete it to sign in again", error.message)),
            Ok(false) | Err(_) => Ok(None),
        }
    }

    /// Keeps a refresh token in place of the one before.
    ///
    /// # Errors
    ///
    /// The directory or file cannot be written.
    pub fn write(&self, token: &[u8]) -> Result<(), String> {
        let directory = self.0.parent().ok_or("the cache has no directory")?;
        let mut builder = DirBuilder::new();
        let written = builder
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .and_then(|()| NamedTempFile::new_in(directory))
            .and_then(|mut file| {
                file.write_all(token)?;
                Ok(file.persist(&self.0)?)
            });
        written.map(drop).map_err(|error| {
            format!(
                "the refresh token cannot be kept in {}: {error}",
                self.0.display()
            )
        })
    }
}
