//! `aadauth.jwks_file`: signing keys for servers that cannot reach the authority.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use entra_token::{KeySet, TokenVersion};
use thiserror::Error;

use crate::shared::keys::scope::Scope;

const MAX_SIZE: u64 = 1024 * 1024;

/// Why a file of keys is not used.
#[derive(Debug, Error)]
pub enum KeyFileError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is larger than {MAX_SIZE} bytes")]
    TooLarge,
    #[error("{0}")]
    Keys(String),
}

/// The file, and the state in which it was last read.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    /// `None` before the first read; `Some(None)` when there was no file to read.
    seen: Option<Option<Stamp>>,
}

/// What tells one state of a file from the next.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl KeyFile {
    pub fn new(path: PathBuf) -> KeyFile {
        KeyFile { path, seen: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file has been changed, created or removed since it was last read.
    pub fn has_changed(&self) -> bool {
        let now = std::fs::metadata(&self.path).ok().as_ref().map(Stamp::of);
        self.seen.as_ref() != Some(&now)
    }

    /// Reads the key sets of both token versions; a key that names its issuer is for that issuer only.
    ///
    /// # Errors
    /// [`KeyFileError`] says what is wrong with the file.
    pub fn read(&mut self, scope: &Scope) -> Result<Vec<KeySet>, KeyFileError> {
        self.seen = Some(None);
        let file = File::open(&self.path)?;
        // Taken before reading: a write during the read counts as a change.
        self.seen = Some(Some(Stamp::of(&file.metadata()?)));
        let mut content = Vec::new();
        file.take(MAX_SIZE + 1).read_to_end(&mut content)?;
        if content.len() as u64 > MAX_SIZE {
            return Err(KeyFileError::TooLarge);
        }
        let mut sets = Vec::new();
        let mut problem = String::new();
        for version in TokenVersion::ALL {
            match KeySet::from_jwks(version, &scope.issuer(version), scope.tenant, &content) {
                Ok(set) => sets.push(set),
                Err(error) => problem = error.to_string(),
            }
        }
        if sets.is_empty() {
            Err(KeyFileError::Keys(problem))
        } else {
            Ok(sets)
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}
