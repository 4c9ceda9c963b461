//! One sign-in, from the role to the audit event.
//!
//! PostgreSQL calls this module twice for every connection. First to authenticate: PAM, or the authentication hook for
//! the alternate HBA file, calls [`authenticate_prompt`], which asks the client for a token or password; OAUTHBEARER
//! calls [`authenticate_token`] ([`SignInMethod`]). The outcome is kept in this backend as a
//! [`Verdict`](verdict::Verdict). Then the authentication hook calls [`authorize()`], which lets a mapped role in only
//! with an accepted verdict, and [`finish`], which records the audit event. A pooler asks by [`pooler`], outside of a sign-in.

mod attempt;
mod authenticate;
mod authorize;
mod disconnect;
mod grace;
mod membership;
mod password;
mod pooled_password;
mod pooler;
mod question;
mod record;
mod record_pooled;
mod refusal;
mod session;
mod source;
mod trusted_pooler;
mod verdict;

use std::ffi::c_int;

use entra_token::Reason;
use uuid::Uuid;

use crate::pg::connection::{self, Connection, STATUS_OK};
use crate::pg::hba_file;
use crate::pg::role::{self, Role};
use crate::pg::sign_in_method::SignInMethod;
use source::Source;

pub use authorize::{authorize, finish};
pub use grace::begin;
pub use refusal::{Refusal, sample_record};
pub use verdict::Decision;

/// How asking the client ended.
pub enum PromptOutcome {
    Accepted,
    Refused,
    /// The client has closed the connection.
    ClientGone,
}

/// Asks the client for the credential of its role, a token or a password, and keeps the verdict.
pub fn authenticate_prompt() -> PromptOutcome {
    let Some(connection) = connection::current() else {
        return PromptOutcome::Refused;
    };
    disconnect::begin_attempt();
    let verdict = match read_role(&connection) {
        Some(role) if role.is_mapped() => {
            authenticate::with_token(Source::Prompt, &connection, Some(role))
        }
        role => password::authenticate(&connection, role),
    };
    let outcome = match &verdict.outcome {
        Ok(_) => PromptOutcome::Accepted,
        Err(refusal) if refusal.reason == Reason::NoPassword => PromptOutcome::ClientGone,
        Err(_) => PromptOutcome::Refused,
    };
    attempt::set_verdict(verdict);
    outcome
}

/// [`authenticate_prompt`] if the matching record is one of the alternate HBA file; `None` if it is not, or if the
/// record itself has refused the client. `status` is the outcome of its method.
pub fn authenticate_prompt_in_hook(status: c_int) -> Option<PromptOutcome> {
    let connection = connection::current()?;
    let is_asked = connection.sign_in_method() == Some(SignInMethod::HbaFile)
        && status == STATUS_OK
        && hba_file::is_in_force();
    is_asked.then(authenticate_prompt)
}

/// Notes that a client is about to send a token: whatever it sends instead, an event is pending.
pub fn expect_token() {
    disconnect::begin_attempt();
    // The client may never send one, and the event is then recorded without another look.
    if let Some(connection) = connection::current() {
        read_role(&connection);
    }
}

/// Judges a token that the client has sent by itself, for the role of the startup packet, and keeps the verdict.
/// Returns the object id of the token's principal if it is accepted.
pub fn authenticate_token(token: &[u8]) -> Option<Uuid> {
    let connection = connection::current()?;
    disconnect::begin_attempt();
    let role = read_role(&connection);
    let verdict = authenticate::with_token(Source::Sent(token), &connection, role);
    let object_id = verdict.accepted_object_id();
    attempt::set_verdict(verdict);
    object_id
}

/// Notes that [`authenticate_prompt`] or [`authenticate_token`] panicked or raised an ERROR, and left no verdict.
pub fn mark_internal_error() {
    attempt::mark_internal_error();
}

/// Whether this backend holds an accepted verdict.
pub fn is_accepted() -> bool {
    attempt::verdict(|verdict| verdict.is_some_and(|verdict| verdict.outcome.is_ok()))
}

/// Refuses and records a client that never reached the authentication hook.
pub fn refuse_bypass() -> Refusal {
    disconnect::begin_attempt();
    let refusal = refuse(Reason::NoVerdict).with_detail(
        "Another library replaced the authentication hook of aadauth during the sign-in.",
    );
    finish(Decision::Refused(refusal)).unwrap_or_else(internal_error)
}

/// The refusal for an internal error.
pub fn internal_error() -> Refusal {
    refuse(Reason::InternalError)
}

/// The connection's role, and notes for the audit whether it may log in.
fn read_role(connection: &Connection) -> Option<Role> {
    let role = role::read(&connection.role_name);
    attempt::note_role(role.as_ref().is_some_and(|role| role.can_login));
    role
}

fn refuse(reason: Reason) -> Refusal {
    let role = connection::current()
        .map(|connection| connection.role)
        .unwrap_or_default();
    Refusal::new(reason, &role)
}
