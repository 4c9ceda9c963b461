//! The messages of sessions that we end.

use std::ffi::c_char;

use crate::shared::shmem;

/// `AadWords` of ending.h.
#[repr(C)]
struct Words {
    sqlstate: *const c_char,
    message: *const c_char,
    hint: *const c_char,
}

unsafe extern "C" {
    fn aad_watch_endings(look: unsafe extern "C" fn(*mut Words) -> bool);
}

/// Puts our words into the message of a session that we end; called from `_PG_init`.
pub fn init() {
    // SAFETY: _PG_init runs in the single-threaded postmaster; ending.h declares this signature.
    unsafe { aad_watch_endings(own_ending) }
}

/// Called by the hook on messages with an error's data half made: takes no lock, allocates nothing, and
/// nothing in it panics.
unsafe extern "C" fn own_ending(words: *mut Words) -> bool {
    let Some(ending) = shmem::own_ending() else {
        return false;
    };
    let own = ending.words();
    // SAFETY: ending.c passes the address of its own struct; the strings are constants.
    unsafe {
        words.write(Words {
            sqlstate: own.sqlstate.as_ptr(),
            message: own.message.as_ptr(),
            hint: own.hint.as_ptr(),
        });
    }
    true
}
