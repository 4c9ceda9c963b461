//! Starting threads. It is done at the first login, not when the module is loaded: PgBouncer becomes a daemon by a fork in
//! between, which copies no threads.

use std::thread::Builder;

use crate::ffi::system;

/// Starts a thread in which no signal is handled: PgBouncer's handlers are for its main thread.
///
/// # Errors
/// The system has no more threads.
pub fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    system::without_signals(|| Builder::new().name(name.to_owned()).spawn(work))
        .map(drop)
        .map_err(|error| format!("cannot start a thread: {error}"))
}
