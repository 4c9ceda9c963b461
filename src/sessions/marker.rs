//! A file that says that there are revocations. Without it, a server that starts while `aadauth.database` names a
//! database without the extension could not tell a list that is elsewhere from one that never was.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use crate::pg::server;

/// Whether there were revocations when the list was last read.
pub fn is_set() -> bool {
    // If that cannot be told, the list is needed.
    path().try_exists().unwrap_or(true)
}

/// Notes whether there are any.
///
/// # Errors
/// The file cannot be created or removed.
pub fn set(has_revocations: bool) -> io::Result<()> {
    if has_revocations == path().try_exists()? {
        return Ok(());
    }
    if has_revocations {
        File::create(path())?.sync_all()?;
        return File::open(server::own_directory())?.sync_all();
    }
    match fs::remove_file(path()) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn path() -> PathBuf {
    server::own_directory().join("revocations")
}
