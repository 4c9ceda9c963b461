//! What belongs to one process: threads, and ways to reach them. They are made at the first login, not when the module
//! is loaded: PgBouncer becomes a daemon by a fork in between, which copies no threads.

use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

use crate::ffi::system;

/// A value that is made on first use, and again in a process that was forked since.
pub struct OfProcess<T>(Mutex<Option<(u32, T)>>);

impl<T: Clone> OfProcess<T> {
    pub const fn new() -> OfProcess<T> {
        OfProcess(Mutex::new(None))
    }

    /// # Errors
    /// As `make`; the next call tries again.
    pub fn get(&self, make: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let process = std::process::id();
        if let Some((of, value)) = &*made
            && *of == process
        {
            return Ok(value.clone());
        }
        let value = make()?;
        *made = Some((process, value.clone()));
        Ok(value)
    }
}

/// Starts a thread in which no signal is handled: PgBouncer's handlers are for its main thread.
///
/// # Errors
/// The system has no more threads.
pub fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    system::without_signals(|| Builder::new().name(name.to_owned()).spawn(work))
        .map(drop)
        .map_err(|error| format!("cannot start a thread: {error}"))
}
