//! An attempt that ends before it is decided: a time-out, a signal, a client that went away.

use super::{attempt, record};
use crate::pg::{exit, guarded};
use crate::sessions;

/// From here on an event is owed, whatever happens to the backend.
pub fn watch() {
    if attempt::begin() {
        exit::before_exit(on_exit);
    }
}

fn on_exit() {
    guarded::run("recording an abandoned sign-in", || {
        if attempt::is_owed() {
            attempt::verdict(record::record_interrupted);
            attempt::settle();
        }
    });
    guarded::run("leaving the table of sessions", sessions::leave);
}
