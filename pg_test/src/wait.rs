//! Waiting for conditions. No test sleeps for a time that is merely hoped to be long enough.

use std::time::{Duration, Instant};

use crate::Result;

/// Long enough for a loaded machine with two cores; no passing test comes near it.
pub const PATIENCE: Duration = Duration::from_secs(60);

const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer.
///
/// # Errors
/// `what` has not happened within [`PATIENCE`], or `ask` fails.
pub fn until<T>(what: &str, ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    until_within(PATIENCE, what, ask)
}

/// [`until`], with a deadline of the caller's.
///
/// # Errors
/// As [`until`].
pub fn until_within<T>(
    limit: Duration,
    what: &str,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if start.elapsed() > limit {
            return Err(format!("waited {} s in vain: {what}", limit.as_secs()).into());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
