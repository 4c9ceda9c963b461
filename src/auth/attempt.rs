//! The one sign-in attempt of this backend.

use std::cell::RefCell;

use super::verdict::Verdict;
use crate::identity;

#[derive(Default)]
struct Attempt {
    begun: bool,
    recorded: bool,
    failed: bool,
    verdict: Option<Verdict>,
}

thread_local! {
    // Empty in the postmaster, and a backend is a process of one thread.
    static ATTEMPT: RefCell<Attempt> = RefCell::default();
}

/// The attempt begins; `false` where it has begun already.
pub fn begin() -> bool {
    ATTEMPT.with_borrow_mut(|attempt| !std::mem::replace(&mut attempt.begun, true))
}

pub fn keep(verdict: Verdict) {
    identity::set_admin_role(verdict.admin_role());
    ATTEMPT.with_borrow_mut(|attempt| attempt.verdict = Some(verdict));
}

/// There is no verdict because something went wrong that should not.
pub fn fail() {
    ATTEMPT.with_borrow_mut(|attempt| attempt.failed = true);
}

pub fn has_failed() -> bool {
    ATTEMPT.with_borrow(|attempt| attempt.failed)
}

/// Looks at the verdict, if there is one.
pub fn verdict<T>(look: impl FnOnce(Option<&Verdict>) -> T) -> T {
    ATTEMPT.with_borrow(|attempt| look(attempt.verdict.as_ref()))
}

/// Whether an event has still to be written.
pub fn is_owed() -> bool {
    ATTEMPT.with_borrow(|attempt| attempt.begun && !attempt.recorded)
}

/// The event has been written.
pub fn settle() {
    ATTEMPT.with_borrow_mut(|attempt| attempt.recorded = true);
}
