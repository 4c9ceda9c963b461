//! One sign-in, from the role to the audit event.
//!
//! PostgreSQL comes here twice for every connection: through PAM, or first thing in the authentication hook, to
//! [`ask`] the client for a token or password, or through OAUTHBEARER with a token to [`judge`] ([`Route`]); and
//! through the hook for the [`last_word`]. What the first decided is kept in this backend as a [`Verdict`]; the second
//! lets a mapped role in with an accepted one only.

mod attempt;
mod authenticate;
mod authorize;
mod disconnect;
mod membership;
mod password;
mod record;
mod refusal;
mod session;
mod verdict;

use std::ffi::c_int;

use entra_token::Reason;
use uuid::Uuid;

use crate::pg::connection::{self, STATUS_OK};
use crate::pg::{hba_file, role};

use crate::pg::route::Route;
use authenticate::Source;

pub use authorize::{conclude, last_word};
pub use refusal::Refusal;
pub use verdict::Word;

/// How asking the client ended.
pub enum Asked {
    Accepted,
    Refused,
    /// There is nobody left to answer.
    ClientGone,
}

/// Asks the client for what its role signs in with, and keeps the verdict.
pub fn ask() -> Asked {
    let Some(connection) = connection::current() else {
        return Asked::Refused;
    };
    disconnect::watch();
    let verdict = match role::read(&connection.role_name) {
        Some(role) if role.is_mapped() => {
            authenticate::judge_from(Source::Prompt, &connection, Some(role))
        }
        role => password::ask(&connection, role),
    };
    let asked = match &verdict.outcome {
        Ok(_) => Asked::Accepted,
        Err(refusal) if refusal.reason == Reason::NoPassword => Asked::ClientGone,
        Err(_) => Asked::Refused,
    };
    attempt::keep(verdict);
    asked
}

/// [`ask`] where the line in force leaves that to the authentication hook; `None` where it doesn't, or where the line
/// itself has refused. `status` is the outcome of its method.
pub fn ask_in_hook(status: c_int) -> Option<Asked> {
    let connection = connection::current()?;
    let is_asked = connection.route() == Some(Route::HbaFile)
        && status == STATUS_OK
        && hba_file::is_in_force();
    is_asked.then(ask)
}

/// A client is about to send a token: whatever it sends instead, an event is owed.
pub fn expect_token() {
    disconnect::watch();
}

/// Judges a token that the client has sent unasked, for the role of the startup packet, and keeps the verdict. The
/// object id of whoever it belongs to, if they get in.
pub fn judge(token: &[u8]) -> Option<Uuid> {
    let connection = connection::current()?;
    disconnect::watch();
    let role = role::read(&connection.role_name);
    let verdict = authenticate::judge_from(Source::Sent(token), &connection, role);
    let object_id = verdict.accepted_object_id();
    attempt::keep(verdict);
    object_id
}

/// Notes that [`ask`] or [`judge`] panicked or raised an ERROR, and left no verdict for that reason.
pub fn asking_failed() {
    attempt::fail();
}

/// Whether this backend holds an accepted verdict.
pub fn is_accepted() -> bool {
    attempt::verdict(|verdict| verdict.is_some_and(|verdict| verdict.outcome.is_ok()))
}

/// The refusal, recorded, of a client whom the authentication hook has never seen.
pub fn bypassed() -> Refusal {
    disconnect::watch();
    let refusal = refusal(Reason::NoVerdict)
        .with_detail("Another library has put its authentication hook in the place of this one's during the sign-in.");
    conclude(Word::Refused(refusal)).unwrap_or_else(internal_error)
}

/// The refusal for what should not happen.
pub fn internal_error() -> Refusal {
    refusal(Reason::InternalError)
}

fn refusal(reason: Reason) -> Refusal {
    let role = connection::current()
        .map(|connection| connection.role)
        .unwrap_or_default();
    Refusal::new(reason, &role)
}
