//! `aadauth.statistics`: counters of sign-ins, the audit and the directory, for monitoring.
//!
//! Counting is an atomic addition in shared memory, without a lock. Counters start at zero when the server starts, after
//! a crash of one of its processes, and when they are reset.

mod view;

use std::time::Duration;

use entra_api::ErrorKind;
use entra_token::Reason;

use crate::clock;
use crate::shared::outcome::Outcome;
use crate::shared::shmem;

/// Starts counting. Called in the postmaster, once shared memory exists.
pub fn begin() {
    shmem::counters().begin(clock::micros());
}

/// Counts an attempt to sign in. `method` is the event's; `took` is the duration of the decision, if there was one.
pub fn count_attempt(
    outcome: Outcome,
    method: &str,
    reason: Option<Reason>,
    took: Option<Duration>,
) {
    shmem::counters().attempt(outcome, method, reason, took);
}

/// Counts a request to the directory, and its error. May be called on any thread.
pub fn count_directory_call(error: Option<ErrorKind>) {
    shmem::counters().directory_call(error);
}
