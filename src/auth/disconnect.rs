//! An attempt that ends before a decision: by a timeout, a signal or a disconnect.

use super::{attempt, record};
use crate::pg::{exit, panics};
use crate::sessions;

/// Begins the attempt: from here on an event is pending, and is recorded however the backend ends.
pub fn begin_attempt() {
    if attempt::begin() {
        exit::before_exit(on_exit);
    }
}

fn on_exit() {
    panics::catch("recording an abandoned sign-in", || {
        if attempt::is_pending() {
            attempt::verdict(record::record_interrupted);
            attempt::mark_recorded();
        }
    });
    panics::catch("removing the session from the table", sessions::leave);
}
