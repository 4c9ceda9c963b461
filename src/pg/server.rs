//! The server that this process belongs to.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use pgrx::pg_sys;

use super::text;

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

/// Whether the server runs for pg_upgrade, when this library does nothing.
pub fn is_binary_upgrade() -> bool {
    // SAFETY: a plain flag, set from the command line.
    unsafe { pg_sys::IsBinaryUpgrade }
}

/// Whether this is a standby, where nothing can be written.
pub fn is_in_recovery() -> bool {
    // SAFETY: reads a flag in shared memory (xlog.c).
    unsafe { pg_sys::RecoveryInProgress() }
}

/// The file that says which timelines this server's own began from; `None` if it began from none, or in recovery.
pub fn timeline_history() -> Option<PathBuf> {
    if is_in_recovery() {
        return None;
    }
    // SAFETY: reads a number in shared memory that no longer changes after recovery (xlog.c).
    let timeline = unsafe { pg_sys::GetWALInsertionTimeLine() };
    // TLHistoryFilePath (xlog_internal.h).
    (timeline > 1).then(|| {
        data_directory()
            .join("pg_wal")
            .join(format!("{timeline:08X}.history"))
    })
}

/// How far a standby has replayed what the primary wrote (a position in the write-ahead log).
pub fn replay_position() -> u64 {
    // SAFETY: reads a number in shared memory (xlogrecovery.c); NULL: the timeline is not wanted.
    unsafe { pg_sys::GetXLogReplayRecPtr(std::ptr::null_mut()) }
}

/// The name of the database that this process is connected to; `None` when it was renamed or dropped.
pub fn current_database() -> Option<String> {
    // SAFETY: a syscache lookup, made inside a transaction; NULL or palloc'd (dbcommands.c).
    unsafe {
        let name = pg_sys::get_database_name(pg_sys::MyDatabaseId);
        (!name.is_null()).then(|| text::decode_c(CStr::from_ptr(name)))
    }
}

/// Whether that is the database's name, given as a setting, whose bytes have no encoding.
pub fn is_current_database(name: &str) -> bool {
    current_database() == Some(text::decode(name.as_bytes()))
}

/// Whether the current database has a table or view of that name.
pub fn has_relation(schema: &CStr, name: &CStr) -> bool {
    // SAFETY: syscache lookups, made inside a transaction; both strings are NUL-terminated.
    unsafe {
        let schema = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), schema) != pg_sys::InvalidOid
    }
}

/// Whether the transaction has written something.
pub fn has_written() -> bool {
    // SAFETY: reads the transaction's state (xact.c).
    unsafe { pg_sys::GetTopTransactionIdIfAny() != pg_sys::InvalidTransactionId }
}

/// Cryptographically secure random bytes.
///
/// # Errors
/// The system provides none.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0_u8; N];
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
