//! Background workers: signals, connection, transactions, threads.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::thread;
use std::time::Duration;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::{latch, panics};

/// Waits, at most for `timeout`, until a signal arrives, another process wakes this one, or `file` has something to
/// read or is at its end.
///
/// After SIGTERM it returns, and the caller checks [`stop_requested`]; other interrupts (for example a procedure signal
/// of another backend) are served.
pub fn wait(timeout: Duration, file: Option<BorrowedFd<'_>>) {
    latch::sleep(timeout, file);
    if !stop_requested() {
        pgrx::check_for_interrupts!();
    }
}

/// Whether SIGTERM has arrived.
pub fn stop_requested() -> bool {
    // SAFETY: sig_atomic_t flags of this process, set by its signal handlers only.
    unsafe {
        ptr::read_volatile(&raw const pg_sys::ShutdownRequestPending) != 0
            || ptr::read_volatile(&raw const pg_sys::ProcDiePending) != 0
    }
}

/// Whether SIGHUP has arrived since [`reload_if_requested`].
pub fn reload_requested() -> bool {
    // SAFETY: a sig_atomic_t flag of this process, set by its signal handler.
    unsafe { ptr::read_volatile(&raw const pg_sys::ConfigReloadPending) != 0 }
}

/// Reads the configuration files again if SIGHUP has arrived; `true` if it has.
pub fn reload_if_requested() -> bool {
    if !reload_requested() {
        return false;
    }
    // SAFETY: as above. ProcessConfigFile is meant for a process's main loop, outside a transaction,
    // which is where the workers call this.
    unsafe {
        ptr::write_volatile(&raw mut pg_sys::ConfigReloadPending, 0);
        pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
    }
    true
}

/// Connects to the database as the bootstrap superuser, with a search path that no other role can write to.
/// Ends the process by FATAL if that fails.
pub fn connect(database: &str) {
    // As the setting has it: no encoding is known yet.
    let name = CString::new(database).unwrap_or_default();
    let settings = [
        (c"search_path", c"pg_catalog, pg_temp"),
        // Event triggers, and other users' triggers and rules on the extension's tables, are not for the workers.
        (c"session_replication_role", c"replica"),
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        (c"event_triggers", c"off"),
        // The database's owner may have set these for every session.
        (c"role", c"none"),
        (c"default_transaction_read_only", c"off"),
        (c"default_transaction_isolation", c"read committed"),
        // In a crash, what follows a commit, such as removing a spool file, must not survive without it. (Not "on",
        // which would wait for a standby.)
        (c"synchronous_commit", c"local"),
        (c"lock_timeout", c"5s"),
        (c"statement_timeout", c"0"),
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        (c"transaction_timeout", c"0"),
    ];
    // SAFETY: called once, in the main function of a worker that asked for a database connection. The
    // strings are NUL-terminated and copied by the callees.
    unsafe {
        pg_sys::BackgroundWorkerInitializeConnection(
            name.as_ptr(),
            ptr::null(),
            pg_sys::BGWORKER_BYPASS_ALLOWCONN,
        );
        for (setting, value) in settings {
            pg_sys::SetConfigOption(
                setting.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_OVERRIDE,
            );
        }
    }
}

/// Why a transaction was rolled back.
#[derive(Debug)]
pub struct Failure {
    /// PostgreSQL's primary message.
    pub message: String,
    pub kind: FailureKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The data itself was refused (SQLSTATE classes 22 and 23), so that a retry cannot help.
    Data,
    /// Another transaction held a lock for longer than `lock_timeout`.
    Locked,
    Other,
}

impl Failure {
    pub fn other(message: &str) -> Failure {
        Failure {
            message: message.to_owned(),
            kind: FailureKind::Other,
        }
    }
}

impl From<spi::Error> for Failure {
    fn from(error: spi::Error) -> Failure {
        Failure {
            message: error.to_string(),
            kind: FailureKind::Other,
        }
    }
}

/// Runs `body` in a transaction of its own, which is rolled back if it returns `Err`, panics or raises
/// an ERROR.
///
/// (pgrx's `BackgroundWorker::transaction` leaves the transaction open in these cases.)
///
/// # Errors
/// The body's own, or PostgreSQL's.
pub fn transaction<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: called between transactions in a worker that is connected to a database; each call
        // below is guarded, so that an ERROR unwinds to the catch.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        }
        let value = body()?;
        // SAFETY: the snapshot is the one pushed above: SPI pops its own.
        unsafe {
            pg_sys::PopActiveSnapshot();
            pg_sys::CommitTransactionCommand();
            pg_sys::pgstat_report_stat(false);
        }
        Ok(value)
    }));
    let failure = match attempt {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(failure)) => failure,
        Err(payload) => Failure {
            message: panics::describe(payload.as_ref()),
            kind: panics::report(payload.as_ref()).map_or(FailureKind::Other, |report| {
                kind_of(report.sql_error_code())
            }),
        },
    };
    // SAFETY: rolls back whatever the body left, as the main loop of a backend does after an ERROR
    // (postgres.c); pgrx has emptied the error stack.
    unsafe { pg_sys::AbortCurrentTransaction() };
    Err(failure)
}

fn kind_of(code: PgSqlErrorCode) -> FailureKind {
    // ERRCODE_TO_CATEGORY (elog.h): the class is in the low twelve bits, six per character.
    const fn class(first: u8, second: u8) -> i32 {
        (first - b'0') as i32 | (((second - b'0') as i32) << 6)
    }
    let category = code as i32 & 0xFFF;
    if category == class(b'2', b'2') || category == class(b'2', b'3') {
        FailureKind::Data
    } else if code == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE {
        FailureKind::Locked
    } else {
        FailureKind::Other
    }
}

/// Starts a thread to which no signal is delivered, so that it cannot take PostgreSQL's signals. Threads that it
/// starts inherit that.
///
/// The thread must not call PostgreSQL, allocate with palloc or log.
///
/// # Errors
/// The system cannot start another thread.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initializes `all` and pthread_sigmask `before`; neither can fail with these
    // arguments (POSIX).
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let started = thread::Builder::new().name(name.to_owned()).spawn(body);
    // SAFETY: `before` is the mask that was in force above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    started.map(drop)
}
