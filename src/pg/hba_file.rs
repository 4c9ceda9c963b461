//! The alternate HBA file (`aadauth.hba_file`), which is in force instead of the server's `pg_hba.conf` while this
//! library is loaded.
//!
//! Its `trust` records require a credential from every client. The server's `pg_hba.conf`, which applies if the library
//! is not loaded, rejects.

use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;

use super::log::{self, Level};
use super::server;

struct Files {
    /// Absolute.
    alternate: CString,
    /// The server's `pg_hba.conf`, as it was configured.
    original: CString,
}

// Filled in the postmaster, from which every process has its copy.
static FILES: OnceLock<Files> = OnceLock::new();

/// Puts the alternate HBA file in force if one is configured. Called from `_PG_init`: the postmaster reads the records
/// when all libraries are loaded (postmaster.c, `load_hba` in `PostmasterMain`).
///
/// # Panics
/// With PostgreSQL's ERROR, which aborts the start, if the alternate HBA file is the server's `pg_hba.conf`.
pub fn init(path: Option<PathBuf>) {
    let Some(path) = path else { return };
    // SAFETY: set by SelectConfigFiles (guc.c) before any library is loaded; NUL-terminated.
    let original = unsafe {
        match pg_sys::HbaFileName {
            name if name.is_null() => c"",
            name => CStr::from_ptr(name),
        }
    }
    .to_owned();
    let alternate = server::data_directory().join(path);
    // A server that is started without its configuration file reads the second of these.
    let owns = [
        PathBuf::from(OsStr::from_bytes(original.to_bytes())),
        server::data_directory().join("pg_hba.conf"),
    ];
    if owns.iter().any(|own| is_same(&alternate, own)) {
        log::error(
            PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
            "aadauth.hba_file names the server's own pg_hba.conf",
            None,
            Some(
                "Its trust records would let every client in if the library is not loaded. Use a separate file, and let \
                 pg_hba.conf reject every connection.",
            ),
        )
    }
    if let Err(error) = File::open(&alternate) {
        report_unreadable(&alternate, &error);
    }
    let Ok(alternate) = CString::new(alternate.into_os_string().into_vec()) else {
        return;
    };
    // SAFETY: both are NUL-terminated and copied by guc.c; this is the postmaster, before it has read any record.
    unsafe {
        pg_sys::SetConfigOption(
            c"hba_file".as_ptr(),
            alternate.as_ptr(),
            pg_sys::GucContext::PGC_POSTMASTER,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
    let _ = FILES.set(Files {
        alternate,
        original,
    });
}

/// Whether an alternate HBA file is configured, in force or not.
pub fn is_set() -> bool {
    FILES.get().is_some()
}

/// Whether the records in force are those of the alternate HBA file: another library may have set a different file.
pub fn is_in_force() -> bool {
    // SAFETY: changed by the postmaster's start-up only, and by with_server_file, which restores it; NUL-terminated.
    FILES.get().is_some_and(|files| unsafe {
        let name = pg_sys::HbaFileName;
        !name.is_null() && CStr::from_ptr(name) == files.alternate.as_c_str()
    })
}

/// The path of the server's `pg_hba.conf`, if an alternate HBA file is configured.
pub fn server_file() -> Option<&'static Path> {
    let files = FILES.get()?;
    Some(Path::new(OsStr::from_bytes(files.original.to_bytes())))
}

/// Runs `queries` with the view `pg_hba_file_rules` showing the server's `pg_hba.conf`.
///
/// The view's function opens the file that the variable names and parses it (hbafuncs.c, `fill_hba_view`); the
/// records in force stay as they are.
pub fn with_server_file<T>(queries: impl FnOnce() -> T) -> T {
    struct Restored(*mut std::ffi::c_char);

    impl Drop for Restored {
        fn drop(&mut self) {
            // SAFETY: puts back what was there, in the same process of one thread.
            unsafe { pg_sys::HbaFileName = self.0 };
        }
    }

    // SAFETY: a plain read.
    let _restored = Restored(unsafe { pg_sys::HbaFileName });
    if let Some(files) = FILES.get() {
        // SAFETY: the path lives as long as the process and is only read; the guard puts the variable back, also
        // when an ERROR unwinds.
        unsafe { pg_sys::HbaFileName = files.original.as_ptr().cast_mut() };
    }
    queries()
}

fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    match (identity(one), identity(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// The server aborts the start by itself, with a message that does not name the setting.
fn report_unreadable(path: &Path, error: &io::Error) {
    log::line(
        Level::Warning,
        &format!(
            "could not open file \"{}\" named by aadauth.hba_file: {error}",
            path.display()
        ),
        None,
        Some(
            "The server does not start without it. Create the file, owned by the server's account and with mode 0600, or \
             remove the setting, so that the server's pg_hba.conf applies.",
        ),
    );
}
