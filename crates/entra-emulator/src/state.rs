//! The state directory: what the emulator keeps between starts.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What could not be done with the state directory, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct StateError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Files of the state directory that others read.
pub const CA_CERTIFICATE: &str = "ca.pem";
pub const RUNNING: &str = "emulator.json";

/// A directory that exists.
#[derive(Clone, Debug)]
pub struct StateDirectory {
    path: PathBuf,
}

impl StateDirectory {
    /// Creates `path` (and its parents) where it is missing. The directory is open to others,
    /// because servers under other accounts read `ca.pem` there; private files have mode 0600.
    pub fn open(path: &Path) -> Result<StateDirectory, StateError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)
            .map_err(failed("create the state directory", path))?;
        let path = path
            .canonicalize()
            .map_err(failed("open the state directory", path))?;
        Ok(StateDirectory { path })
    }

    /// The absolute path of the file `name`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The text of the file `name`, if there is one.
    pub fn read(&self, name: &str) -> Result<Option<String>, StateError> {
        let path = self.file(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    /// Replaces the file `name`, readable to all.
    pub fn write(&self, name: &str, text: &str) -> Result<(), StateError> {
        replace(&self.file(name), text, 0o644)
    }

    /// Replaces the file `name`, readable to its owner only.
    pub fn write_secret(&self, name: &str, text: &str) -> Result<(), StateError> {
        replace(&self.file(name), text, 0o600)
    }

    /// Removes the file `name`; it is no error that there is none.
    pub fn remove(&self, name: &str) -> Result<(), StateError> {
        let path = self.file(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Waits for the lock under which keys are made, and holds it until the guard is dropped: two
    /// commands that start at once on an empty directory must agree on one set of keys.
    pub fn lock(&self) -> Result<File, StateError> {
        let path = self.file("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open", &path))?;
        file.lock().map_err(failed("lock", &path))?;
        Ok(file)
    }
}

/// Writes `text` beside `path` and renames it there, so that no reader sees half a file.
pub fn replace(path: &Path, text: &str, mode: u32) -> Result<(), StateError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(mode)
        .open(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What is left beside the file could hold half a key; that it can't be removed is the
        // lesser trouble.
        let _ = fs::remove_file(&beside);
    }
    written.map_err(failed("write", path))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_are_for_their_owner_alone() {
        let place = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(&place.path().join("a/b")).unwrap();
        state.write_secret("key", "secret").unwrap();
        state.write("ca.pem", "public").unwrap();
        let mode = |name| fs::metadata(state.file(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("key"), 0o600);
        assert_eq!(mode("ca.pem"), 0o644);
        assert_eq!(state.read("key").unwrap().as_deref(), Some("secret"));
        assert_eq!(state.read("none").unwrap(), None);
        assert_eq!(fs::read_dir(&state.path).unwrap().count(), 2);
    }

    #[test]
    fn errors_name_the_file() {
        let error = replace(Path::new("/nonexistent/key"), "x", 0o600).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot write /nonexistent/key: "),
            "{error}"
        );
    }
}
