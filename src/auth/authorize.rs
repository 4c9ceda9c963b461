//! The last word on a sign-in, whatever pg_hba.conf line it came by.
//!
//! The rule is an allow-list. A mapped role gets in only if this backend holds an accepted verdict for this role as
//! it is now. Whoever came by a line of ours ([`Route`]), mapped or local, gets in only with an accepted verdict: libpam
//! falls back to /etc/pam.d/other when the service file is missing, so that its success alone proves nothing, and
//! `trust` proves nothing at all.

use std::ffi::c_int;

use entra_token::{Mapping, REVOCATION_CHECK, Reason};

use super::refusal::Refusal;
use super::verdict::{Accepted, Entrance, Verdict, Word};
use super::{attempt, disconnect, record, session};
use crate::audit::EventCheck;
use crate::pg::connection::{self, Connection, Proof, STATUS_EOF, STATUS_ERROR, STATUS_OK};
use crate::pg::hba_file;
use crate::pg::oauth::{self, WithoutToken};
use crate::pg::role::{self, Role};
use crate::pg::route::Route;
use crate::sessions;
use crate::settings::{self, Authentication};
use crate::text::Shown;

/// Judges the sign-in as things stand now. `status` is the outcome of the pg_hba.conf method (auth.c).
pub fn last_word(status: c_int) -> Word {
    disconnect::watch();
    if status == STATUS_EOF {
        return Word::ClientGone;
    }
    let Some(connection) = connection::current() else {
        return Word::Refused(Refusal::new(Reason::InternalError, ""));
    };
    // After an ERROR the transaction is not fit for another look at the catalogs.
    if attempt::has_failed() {
        return Word::Refused(Refusal::new(Reason::InternalError, &connection.role));
    }
    let role = role::read(&connection.role_name);
    attempt::verdict(|verdict| match verdict {
        Some(verdict) => with_verdict(verdict, &connection, role.as_ref(), status),
        None => without_verdict(&connection, role.as_ref(), status),
    })
}

fn with_verdict(
    verdict: &Verdict,
    connection: &Connection,
    role: Option<&Role>,
    status: c_int,
) -> Word {
    let refused = |reason| Word::Refused(Refusal::new(reason, &connection.role));
    let accepted = match &verdict.outcome {
        Ok(accepted) => accepted,
        Err(refusal) => return Word::Refused(refusal.clone()),
    };
    // The client may have sat at the prompt for a minute.
    if verdict.role.as_ref() != role {
        return refused(Reason::MappingChanged);
    }
    let mapped = role.is_some_and(Role::is_mapped);
    match (accepted, mapped, status) {
        (Accepted::Token(mapping), true, STATUS_OK) => admit(verdict, mapping, connection),
        (Accepted::Password, false, STATUS_OK) => Word::Accepted(Entrance::Password),
        (Accepted::Token(_), true, STATUS_ERROR) if connection.route() == Some(Route::Oauth) => {
            Word::Refused(Refusal::new(Reason::MethodRefused, &connection.role).with_detail(
                "The token was good. Without delegate_ident_mapping=1 on the pg_hba.conf line, PostgreSQL compares the \
                 object id with the role's name.",
            ))
        }
        // Another module of the service file has refused what we accepted.
        _ => refused(Reason::NoVerdict),
    }
}

/// Enters the session, and then looks whether its principal was revoked while the client sat at the prompt.
///
/// In this order: whoever revokes the principal now either has it in the list that is looked at, or finds
/// the session in the table.
fn admit(verdict: &Verdict, mapping: &Mapping, connection: &Connection) -> Word {
    let refused = |reason| Refusal::new(reason, &connection.role);
    let Some(session) = session::of(verdict, mapping, connection) else {
        return Word::Refused(refused(Reason::InternalError));
    };
    let outcome = sessions::enter(session).and_then(|()| sessions::is_revoked(&session.ids));
    let refusal = match outcome {
        Ok(false) => return Word::Accepted(Entrance::Token),
        Ok(true) => refused(Reason::Revoked).with_checks(vec![EventCheck {
            name: Shown::from(REVOCATION_CHECK),
            reason: Some(Reason::Revoked),
            membership: None,
        }]),
        Err(reason) => refused(reason),
    };
    // Other libraries' hooks may take their time with a refused one.
    sessions::leave();
    Word::Refused(refusal)
}

fn without_verdict(connection: &Connection, role: Option<&Role>, status: c_int) -> Word {
    let refused = |reason| Word::Refused(Refusal::new(reason, &connection.role));
    if let Some(route) = connection.route() {
        let is_elsewhere = route == Route::HbaFile && !hba_file::is_in_force();
        return match route {
            // The certificate that the trust line asks for as well (clientcert=verify-full).
            Route::HbaFile if status != STATUS_OK => Word::RefusedByMethod,
            Route::HbaFile if is_elsewhere => refused(Reason::HbaFileNotInForce),
            Route::Oauth if status != STATUS_OK => match oauth::without_token() {
                WithoutToken::Discovery => Word::Discovery,
                WithoutToken::Silence | WithoutToken::Malformed => refused(Reason::TokenMalformed),
            },
            Route::HbaFile | Route::Oauth | Route::Pam => refused(Reason::NoVerdict),
        };
    }
    if role.is_some_and(Role::is_mapped) {
        return refused(Reason::WrongLine);
    }
    // Before the method's outcome: a right password must read like a wrong one.
    if settings::authentication() == Authentication::Entra && !is_break_glass(connection) {
        return refused(Reason::PasswordDisabled);
    }
    if status != STATUS_OK {
        return Word::RefusedByMethod;
    }
    Word::Accepted(Entrance::OtherLine)
}

/// Methods by which a local role gets in when passwords are off. Those that ask for a password, and any that a later
/// PostgreSQL brings, are not among them.
fn is_break_glass(connection: &Connection) -> bool {
    match connection.method.as_str() {
        "peer" | "cert" | "gss" | "sspi" => true,
        "trust" => connection.local_socket,
        _ => false,
    }
}

/// Pays the event and, for an accepted sign-in, says who it is. `Some` is the refusal to end the connection with.
pub fn conclude(mut word: Word) -> Option<Refusal> {
    let Some(connection) = connection::current() else {
        return Some(Refusal::new(Reason::InternalError, ""));
    };
    // Settled last: what goes wrong in between leaves the event to the exit callback.
    if attempt::is_owed() {
        let recorded = attempt::verdict(|verdict| record::record(&connection, &word, verdict));
        attempt::settle();
        if recorded.is_err() {
            sessions::leave();
            word = Word::Refused(Refusal::new(Reason::AuditUnavailable, &connection.role));
        }
    }
    match word {
        Word::Accepted(Entrance::Token) => {
            attempt::verdict(|verdict| record::announce(&connection, verdict));
            sessions::announced();
            None
        }
        Word::Accepted(Entrance::Password) => {
            connection::set_identity(&connection.role, Proof::Scram);
            None
        }
        Word::Refused(refusal) => Some(refusal),
        Word::Accepted(Entrance::OtherLine)
        | Word::RefusedByMethod
        | Word::ClientGone
        | Word::Discovery => None,
    }
}
