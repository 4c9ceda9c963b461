//! Ending sessions.

use std::ffi::c_int;

unsafe extern "C" {
    fn aad_terminate(pid: c_int) -> bool;
}

/// Ends a backend as `pg_terminate_backend` does. `false` when there is no such process.
///
/// To be called while the session can't leave the table, so that the pid can't be another process's.
pub fn terminate(pid: i32) -> bool {
    // SAFETY: kill with a plain number (signal.h).
    unsafe { aad_terminate(pid) }
}
