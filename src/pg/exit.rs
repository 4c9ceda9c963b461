//! Ending this process, and callbacks for when it ends by anything but SIGKILL.

use std::ffi::c_int;

use pgrx::pg_sys;

use super::panics;

/// Ends this process after its exit callbacks, as `proc_exit` of ipc.c does.
pub fn process(code: c_int) -> ! {
    // SAFETY: called in the main thread of a backend or background worker, outside every critical section.
    unsafe { pg_sys::proc_exit(code) };
    // The bindings for 18 do not declare that it never returns.
    #[cfg(feature = "pg18")]
    std::process::abort()
}

/// Calls `callback` when this process ends by anything but a crash, while shared memory is still attached.
pub fn before_exit(callback: fn()) {
    unsafe extern "C-unwind" fn call(_code: c_int, argument: pg_sys::Datum) {
        // SAFETY: the argument is the `fn()` that before_exit passed, unchanged; code does not move in a process.
        let callback = unsafe { std::mem::transmute::<usize, fn()>(argument.value()) };
        panics::catch("running an exit callback", callback);
    }
    // SAFETY: registers a function of this library, which is never unloaded; the server runs it once, in shmem_exit
    // (ipc.c).
    unsafe { pg_sys::before_shmem_exit(Some(call), pg_sys::Datum::from(callback as usize)) };
}
