//! The final authorization check of every sign-in, whichever pg_hba.conf record it matched.
//!
//! The rule is an allow-list. A mapped role gets in only if this backend holds an accepted verdict for this role with
//! its present attributes and labels. A client that matched an aadauth HBA record ([`SignInMethod`]) gets in only with
//! an accepted verdict, whether its role is mapped or local: libpam falls back to /etc/pam.d/other when the service
//! file is missing, so that success of the `pam` method proves nothing, and neither does `trust`.

use std::ffi::c_int;

use entra_token::{Mapping, REVOCATION_CHECK, Reason};

use super::refusal::Refusal;
use super::verdict::{Accepted, AuthMethod, Decision, Verdict};
use super::{attempt, disconnect, read_role, record, session};
use crate::audit::EventCheck;
use crate::pg::connection::{self, Connection, Proof, STATUS_EOF, STATUS_ERROR, STATUS_OK};
use crate::pg::hba_file;
use crate::pg::oauth::{self, WithoutToken};
use crate::pg::role::Role;
use crate::pg::sign_in_method::SignInMethod;
use crate::sessions;
use crate::settings::{self, Authentication};
use crate::text::SanitizedText;

/// Decides about the sign-in. `status` is the outcome of the pg_hba.conf method (auth.c).
pub fn authorize(status: c_int) -> Decision {
    disconnect::begin_attempt();
    let Some(connection) = connection::current() else {
        return Decision::Refused(Refusal::new(Reason::InternalError, ""));
    };
    // After an ERROR the transaction cannot read the catalogs again.
    if attempt::had_internal_error() {
        return Decision::Refused(Refusal::new(Reason::InternalError, &connection.role));
    }
    let role = read_role(&connection);
    if status == STATUS_EOF {
        return Decision::ClientGone;
    }
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
) -> Decision {
    let refused = |reason| Decision::Refused(Refusal::new(reason, &connection.role));
    let accepted = match &verdict.outcome {
        Ok(accepted) => accepted,
        Err(refusal) => return Decision::Refused(refusal.clone()),
    };
    // The role may have changed while the client answered the prompt.
    if verdict.role.as_ref() != role {
        return refused(Reason::MappingChanged);
    }
    let mapped = role.is_some_and(Role::is_mapped);
    match (accepted, mapped, status) {
        (Accepted::Token(mapping), true, STATUS_OK) => admit(verdict, mapping, connection),
        (Accepted::Password, false, STATUS_OK) => Decision::Accepted(AuthMethod::Password),
        (Accepted::Token(_), true, STATUS_ERROR)
            if connection.sign_in_method() == Some(SignInMethod::Oauth) =>
        {
            Decision::Refused(Refusal::new(Reason::MethodRefused, &connection.role).with_detail(
                "The token is valid. Without delegate_ident_mapping=1 in the pg_hba.conf record, PostgreSQL compares \
                 the object id with the role's name.",
            ))
        }
        // Another module of the PAM service file has refused what we accepted.
        _ => refused(Reason::NoVerdict),
    }
}

/// Enters the session in the table, then checks whether its principal was revoked during the sign-in.
///
/// The order matters: a revocation that is made now is either in the list that is read here, or finds the session in
/// the table.
fn admit(verdict: &Verdict, mapping: &Mapping, connection: &Connection) -> Decision {
    let refused = |reason| Refusal::new(reason, &connection.role);
    let Some(session) = session::from_verdict(verdict, mapping, connection) else {
        return Decision::Refused(refused(Reason::InternalError));
    };
    let outcome = sessions::enter(session).and_then(|()| sessions::is_revoked(&session.ids));
    let refusal = match outcome {
        Ok(false) => return Decision::Accepted(AuthMethod::Token),
        Ok(true) => refused(Reason::Revoked).with_checks(vec![EventCheck {
            name: SanitizedText::from(REVOCATION_CHECK),
            reason: Some(Reason::Revoked),
            membership: None,
        }]),
        Err(reason) => refused(reason),
    };
    // Now and not when the process ends: another library's hook may delay the refusal, and a refused client has no
    // session.
    sessions::leave();
    Decision::Refused(refusal)
}

fn without_verdict(connection: &Connection, role: Option<&Role>, status: c_int) -> Decision {
    let refused = |reason| Decision::Refused(Refusal::new(reason, &connection.role));
    if let Some(method) = connection.sign_in_method() {
        let is_other_file_in_force = method == SignInMethod::HbaFile && !hba_file::is_in_force();
        return match method {
            // The client has not met a condition of the record itself (clientcert=verify-full).
            SignInMethod::HbaFile if status != STATUS_OK => Decision::RefusedByMethod,
            SignInMethod::HbaFile if is_other_file_in_force => refused(Reason::HbaFileNotInForce),
            SignInMethod::Oauth if status != STATUS_OK => match oauth::without_token() {
                WithoutToken::Discovery => Decision::Discovery,
                WithoutToken::Silence | WithoutToken::Malformed => Decision::Refused(
                    Refusal::new(Reason::TokenMalformed, &connection.role).told_as_unmapped(),
                ),
            },
            SignInMethod::HbaFile | SignInMethod::Oauth | SignInMethod::Pam => {
                refused(Reason::NoVerdict)
            }
        };
    }
    if role.is_some_and(Role::is_mapped) {
        let refusal = Refusal::new(Reason::WrongLine, &connection.role);
        return Decision::Refused(match &connection.record {
            Some(record) => refusal.with_detail(&format!("Connection matched {record}")),
            None => refusal,
        });
    }
    // Checked before `status`, so that a right password is refused like a wrong one.
    if settings::authentication() == Authentication::Entra && !is_break_glass(connection) {
        return refused(Reason::PasswordDisabled);
    }
    if status != STATUS_OK {
        return Decision::RefusedByMethod;
    }
    Decision::Accepted(AuthMethod::OtherRecord)
}

/// Methods by which a local role gets in when passwords are off. Methods that ask for a password, and any that a later
/// PostgreSQL version adds, are not among them.
fn is_break_glass(connection: &Connection) -> bool {
    match connection.method.as_str() {
        "peer" | "cert" | "gss" | "sspi" => true,
        "trust" => connection.local_socket,
        _ => false,
    }
}

/// Records the event and, for an accepted sign-in, sets the connection's identity. Returns the refusal to end the
/// connection with, if any.
pub fn finish(mut decision: Decision) -> Option<Refusal> {
    let Some(connection) = connection::current() else {
        return Some(Refusal::new(Reason::InternalError, ""));
    };
    // Marked last: if anything fails in between, the exit callback records the event.
    if attempt::is_pending() {
        let recorded = attempt::verdict(|verdict| record::record(&connection, &decision, verdict));
        attempt::mark_recorded();
        if recorded.is_err() {
            sessions::leave();
            decision = Decision::Refused(Refusal::new(Reason::AuditUnavailable, &connection.role));
        }
    }
    match decision {
        Decision::Accepted(AuthMethod::Token) => {
            attempt::verdict(|verdict| record::announce(&connection, verdict));
            sessions::begin();
            None
        }
        Decision::Accepted(AuthMethod::Password) => {
            connection::set_identity(&connection.role, Proof::Scram);
            None
        }
        Decision::Refused(refusal) => Some(refusal),
        Decision::Accepted(AuthMethod::OtherRecord)
        | Decision::RefusedByMethod
        | Decision::ClientGone
        | Decision::Discovery => None,
    }
}
