//! The hook that has the last word on every sign-in.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pgrx::pg_sys::elog::PgLogLevel;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pg_sys::{self, libpq};

use crate::auth::{self, Asked, Word};
use crate::pg::connection::{self, STATUS_ERROR};
use crate::pg::log::{self, Level};
use crate::pg::{exit, guarded, server};
use crate::{audit, statistics};

type Hook = unsafe extern "C-unwind" fn(*mut libpq::be::Port, c_int);

/// The hooks of the libraries that were loaded before.
static mut PREVIOUS: Option<Hook> = None;
/// What another library had put in our place, without us behind it or with.
static mut INTRUDER: Option<Hook> = None;
static mut PREVIOUS_SHMEM_STARTUP: pg_sys::shmem_startup_hook_type = None;
static INSTALLED: AtomicBool = AtomicBool::new(false);
static DISPLACED: AtomicBool = AtomicBool::new(false);
/// How often this process has entered the hook: once, unless others pass on to us.
static ENTRIES: AtomicU32 = AtomicU32::new(0);
/// Whether the hook has come to its end in this process without refusing.
static PASSED: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    // POSIX; the libc crate doesn't have it.
    fn pthread_atfork(
        prepare: Option<unsafe extern "C" fn()>,
        parent: Option<unsafe extern "C" fn()>,
        child: Option<unsafe extern "C" fn()>,
    ) -> c_int;
}

/// Refuses to go on unless the postmaster is loading the library at its start: a library that one session loads
/// guards nothing.
///
/// # Panics
/// With PostgreSQL's ERROR.
pub fn demand_preload() {
    // SAFETY: a plain read of a flag that only the loading of libraries writes (miscinit.c).
    if !unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        // pg_upgrade loads the libraries that the old cluster uses into the new one (function.c,
        // check_loadable_libraries), and writes what they say into loadable_libraries.txt.
        let hint = if server::is_binary_upgrade() {
            "Add aadauth to shared_preload_libraries in the new cluster's postgresql.conf and run pg_upgrade again."
        } else {
            "Add aadauth to shared_preload_libraries in postgresql.conf and restart the server."
        };
        ErrorReport::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "aadauth must be loaded when the server starts",
            "_PG_init",
        )
        .set_hint(hint)
        .report(PgLogLevel::ERROR);
    }
}

/// Arranges for the hook to be installed when all libraries have been loaded, which makes it the outermost
/// one whatever their order, and for every process to put it back where another library has displaced it all the
/// same. Called from `_PG_init`.
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
        ErrorReport::new(
            PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY,
            "aadauth could not arrange for its hook to be in force in every session",
            "_PG_init",
        )
        .report(PgLogLevel::ERROR);
    }
}

/// Whether another library has put its hook in the place of ours, which every process has undone for itself.
pub fn is_displaced() -> bool {
    DISPLACED.load(Ordering::Relaxed)
}

/// Says in the log if another library has put its hook in the place of ours.
pub fn report_displacement() {
    if is_displaced() {
        log::line(
            Level::Warning,
            "aadauth: another library has put its authentication hook in the place of this one's",
            Some(
                "Every session puts it back; otherwise everybody would get in by the trust lines of aadauth.hba_file, and \
                 nobody by those of PAM.",
            ),
            Some("Name aadauth last in shared_preload_libraries, and restart."),
        );
    }
}

/// Whether this process authenticates a client, of whom our hook will have the last word. Otherwise nothing that
/// libpam or OAUTHBEARER calls may ask or judge anybody: not in a server without the hook, nor in a session that has
/// begun.
pub fn is_active() -> bool {
    is_in_force() && connection::is_authenticating()
}

/// Whether the hook is installed and nobody has put another in its place.
fn is_in_force() -> bool {
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
        if INSTALLED.load(Ordering::Relaxed) {
            put_back();
        } else {
            PREVIOUS = libpq::ClientAuthentication_hook;
            libpq::ClientAuthentication_hook = Some(client_authentication);
        }
    }
    INSTALLED.store(true, Ordering::Relaxed);
    audit::begin();
    statistics::begin();
}

/// Runs in each child of the postmaster (and in theirs) before `fork` returns.
///
/// On a `trust` line nothing but the hook stands between a client and the server: that another library
/// has taken its place, without calling who was there, must not open it.
unsafe extern "C" fn in_child() {
    put_back();
}

fn put_back() {
    // SAFETY: called in the postmaster's start-up and in a child before anything else, with one thread in each.
    unsafe {
        if libpq::ClientAuthentication_hook.is_some_and(is_this) {
            return;
        }
        INTRUDER = libpq::ClientAuthentication_hook;
        libpq::ClientAuthentication_hook = Some(client_authentication);
    }
    DISPLACED.store(true, Ordering::Relaxed);
}

/// Ends the process of a client that got past authentication without our hook: a library that core loads in
/// the middle of it (another validator's, a PAM module's) can put its own hook in our place.
///
/// Every client's first transaction is that of its start (postinit.c, `InitPostgres`), before it may say anything.
unsafe extern "C-unwind" fn before_commit(event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    let is_due = event == pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT;
    if !is_due || PASSED.load(Ordering::Relaxed) || connection::port().is_none() {
        return;
    }
    let refusal = guarded::run("refusing a client that passed us by", auth::bypassed)
        .unwrap_or_else(auth::internal_error);
    log::refuse(&refusal.as_log());
}

fn is_this(hook: Hook) -> bool {
    hook as usize == client_authentication as Hook as usize
}

/// Called by `ClientAuthentication` (auth.c) with the outcome of the pg_hba.conf method.
///
/// Other libraries' hooks are told the outcome as we see it, so that those that count or delay failures see
/// a refused token as one. They may take their time: what we accepted is judged once more after them.
unsafe extern "C-unwind" fn client_authentication(port: *mut libpq::be::Port, status: c_int) {
    // SAFETY: written in the postmaster's start-up, and by the first thing that a process does.
    let (previous, intruder) = unsafe { (PREVIOUS, INTRUDER) };
    match (ENTRIES.fetch_add(1, Ordering::Relaxed), previous) {
        (0, _) => ask(status),
        // An intruder passes on to whom it found in its place: us.
        // SAFETY: as below.
        (1, Some(previous)) => return unsafe { previous(port, status) },
        _ => return,
    }
    let mut word = last_word(status);
    if let Some(others) = intruder.or(previous) {
        let corrected = if matches!(word, Word::Refused(_)) {
            STATUS_ERROR
        } else {
            status
        };
        // SAFETY: a hook of PostgreSQL's signature, called with the port that core gave us.
        unsafe { others(port, corrected) };
        if matches!(word, Word::Accepted(_)) {
            word = last_word(status);
        }
    }
    match guarded::run("recording a sign-in", || auth::conclude(word)) {
        Some(None) => PASSED.store(true, Ordering::Relaxed),
        Some(Some(refusal)) => log::refuse(&refusal.as_log()),
        None => log::refuse(&auth::internal_error().as_log()),
    }
}

/// Asks for the credential where the line has left that to us.
fn ask(status: c_int) {
    let asked = guarded::run("asking for a token or password", || {
        auth::ask_in_hook(status)
    });
    match asked {
        // As core does when a client leaves at the prompt (auth.c, auth_failed on STATUS_EOF).
        Some(Some(Asked::ClientGone)) => exit::process(0),
        Some(_) => (),
        None => auth::asking_failed(),
    }
}

fn last_word(status: c_int) -> Word {
    guarded::run("the last check of a sign-in", || auth::last_word(status))
        .unwrap_or_else(|| Word::Refused(auth::internal_error()))
}
