//! The one sign-in attempt of this backend.

use std::cell::RefCell;

use entra_token::Reason;

use super::verdict::Verdict;
use crate::audit::log_limit;
use crate::identity;
use crate::pg::log;

#[derive(Default)]
struct Attempt {
    begun: bool,
    recorded: bool,
    internal_error: bool,
    role_can_login: bool,
    /// Whether its refusal is logged; `None` until that is decided.
    is_logged: Option<bool>,
    verdict: Option<Verdict>,
}

thread_local! {
    // Empty in the postmaster, and a backend is a process of one thread.
    static ATTEMPT: RefCell<Attempt> = RefCell::default();
}

/// Begins the attempt; `false` if it has begun already.
pub fn begin() -> bool {
    ATTEMPT.with_borrow_mut(|attempt| !std::mem::replace(&mut attempt.begun, true))
}

pub fn set_verdict(verdict: Verdict) {
    // Core logs that the method has failed before the refusal itself is raised. What is refused after a method of core's
    // has accepted is always logged, since core has logged that. Of a client that leaves at the prompt nothing is logged.
    if let Err(refusal) = &verdict.outcome
        && refusal.reason != Reason::NoPassword
    {
        is_logged(refusal.reason);
    }
    identity::set_admin_role(verdict.admin_role());
    ATTEMPT.with_borrow_mut(|attempt| attempt.verdict = Some(verdict));
}

/// Records that there is no verdict because of an internal error.
pub fn mark_internal_error() {
    ATTEMPT.with_borrow_mut(|attempt| attempt.internal_error = true);
}

pub fn had_internal_error() -> bool {
    ATTEMPT.with_borrow(|attempt| attempt.internal_error)
}

/// Notes whether the role may log in.
pub fn note_role(can_login: bool) {
    ATTEMPT.with_borrow_mut(|attempt| attempt.role_can_login = can_login);
}

/// Whether the role may log in; `false` if it was not looked up.
pub fn role_can_login() -> bool {
    ATTEMPT.with_borrow(|attempt| attempt.role_can_login)
}

/// Whether the log has lines of this attempt's refusal. The first call decides, and counts it.
pub fn is_logged(reason: Reason) -> bool {
    if let Some(is_logged) = ATTEMPT.with_borrow(|attempt| attempt.is_logged) {
        return is_logged;
    }
    let is_logged = log_limit::admit(reason);
    ATTEMPT.with_borrow_mut(|attempt| attempt.is_logged = Some(is_logged));
    if !is_logged {
        log::leave_out_refusal();
    }
    is_logged
}

/// Whether it has been decided that the log has no lines of this attempt's refusal.
pub fn is_left_out() -> bool {
    ATTEMPT.with_borrow(|attempt| attempt.is_logged == Some(false))
}

/// Calls `look` with the verdict, if there is one.
pub fn verdict<T>(look: impl FnOnce(Option<&Verdict>) -> T) -> T {
    ATTEMPT.with_borrow(|attempt| look(attempt.verdict.as_ref()))
}

/// Whether the attempt's event is still to be recorded.
pub fn is_pending() -> bool {
    ATTEMPT.with_borrow(|attempt| attempt.begun && !attempt.recorded)
}

/// Notes that the event has been recorded.
pub fn mark_recorded() {
    ATTEMPT.with_borrow_mut(|attempt| attempt.recorded = true);
}
