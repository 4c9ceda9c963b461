//! Ending sessions, and the words that their clients get.

use std::ffi::{c_char, c_int};

use super::latch::Process;
use super::shmem;
use crate::sessions::Ending;

/// `AadWords` of ending.h.
#[repr(C)]
struct Words {
    sqlstate: *const c_char,
    message: *const c_char,
    hint: *const c_char,
}

unsafe extern "C" {
    fn aad_watch_endings(look: unsafe extern "C" fn(*mut Words) -> bool);
    fn aad_terminate(pid: c_int) -> bool;
}

/// Puts our words into the message of a session that we end; called from `_PG_init`.
pub fn init() {
    // SAFETY: _PG_init runs in the single-threaded postmaster; ending.h declares this signature.
    unsafe { aad_watch_endings(own_ending) }
}

/// Ends a backend as `pg_terminate_backend` does. `false` when there is no such process.
///
/// To be called while the session can't leave the table, so that the pid can't be another process's.
pub fn terminate(pid: i32) -> bool {
    // SAFETY: kill with a plain number (signal.h).
    unsafe { aad_terminate(pid) }
}

/// Why this backend is being ended, if we end it.
pub fn own() -> Option<Ending> {
    shmem::ending_of(Process::own()?)
}

/// Called by the hook on messages with an error's data half made: takes no lock, allocates nothing, and
/// nothing in it panics.
unsafe extern "C" fn own_ending(words: *mut Words) -> bool {
    let Some(ending) = own() else {
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
