//! The hook that has the last word on every sign-in.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys::elog::PgLogLevel;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pg_sys::{self, libpq};

use super::connection::STATUS_ERROR;
use super::guarded;
use super::log;
use crate::signin::{self, Word};

type Hook = unsafe extern "C-unwind" fn(*mut libpq::be::Port, c_int);

static mut PREVIOUS: Option<Hook> = None;
static mut PREVIOUS_SHMEM_STARTUP: pg_sys::shmem_startup_hook_type = None;
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Refuses to go on unless the postmaster is loading the library at its start: a library that one session loads
/// guards nothing.
///
/// # Panics
/// With PostgreSQL's ERROR.
pub fn demand_preload() {
    // SAFETY: a plain read of a flag that only the loading of libraries writes (miscinit.c).
    if !unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        ErrorReport::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "aadauth must be loaded when the server starts",
            "_PG_init",
        )
        .set_hint(
            "Add aadauth to shared_preload_libraries in postgresql.conf and restart the server.",
        )
        .report(PgLogLevel::ERROR);
    }
}

/// Arranges for the hook to be installed when all libraries have been loaded, which makes it the outermost
/// one whatever their order. Called from `_PG_init`.
pub fn init() {
    // SAFETY: _PG_init runs in the single-threaded postmaster, before any hook is called, and nothing else reads
    // the environment meanwhile. (With the variable set, pgrx would send backtraces to clients, in DETAIL.)
    unsafe {
        libc::unsetenv(c"RUST_BACKTRACE".as_ptr());
        PREVIOUS_SHMEM_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(on_shmem_startup);
    }
}

/// Whether the hook is installed and nobody has put another in its place.
pub fn is_in_force() -> bool {
    // SAFETY: a plain read of a pointer that only the postmaster's start-up writes.
    let hook = unsafe { libpq::ClientAuthentication_hook };
    INSTALLED.load(Ordering::Relaxed) && hook.is_some_and(is_this)
}

/// Runs again after a crash restart (ipci.c, CreateSharedMemoryAndSemaphores), when everything here is
/// already in place.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_shmem_startup() {
    // SAFETY: the postmaster is single-threaded; the saved hook is a function of PostgreSQL's signature.
    unsafe {
        if let Some(previous) = PREVIOUS_SHMEM_STARTUP {
            pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| previous());
        }
        if !libpq::ClientAuthentication_hook.is_some_and(is_this) {
            PREVIOUS = libpq::ClientAuthentication_hook;
            libpq::ClientAuthentication_hook = Some(client_authentication);
        }
    }
    INSTALLED.store(true, Ordering::Relaxed);
    crate::statistics::begin();
}

fn is_this(hook: Hook) -> bool {
    hook as usize == client_authentication as Hook as usize
}

/// Called by `ClientAuthentication` (auth.c) with the outcome of the pg_hba.conf method.
///
/// Other libraries' hooks are told the outcome as we see it, so that those that count or delay failures see
/// a refused token as one. They may take their time: what we accepted is judged once more after them.
unsafe extern "C-unwind" fn client_authentication(port: *mut libpq::be::Port, status: c_int) {
    let mut word = last_word(status);
    // SAFETY: written in the postmaster's start-up only.
    if let Some(previous) = unsafe { PREVIOUS } {
        let corrected = if matches!(word, Word::Refused(_)) {
            STATUS_ERROR
        } else {
            status
        };
        // SAFETY: a hook of PostgreSQL's signature, called with the port that core gave us.
        unsafe { previous(port, corrected) };
        if matches!(word, Word::Accepted(_)) {
            word = last_word(status);
        }
    }
    match guarded::run("recording a sign-in", || signin::conclude(word)) {
        Some(None) => (),
        Some(Some(refusal)) => log::refuse(&refusal.as_log()),
        None => log::refuse(&signin::internal_error().as_log()),
    }
}

fn last_word(status: c_int) -> Word {
    guarded::run("the last check of a sign-in", || signin::last_word(status))
        .unwrap_or_else(|| Word::Refused(signin::internal_error()))
}
