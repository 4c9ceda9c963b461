//! What runs when this backend ends, however it ends short of SIGKILL.

use std::ffi::c_int;

use pgrx::pg_sys;

use super::guarded;
use crate::{sessions, signin};

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
