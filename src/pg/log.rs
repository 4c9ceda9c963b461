//! Messages for the server log, and refusals that end a connection.

use std::ffi::{CString, c_char};
use std::ptr;

use pgrx::pg_sys;

use super::shim;

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
/// called from a backend's or worker's main thread at any time.
pub fn line(level: Level, message: &str, detail: Option<&str>, hint: Option<&str>) {
    let level = match level {
        Level::Log => pg_sys::LOG,
        Level::Notice => pg_sys::NOTICE,
        Level::Warning => pg_sys::WARNING,
    };
    let (message, detail, hint) = (text(message), detail.map(text), hint.map(text));
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
    let sqlstate = text(if refusal.sqlstate.len() == 5 {
        refusal.sqlstate
    } else {
        "28000"
    });
    let message = text(refusal.message);
    let detail = refusal.detail_log.map(text);
    // SAFETY: the strings are NUL-terminated and outlive the call, and sqlstate has five characters.
    // FATAL runs proc_exit and never returns to these frames (elog.c, errfinish).
    unsafe { shim::aad_fatal(sqlstate.as_ptr(), message.as_ptr(), pointer(&detail)) }
}

pub(super) fn text(text: &str) -> CString {
    let kept: Vec<u8> = text.bytes().filter(|byte| *byte != 0).collect();
    CString::new(kept).unwrap_or_default()
}

fn pointer(text: &Option<CString>) -> *const c_char {
    text.as_ref().map_or(ptr::null(), |text| text.as_ptr())
}
