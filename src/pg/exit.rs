//! Ending this process, and what runs when it ends, however it ends short of SIGKILL.

use std::ffi::c_int;

use pgrx::pg_sys;

use super::guarded;
use crate::{sessions, signin};

/// Ends this process after its exit callbacks, as `proc_exit` of ipc.c does.
pub fn process(code: c_int) -> ! {
    // SAFETY: called in the main thread of a backend or background worker, outside every critical section.
    unsafe { pg_sys::proc_exit(code) };
    // The bindings for 18 don't know that it never comes back.
    #[cfg(feature = "pg18")]
    std::process::abort()
}

/// Has [`signin::abandoned`] and [`sessions::leave`] called while this backend still has its shared
/// memory. Once per backend.
pub fn watch_sign_in() {
    // SAFETY: the callback is a static function and takes no argument; the server runs it once, in
    // shmem_exit (ipc.c).
    unsafe { pg_sys::before_shmem_exit(Some(ending), pg_sys::Datum::from(0)) };
}

unsafe extern "C-unwind" fn ending(_code: c_int, _argument: pg_sys::Datum) {
    guarded::run("recording an abandoned sign-in", signin::abandoned);
    guarded::run("leaving the table of sessions", sessions::leave);
}
