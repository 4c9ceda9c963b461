//! The messages of sessions that the session worker terminates.

use std::ffi::c_char;

use crate::shared::shmem;

/// `AadErrorText` of termination.h.
#[repr(C)]
struct ErrorText {
    sqlstate: *const c_char,
    message: *const c_char,
    hint: *const c_char,
}

unsafe extern "C" {
    fn aad_watch_terminations(look: unsafe extern "C" fn(*mut ErrorText) -> bool);
}

/// Installs the hook that replaces the message of a session that we terminate; called from `_PG_init`.
pub fn init() {
    // SAFETY: _PG_init runs in the single-threaded postmaster; termination.h declares this signature.
    unsafe { aad_watch_terminations(own_termination) }
}

/// Called by the hook on messages with an error's data half made: takes no lock, allocates nothing, and
/// nothing in it panics.
unsafe extern "C" fn own_termination(text: *mut ErrorText) -> bool {
    let Some(reason) = shmem::own_termination() else {
        return false;
    };
    let own = reason.error_text();
    // SAFETY: termination.c passes the address of its own struct; the strings are constants.
    unsafe {
        text.write(ErrorText {
            sqlstate: own.sqlstate.as_ptr(),
            message: own.message.as_ptr(),
            hint: own.hint.as_ptr(),
        });
    }
    true
}
