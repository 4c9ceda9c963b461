//! The server that this process belongs to.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use pgrx::pg_sys;

/// The data directory, absolute.
pub fn data_directory() -> PathBuf {
    // SAFETY: DataDir is set by SelectConfigFiles before any library is loaded and never changes.
    let directory = unsafe {
        match pg_sys::DataDir {
            path if path.is_null() => c".",
            path => CStr::from_ptr(path),
        }
    };
    OsStr::from_bytes(directory.to_bytes()).into()
}

/// Whether the server runs for pg_upgrade, when nothing of ours is to happen.
pub fn is_binary_upgrade() -> bool {
    // SAFETY: a plain flag, set from the command line.
    unsafe { pg_sys::IsBinaryUpgrade }
}

/// Ten bytes that nobody can guess.
///
/// # Errors
/// When the system has none.
pub fn random() -> io::Result<[u8; 10]> {
    let mut bytes = [0_u8; 10];
    // SAFETY: writes exactly `bytes.len()` bytes.
    let is_random = unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), bytes.len()) };
    is_random
        .then_some(bytes)
        .ok_or_else(|| io::Error::other("no random bytes"))
}

/// Where the extension keeps its own files: `aadauth` under the data directory.
pub fn own_directory() -> PathBuf {
    data_directory().join("aadauth")
}
