//! Waiting for another process, and waking it.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use pgrx::pg_sys;

unsafe extern "C" {
    fn aad_process_number() -> c_int;
    fn aad_wake(process_number: c_int);
}

/// A process's place in PostgreSQL's shared array of processes, by which it can be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(i32);

impl Process {
    /// The calling process; `None` in the postmaster and without shared memory.
    pub fn own() -> Option<Process> {
        // SAFETY: reads MyProc, which is NULL or points into shared memory.
        let number = unsafe { aad_process_number() };
        (number >= 0).then_some(Process(number))
    }

    /// For keeping in an atomic; see [`Process::from_number`].
    pub fn number(self) -> i32 {
        self.0
    }

    /// The process of that number; `None` for a negative one.
    pub fn from_number(number: i32) -> Option<Process> {
        (number >= 0).then_some(Process(number))
    }

    /// Sets the process's latch. If it has ended and another process has its place, that one wakes up
    /// spuriously, which every loop around a latch tolerates (latch.h).
    pub fn wake(self) {
        // SAFETY: the shim checks the number against the array's size; SetLatch may be called at any
        // time from the main thread (latch.c).
        unsafe { aad_wake(self.0) };
    }
}

/// Waits until this process's latch is set, at most for `timeout`.
///
/// Interrupts are served: a canceled query, a shutdown and the authentication timeout end the wait by
/// an ERROR or FATAL. The process ends when the postmaster has died.
pub fn wait(timeout: Duration) {
    sleep(timeout, None);
    pgrx::check_for_interrupts!();
}

/// Like [`wait`], but leaves interrupts to the caller, and also wakes when `file` has something to read or is at
/// its end.
pub(super) fn sleep(timeout: Duration, file: Option<BorrowedFd<'_>>) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    let timeout = timeout.as_millis().try_into().unwrap_or(i32::MAX);
    // SAFETY: MyLatch is this process's own latch from InitProcess on, and the file is borrowed, hence
    // open, for as long as the call lasts. pgrx turns an ERROR into a panic.
    unsafe {
        match file {
            None => pg_sys::WaitLatch(
                pg_sys::MyLatch,
                events as i32,
                timeout.into(),
                pg_sys::PG_WAIT_EXTENSION,
            ),
            Some(file) => pg_sys::WaitLatchOrSocket(
                pg_sys::MyLatch,
                (events | pg_sys::WL_SOCKET_READABLE) as i32,
                file.as_raw_fd(),
                timeout.into(),
                pg_sys::PG_WAIT_EXTENSION,
            ),
        };
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
}
