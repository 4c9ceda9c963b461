//! PostgreSQL's condition variables: waiting until another process has changed something and notifies.

use std::cell::UnsafeCell;
use std::time::{Duration, Instant};

use pgrx::pg_sys;

/// A condition variable in shared memory (condition_variable.c). Call [`init`](Self::init) once, before any process
/// uses it.
pub struct Condition(UnsafeCell<pg_sys::ConditionVariable>);

impl Condition {
    pub fn init(&mut self) {
        // SAFETY: no other process refers to it, since the reference is exclusive.
        unsafe { pg_sys::ConditionVariableInit(self.0.get()) };
    }

    /// Calls `look` now and after each [`notify`](Self::notify), until it returns something; `None` after `timeout`.
    ///
    /// Interrupts are served: a canceled query, a shutdown and the authentication timeout end the wait by an ERROR or
    /// FATAL. The process ends when the postmaster has died.
    pub fn wait_for<T>(&self, timeout: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        // `None` is no deadline: the sum overflows.
        let deadline = Instant::now().checked_add(timeout);
        let _sleep = Sleep;
        loop {
            if let Some(found) = look() {
                return Some(found);
            }
            let left = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return None;
            }
            // The first call only enters the list of those who wait and returns (condition_variable.c), so that `look`
            // cannot miss a change before it sleeps. One millisecond more, because the timeout is in whole milliseconds; at most what a C int holds.
            let millis = i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX);
            // SAFETY: the variable was initialized when the server started, this process has a PGPROC as every backend
            // and worker with shared memory, and pgrx turns an ERROR into a panic, at which `Sleep` is dropped.
            unsafe {
                pg_sys::ConditionVariableTimedSleep(
                    self.0.get(),
                    millis.into(),
                    pg_sys::PG_WAIT_EXTENSION,
                );
            }
        }
    }

    /// Wakes the processes that wait for the condition. Do not call it in the `look` of a wait: a broadcast ends the
    /// caller's own sleep (ConditionVariableBroadcast).
    pub fn notify(&self) {
        // SAFETY: the variable was initialized when the server started, and this process has a PGPROC; the call only
        // sets latches and takes a spinlock, so that it cannot fail.
        unsafe { pg_sys::ConditionVariableBroadcast(self.0.get()) };
    }
}

/// Leaves the list of waiting processes when dropped. After a FATAL, PostgreSQL does this (ProcKill).
struct Sleep;

impl Drop for Sleep {
    fn drop(&mut self) {
        // SAFETY: does nothing unless this process is in a list.
        unsafe { pg_sys::ConditionVariableCancelSleep() };
    }
}
