//! PAM service files: of the machine, or of one server alone.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::Result;

const MACHINE: &str = "/etc/pam.d";

/// The two lines that `make install` writes, for a library at `library`.
pub fn lines_naming(library: &Path) -> String {
    let library = library.display();
    format!("auth     required  {library}\naccount  required  {library}\n")
}

/// A service file in `/etc/pam.d` that goes when this is dropped.
pub struct Service {
    name: String,
}

impl Service {
    /// Writes `/etc/pam.d/aadauth-test-NAME-PID`: the library takes services whose name begins with
    /// `aadauth-` for its own.
    ///
    /// # Errors
    /// The directory isn't writable.
    pub fn install(name: &str, content: &str) -> Result<Service> {
        let name = format!("aadauth-test-{name}-{}", std::process::id());
        write(Path::new(MACHINE), &name, content)?;
        Ok(Service { name })
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = fs::remove_file(Path::new(MACHINE).join(&self.name));
    }
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
        write(&self.0, name, content)
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

fn write(directory: &Path, name: &str, content: &str) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(content.as_bytes())?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))?;
    file.persist(directory.join(name))?;
    Ok(())
}
