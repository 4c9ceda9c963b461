//! PAM service files for one server only.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::place::major;

const MACHINE: &str = "/etc/pam.d";

/// The service that `make install` writes a file for, on the server under test.
///
/// # Errors
/// As [`major`].
pub fn service() -> Result<String> {
    Ok(format!("aadauth-{}", major()?))
}

/// A copy of `/etc/pam.d` that one server sees in its place, in a mount namespace of its own: for
/// tests of what PAM does when a file of the machine is missing or says something else.
#[derive(Clone)]
pub struct Directory(PathBuf);

impl Directory {
    /// Copies the machine's directory to `path`.
    ///
    /// # Errors
    /// `path` exists, or can't be written.
    pub fn copy_to(path: PathBuf) -> Result<Directory> {
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        for entry in fs::read_dir(MACHINE)? {
            let entry = entry?;
            fs::copy(entry.path(), path.join(entry.file_name()))?;
        }
        Ok(Directory(path))
    }

    /// # Errors
    /// It can't be written.
    pub fn write(&self, name: &str, content: &str) -> Result<()> {
        let path = self.0.join(name);
        fs::write(&path, content)?;
        Ok(fs::set_permissions(
            path,
            fs::Permissions::from_mode(0o644),
        )?)
    }

    /// # Errors
    /// There is none.
    pub fn remove(&self, name: &str) -> Result<()> {
        Ok(fs::remove_file(self.0.join(name))?)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}
