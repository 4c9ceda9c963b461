//! The second file of lines (`aadauth.hba_file`), which is in force in place of the server's own pg_hba.conf while
//! this library is loaded.
//!
//! Its `trust` lines demand a credential from everybody, and the server's own file, which counts on the day that the
//! library is not loaded, rejects.

use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use pgrx::pg_sys;
use pgrx::pg_sys::elog::PgLogLevel;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;

use super::log::{self, Level};
use super::server;

struct Files {
    /// Absolute.
    second: CString,
    /// The server's own, as it was configured.
    ordinary: CString,
}

// Filled in the postmaster, from which every process has its copy.
static FILES: OnceLock<Files> = OnceLock::new();

/// Puts the second file in force if one is configured. Called from `_PG_init`: the postmaster reads the lines when all
/// libraries are loaded (postmaster.c, `load_hba` in `PostmasterMain`).
///
/// # Panics
/// With PostgreSQL's ERROR, which ends the start, when the second file is the server's own.
pub fn init(path: Option<PathBuf>) {
    let Some(path) = path else { return };
    // SAFETY: set by SelectConfigFiles (guc.c) before any library is loaded; NUL-terminated.
    let ordinary = unsafe {
        match pg_sys::HbaFileName {
            name if name.is_null() => c"",
            name => CStr::from_ptr(name),
        }
    }
    .to_owned();
    let second = server::data_directory().join(path);
    // The second of these is what a server reads that is started without this one's configuration file.
    let owns = [
        PathBuf::from(OsStr::from_bytes(ordinary.to_bytes())),
        server::data_directory().join("pg_hba.conf"),
    ];
    if owns.iter().any(|own| is_same(&second, own)) {
        ErrorReport::new(
            PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
            "aadauth.hba_file names the server's own pg_hba.conf",
            "_PG_init",
        )
        .set_hint(
            "Its trust lines would let everybody in on the day that the library is not loaded. Name a file of its own, \
             and let pg_hba.conf reject.",
        )
        .report(PgLogLevel::ERROR);
    }
    if let Err(error) = File::open(&second) {
        report_unreadable(&second, &error);
    }
    let Ok(second) = CString::new(second.into_os_string().into_vec()) else {
        return;
    };
    // SAFETY: both are NUL-terminated and copied by guc.c; this is the postmaster, before it has read any line.
    unsafe {
        pg_sys::SetConfigOption(
            c"hba_file".as_ptr(),
            second.as_ptr(),
            pg_sys::GucContext::PGC_POSTMASTER,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
    let _ = FILES.set(Files { second, ordinary });
}

/// Whether there is a second file, in force or not.
pub fn is_set() -> bool {
    FILES.get().is_some()
}

/// Whether the lines in force are those of the second file: another library may have set another one after us.
pub fn is_in_force() -> bool {
    // SAFETY: changed by the postmaster's start-up only, and by with_ordinary, which restores it; NUL-terminated.
    FILES.get().is_some_and(|files| unsafe {
        let name = pg_sys::HbaFileName;
        !name.is_null() && CStr::from_ptr(name) == files.second.as_c_str()
    })
}

/// The path of the server's own file, while there is a second one.
pub fn ordinary() -> Option<&'static Path> {
    let files = FILES.get()?;
    Some(Path::new(OsStr::from_bytes(files.ordinary.to_bytes())))
}

/// Runs `queries` with the view `pg_hba_file_rules` showing the server's own file.
///
/// The view's function opens the file that the variable names and parses it (hbafuncs.c, `fill_hba_view`); the lines
/// in force stay as they are.
pub fn with_ordinary<T>(queries: impl FnOnce() -> T) -> T {
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
        unsafe { pg_sys::HbaFileName = files.ordinary.as_ptr().cast_mut() };
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

/// The server ends the start itself, with words that don't name the setting.
fn report_unreadable(path: &Path, error: &io::Error) {
    log::line(
        Level::Warning,
        &format!(
            "aadauth: the file of aadauth.hba_file, \"{}\", can't be read: {error}",
            path.display()
        ),
        None,
        Some(
            "The server does not start without it. Write the file, give it to the server's account with mode 0600, or \
             remove the setting: then the server's own pg_hba.conf decides.",
        ),
    );
}
