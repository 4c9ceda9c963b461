//! `aadauth.statistics`: what sign-ins, the audit and the directory come to, for monitoring.
//!
//! Counting costs an atomic addition in shared memory, and takes no lock. Everything is counted since the
//! server started, a crash of one of its processes included, or since it was reset.

mod view;

use std::time::Duration;

use entra_api::ErrorKind;
use entra_token::Reason;

use crate::clock;
use crate::shared::outcome::Outcome;
use crate::shared::shmem;

/// Begins to count. Called when shared memory has been made, in the postmaster.
pub fn begin() {
    shmem::counters().begin(clock::micros());
}

/// Counts an attempt to sign in. `method` is the event's; `took` is how long the decision took, if there was
/// one.
pub fn count_attempt(
    outcome: Outcome,
    method: &str,
    reason: Option<Reason>,
    took: Option<Duration>,
) {
    shmem::counters().attempt(outcome, method, reason, took);
}

/// Counts a question that was put to the directory, and why it has no answer. May be called on any thread.
pub fn count_directory_call(error: Option<ErrorKind>) {
    shmem::counters().directory_call(error);
}
