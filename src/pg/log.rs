//! Messages for the server log, and refusals that end a connection.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::shim;
use super::text::{encode, escape_error};

/// PostgreSQL's message levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For the server log only.
    Log,
    /// For the client that runs the command, about what it did.
    Notice,
    /// Something that an administrator should correct.
    Warning,
}

/// Writes one message to the server log and, for `Notice` and `Warning`, to the client whose command is running. May be
/// called from a backend's or worker's main thread at any time; inside a transaction, text that is not ASCII is converted
/// with a look-up in the catalogs.
pub fn line(level: Level, message: &str, detail: Option<&str>, hint: Option<&str>) {
    let level = match level {
        Level::Log => pg_sys::LOG,
        Level::Notice => pg_sys::NOTICE,
        Level::Warning => pg_sys::WARNING,
    };
    let (message, detail, hint) = (encode(message), detail.map(encode), hint.map(encode));
    // SAFETY: the strings are NUL-terminated and outlive the call; the level is below ERROR, and the
    // shim holds interrupts, so that the call returns.
    unsafe {
        shim::aad_log(
            level as i32,
            message.as_ptr(),
            pointer(&detail),
            pointer(&hint),
        );
    }
}

/// Whether `log_connections` logs who has been authorized: a switch up to PostgreSQL 17, then a list.
pub fn has_authorizations() -> bool {
    // SAFETY: reads a setting of this process.
    unsafe { shim::aad_logs_authorization() }
}

/// Whether `log_min_messages` keeps messages of the level LOG out of the log.
pub fn omits_log() -> bool {
    // SAFETY: reads a setting of this process. LOG ranks between ERROR and FATAL (elog.c, is_log_level_output).
    unsafe { pg_sys::log_min_messages >= PgLogLevel::FATAL as i32 }
}

/// Whether `log_disconnections` logs the ends of sessions.
pub fn has_disconnections() -> bool {
    // SAFETY: reads a setting of this process, which every PostgreSQL has.
    unsafe { shim::aad_logs_disconnections() }
}

/// A time as messages have it, to the second.
pub fn time(time: TimestampWithTimeZone) -> String {
    // SAFETY: returns a NUL-terminated string in a buffer of its own, which is read before the next call (timestamp.c).
    let text = unsafe { CStr::from_ptr(pg_sys::timestamptz_to_str(time.into())) };
    text.to_string_lossy().into_owned()
}

/// Leaves what this process reports from now on about its refused sign-in out of the server log: the FATAL of
/// [`refuse`], and what core logs about the method. Clients are told as ever. Call it once.
pub fn leave_out_refusal() {
    // SAFETY: changes a hook of this process, which has one thread.
    unsafe { shim::aad_leave_out_refusal() }
}

/// What a refused client is told, and what only the server log says.
pub struct Refusal<'a> {
    /// Five characters (PostgreSQL's appendix A).
    pub sqlstate: &'a str,
    pub message: &'a str,
    /// For the server log only.
    pub detail_log: Option<&'a str>,
}

/// Ends the connection. Rust destructors of the callers do not run: secrets must be wiped before.
pub fn refuse(refusal: &Refusal<'_>) -> ! {
    let sqlstate = encode(if refusal.sqlstate.len() == 5 {
        refusal.sqlstate
    } else {
        "28000"
    });
    let message = encode(refusal.message);
    let detail = refusal.detail_log.map(encode);
    // SAFETY: the strings are NUL-terminated and outlive the call, and sqlstate has five characters.
    // FATAL runs proc_exit and never returns to these frames (elog.c, errfinish).
    unsafe { shim::aad_fatal(sqlstate.as_ptr(), message.as_ptr(), pointer(&detail)) }
}

/// Raises an ERROR.
///
/// # Panics
/// Always, which pgrx turns into the ERROR.
pub fn error(code: PgSqlErrorCode, message: &str, detail: Option<&str>, hint: Option<&str>) -> ! {
    #[expect(clippy::disallowed_methods, reason = "its text is converted here")]
    let mut report = ErrorReport::new(code, escape_error(message), "aadauth");
    if let Some(detail) = detail {
        report = report.set_detail(escape_error(detail));
    }
    if let Some(hint) = hint {
        report = report.set_hint(escape_error(hint));
    }
    report.report(PgLogLevel::ERROR);
    unreachable!("an ERROR unwinds")
}

fn pointer(text: &Option<CString>) -> *const c_char {
    text.as_ref().map_or(ptr::null(), |text| text.as_ptr())
}
