//! Terminating sessions.

use std::ffi::c_int;

unsafe extern "C" {
    fn aad_terminate(pid: c_int) -> bool;
}

/// Terminates a backend as `pg_terminate_backend` does. `false` if there is no such process.
///
/// Call it while the session cannot leave the table, so that the pid cannot be that of another process.
pub fn terminate(pid: i32) -> bool {
    // SAFETY: kill with a plain number (signal.h).
    unsafe { aad_terminate(pid) }
}
