//! What runs when this backend ends, however it ends short of SIGKILL.

use std::ffi::c_int;

use pgrx::pg_sys;

use super::guarded;
use crate::signin;

/// Has [`signin::abandoned`] called while this backend still has its shared memory. Once per backend.
pub fn watch_sign_in() {
    // SAFETY: the callback is a static function and takes no argument; the server runs it once, in
    // shmem_exit (ipc.c).
    unsafe { pg_sys::before_shmem_exit(Some(sign_in_abandoned), pg_sys::Datum::from(0)) };
}

unsafe extern "C-unwind" fn sign_in_abandoned(_code: c_int, _argument: pg_sys::Datum) {
    guarded::run("recording an abandoned sign-in", signin::abandoned);
}
