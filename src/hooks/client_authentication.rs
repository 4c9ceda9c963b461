//! The authentication hook, which makes the final authorization check of every sign-in.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::{self, libpq};

use crate::auth::{self, Decision, PromptOutcome};
use crate::pg::connection::{self, STATUS_ERROR};
use crate::pg::log::{self, Level};
use crate::pg::{exit, panics, server};
use crate::{audit, statistics};

type Hook = unsafe extern "C-unwind" fn(*mut libpq::be::Port, c_int);

/// The hooks of the libraries that were loaded before.
static mut PREVIOUS: Option<Hook> = None;
/// The hook by which another library had replaced ours, whether or not it calls ours.
static mut REPLACEMENT: Option<Hook> = None;
static mut PREVIOUS_SHMEM_STARTUP: pg_sys::shmem_startup_hook_type = None;
static INSTALLED: AtomicBool = AtomicBool::new(false);
static DISPLACED: AtomicBool = AtomicBool::new(false);
/// How often this process has entered the hook: once, unless other libraries' hooks call it.
static ENTRIES: AtomicU32 = AtomicU32::new(0);
/// Whether the hook has completed in this process without refusing.
static PASSED: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    // POSIX; the libc crate doesn't have it.
    fn pthread_atfork(
        prepare: Option<unsafe extern "C" fn()>,
        parent: Option<unsafe extern "C" fn()>,
        child: Option<unsafe extern "C" fn()>,
    ) -> c_int;
}

/// Raises an ERROR unless the postmaster is loading the library at its start: loaded by one session, it would protect
/// nothing.
///
/// # Panics
/// With PostgreSQL's ERROR.
pub fn ensure_preloaded() {
    // SAFETY: a plain read of a flag that only the loading of libraries writes (miscinit.c).
    if !unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        // pg_upgrade loads the libraries that the old cluster uses into the new one (function.c,
        // check_loadable_libraries), and writes what they say into loadable_libraries.txt.
        let hint = if server::is_binary_upgrade() {
            "Add aadauth to shared_preload_libraries in the new cluster's postgresql.conf and run pg_upgrade again."
        } else {
            "Add aadauth to shared_preload_libraries in postgresql.conf and restart the server."
        };
        log::error(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "aadauth must be loaded when the server starts",
            None,
            Some(hint),
        )
    }
}

/// Arranges for the hook to be installed when all libraries have been loaded, which makes it the outermost
/// one whatever their order, and for every process to reinstall it if another library has replaced it nevertheless.
/// Called from `_PG_init`.
pub fn init() {
    // SAFETY: _PG_init runs in the single-threaded postmaster, before any hook is called, and nothing else reads
    // the environment meanwhile. (With the variable set, pgrx would send backtraces to clients, in DETAIL.)
    unsafe {
        libc::unsetenv(c"RUST_BACKTRACE".as_ptr());
        PREVIOUS_SHMEM_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(on_shmem_startup);
        pg_sys::RegisterXactCallback(Some(before_commit), ptr::null_mut());
    }
    // SAFETY: the handler does nothing but read and write variables of this process, as a forked child may.
    if unsafe { pthread_atfork(None, None, Some(in_child)) } != 0 {
        log::error(
            PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY,
            "could not register the handler that keeps the authentication hook of aadauth installed",
            None,
            None,
        )
    }
}

/// Whether another library has replaced the hook, which every process has undone for itself.
pub fn is_displaced() -> bool {
    DISPLACED.load(Ordering::Relaxed)
}

/// Logs a warning if another library has replaced the hook.
pub fn report_displacement() {
    if is_displaced() {
        log::line(
            Level::Warning,
            "another library has replaced the authentication hook of aadauth",
            Some(
                "Every session reinstalls it. Otherwise, the trust records of the file named by aadauth.hba_file would let \
                 every client in, and PAM would let no client in.",
            ),
            Some("Put aadauth last in shared_preload_libraries and restart the server."),
        );
    }
}

/// Whether this process is authenticating a client and the hook will make the final authorization check. Otherwise
/// nothing that libpam or OAUTHBEARER calls may authenticate: neither in a server without the hook, nor in a session
/// that has begun.
pub fn is_active() -> bool {
    is_in_force() && connection::is_authenticating()
}

/// Logs why a client is refused that libpam asks about in a server that does not preload the library: PostgreSQL's own
/// message does not say.
pub fn report_absence() {
    if !INSTALLED.load(Ordering::Relaxed) && connection::is_authenticating() {
        log::line(
            Level::Log,
            "aadauth is not in shared_preload_libraries, so its PAM service refuses every client",
            None,
            Some(
                "Add aadauth to shared_preload_libraries in postgresql.conf and restart the server.",
            ),
        );
    }
}

/// Whether the hook is installed and has not been replaced.
fn is_in_force() -> bool {
    // SAFETY: a plain read, in a process of one thread.
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
        if INSTALLED.load(Ordering::Relaxed) {
            reinstall();
        } else {
            PREVIOUS = libpq::ClientAuthentication_hook;
            libpq::ClientAuthentication_hook = Some(client_authentication);
        }
    }
    INSTALLED.store(true, Ordering::Relaxed);
    audit::begin();
    statistics::begin();
    auth::begin();
}

/// Runs in each child of the postmaster (and in theirs) before `fork` returns.
///
/// With a `trust` record, only the hook keeps a client out: another library that replaces it, without calling the
/// previous one, must not let everyone in.
unsafe extern "C" fn in_child() {
    reinstall();
}

fn reinstall() {
    // SAFETY: called in the postmaster's start-up and in a child before anything else, with one thread in each.
    unsafe {
        if libpq::ClientAuthentication_hook.is_some_and(is_this) {
            return;
        }
        REPLACEMENT = libpq::ClientAuthentication_hook;
        libpq::ClientAuthentication_hook = Some(client_authentication);
    }
    DISPLACED.store(true, Ordering::Relaxed);
}

/// Ends the process of a client that passed authentication without our hook: a library that core loads during
/// authentication (another validator, a PAM module) can replace the hook.
///
/// A client's first transaction is that of its start (postinit.c, `InitPostgres`), before it may send a query.
unsafe extern "C-unwind" fn before_commit(event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    let is_due = event == pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT;
    if !is_due || PASSED.load(Ordering::Relaxed) || connection::port().is_none() {
        return;
    }
    let refusal = panics::catch(
        "refusing a client that bypassed the hook",
        auth::refuse_bypass,
    )
    .unwrap_or_else(auth::internal_error);
    log::refuse(&refusal.as_log());
}

fn is_this(hook: Hook) -> bool {
    hook as usize == client_authentication as Hook as usize
}

/// Called by `ClientAuthentication` (auth.c) with the outcome of the pg_hba.conf method.
///
/// Other libraries' hooks are called with our outcome, so that those that count or delay failures see a refused
/// token as one. They may take long: an accepted sign-in is authorized once more after them.
unsafe extern "C-unwind" fn client_authentication(port: *mut libpq::be::Port, status: c_int) {
    // SAFETY: written in the postmaster's start-up, and by the first thing that a process does.
    let (previous, replacement) = unsafe { (PREVIOUS, REPLACEMENT) };
    match (ENTRIES.fetch_add(1, Ordering::Relaxed), previous) {
        (0, _) => prompt(status),
        // A replacement calls the hook that it found: ours.
        // SAFETY: as below.
        (1, Some(previous)) => return unsafe { previous(port, status) },
        _ => return,
    }
    let mut decision = authorize(status);
    if let Some(others) = replacement.or(previous) {
        let corrected = if matches!(decision, Decision::Refused(_)) {
            STATUS_ERROR
        } else {
            status
        };
        // SAFETY: a hook of PostgreSQL's signature, called with the port that core gave us.
        unsafe { others(port, corrected) };
        if matches!(decision, Decision::Accepted(_)) {
            decision = authorize(status);
        }
    }
    match panics::catch("recording a sign-in", || auth::finish(decision)) {
        Some(None) => PASSED.store(true, Ordering::Relaxed),
        Some(Some(refusal)) => log::refuse(&refusal.as_log()),
        None => log::refuse(&auth::internal_error().as_log()),
    }
}

/// Asks the client for its credential if the record is one of the alternate HBA file.
fn prompt(status: c_int) {
    let outcome = panics::catch("asking for a token or password", || {
        auth::authenticate_prompt_in_hook(status)
    });
    match outcome {
        // As core does when a client leaves at the prompt (auth.c, auth_failed on STATUS_EOF).
        Some(Some(PromptOutcome::ClientGone)) => exit::process(0),
        Some(_) => (),
        None => auth::mark_internal_error(),
    }
}

fn authorize(status: c_int) -> Decision {
    panics::catch("authorizing a sign-in", || auth::authorize(status))
        .unwrap_or_else(|| Decision::Refused(auth::internal_error()))
}
