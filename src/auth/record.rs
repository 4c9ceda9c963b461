//! The audit event of a sign-in, and the log line of a good one.

use std::time::Duration;

use entra_token::{Judgment, PRINCIPAL_CHECK, PrincipalKind, Reason};

use super::attempt;
use super::refusal::Refusal;
use super::verdict::{Accepted, Entrance, Verdict, Word};
use crate::audit::{self, Event, EventCheck, EventMembership, NotRecorded};
use crate::pg::connection::{self, Connection, Proof};
use crate::pg::log::{self, Level};
use crate::pg::oauth::{self, WithoutToken};
use crate::pg::route::Route;
use crate::settings::{self, AuditFailure};
use crate::shared::outcome::Outcome;
use crate::text::Shown;
use crate::{sessions, statistics};

/// The method of a sign-in to a mapped role, and of one with a token to any.
const ENTRA_TOKEN: &str = "entra-token";

/// Every check's outcome, as the audit keeps it. `membership` is what was asked about it, and whom.
pub fn checks(judgment: &Judgment, membership: Option<EventMembership>) -> Vec<EventCheck> {
    judgment
        .checks
        .iter()
        .map(|check| EventCheck {
            name: Shown::from(check.name),
            reason: check.outcome.err(),
            membership: membership.filter(|_| check.name == PRINCIPAL_CHECK),
        })
        .collect()
}

/// Leaves the event of a decided attempt.
///
/// # Errors
/// The sign-in was accepted, and can't be for want of an event (`aadauth.audit_failure`).
pub fn record(
    connection: &Connection,
    word: &Word,
    verdict: Option<&Verdict>,
) -> Result<(), NotRecorded> {
    let (outcome, reason) = match word {
        Word::Accepted(_) => (Outcome::Authenticated, None),
        Word::Refused(refusal) => (Outcome::Refused, Some(refusal)),
        Word::RefusedByMethod => {
            let reason = match connection.method.as_str() {
                "scram-sha-256" | "md5" | "password" => Reason::PasswordFailed,
                _ => Reason::MethodRefused,
            };
            (
                Outcome::Refused,
                Some(&Refusal::new(reason, &connection.role)),
            )
        }
        Word::ClientGone | Word::Discovery => {
            record_interrupted(verdict);
            return Ok(());
        }
    };
    let recorded = append(connection, word, verdict, outcome, reason);
    let (outcome, reason) = match recorded {
        Ok(()) => (outcome, reason.map(|refusal| refusal.reason)),
        Err(NotRecorded) => (Outcome::Refused, Some(Reason::AuditUnavailable)),
    };
    let method = method(connection, verdict);
    // Of a password, it includes the client's time.
    let took = verdict
        .filter(|_| method == ENTRA_TOKEN)
        .map(|verdict| verdict.took);
    statistics::count_attempt(outcome, method, reason, took);
    recorded
}

fn append(
    connection: &Connection,
    word: &Word,
    verdict: Option<&Verdict>,
    outcome: Outcome,
    refusal: Option<&Refusal>,
) -> Result<(), NotRecorded> {
    let is_local_success = matches!(
        word,
        Word::Accepted(Entrance::Password | Entrance::OtherLine)
    );
    if is_local_success && !settings::audit_local_sign_ins() {
        return Ok(());
    }
    let mut event = event(connection, outcome, verdict);
    if let Some(refusal) = refusal {
        event.reason = Some(refusal.reason);
        event.checks = refusal.checks.clone();
    }
    // Lines that have nothing to do with us are the way in when everything else fails.
    let is_ours = matches!(word, Word::Accepted(Entrance::Token | Entrance::Password));
    audit::append(
        &event,
        is_ours && settings::audit_failure() == AuditFailure::Refuse,
    )
}

/// Leaves the event of an attempt that ended before the last word, or without anything to judge.
pub fn record_interrupted(verdict: Option<&Verdict>) {
    let Some(connection) = connection::current() else {
        return;
    };
    let (outcome, refusal) = match verdict.map(|verdict| &verdict.outcome) {
        // Who hangs up on a refusal has been refused.
        Some(Err(refusal)) if refusal.reason != Reason::NoPassword => {
            (Outcome::Refused, refusal.clone())
        }
        Some(Err(refusal)) => (Outcome::Interrupted, refusal.clone()),
        Some(Ok(_)) => (
            Outcome::Interrupted,
            Refusal::new(Reason::Interrupted, &connection.role),
        ),
        None => {
            let (outcome, reason) = untried(&connection);
            (outcome, Refusal::new(reason, &connection.role))
        }
    };
    statistics::count_attempt(
        outcome,
        method(&connection, verdict),
        Some(refusal.reason),
        None,
    );
    let mut event = event(&connection, outcome, verdict);
    event.reason = Some(refusal.reason);
    event.checks = refusal.checks;
    // Nothing is to be refused any more.
    let _ = audit::append(&event, false);
}

/// What an attempt without a verdict came to.
fn untried(connection: &Connection) -> (Outcome, Reason) {
    if attempt::has_failed() {
        return (Outcome::Refused, Reason::InternalError);
    }
    match oauth::without_token() {
        WithoutToken::Malformed => (Outcome::Refused, Reason::TokenMalformed),
        WithoutToken::Discovery => (Outcome::Interrupted, Reason::TokenDiscovery),
        WithoutToken::Silence if connection.route() == Some(Route::Oauth) => {
            (Outcome::Interrupted, Reason::NoPassword)
        }
        WithoutToken::Silence => (Outcome::Interrupted, Reason::Interrupted),
    }
}

/// Says who has signed in: to the server log, in the words that queries written for Azure look for, and to the rest
/// of the server.
pub fn announce(connection: &Connection, verdict: Option<&Verdict>) {
    let Some(principal) = verdict
        .and_then(|verdict| verdict.identity.as_ref())
        .and_then(|identity| identity.principal.as_ref())
    else {
        return;
    };
    let upn = principal.upn.as_ref().map(ToString::to_string);
    let person = sessions::person(principal.kind, upn.as_deref(), principal.app_id);
    log::line(
        Level::Log,
        &format!(
            "Microsoft Entra ID connection authorized: {person} oid={} role=\"{}\"",
            principal.object_id, connection.role
        ),
        None,
        None,
    );
    let proof = match connection.route() {
        Some(Route::HbaFile) => Proof::Cleartext,
        _ => Proof::OfLine,
    };
    connection::set_identity(&principal.object_id.to_string(), proof);
}

/// `entra-token`, `password`, or the method of a line that is none of our business.
fn method<'a>(connection: &'a Connection, verdict: Option<&Verdict>) -> &'a str {
    match verdict {
        Some(verdict) if verdict.role.as_ref().is_some_and(|role| role.is_mapped()) => ENTRA_TOKEN,
        // A token was judged, whether or not the role is mapped.
        Some(_) if connection.route() == Some(Route::Oauth) => ENTRA_TOKEN,
        Some(_) => "password",
        None => &connection.method,
    }
}

fn event(connection: &Connection, outcome: Outcome, verdict: Option<&Verdict>) -> Event {
    let mut event = Event::new(outcome, &connection.role, method(connection, verdict));
    event.client_address = connection.client_address.as_deref().map(Shown::from);
    event.client_port = connection.client_port;
    event.database = connection.database.as_deref().map(Shown::from);
    event.application_name = connection.application_name.as_deref().map(Shown::from);
    event.tls = connection.tls;
    if let Some(verdict) = verdict {
        event.decision_micros = micros(verdict.took);
        event.principal = verdict
            .identity
            .as_ref()
            .and_then(|identity| identity.principal.clone());
        event.token = verdict
            .identity
            .as_ref()
            .map(|identity| identity.token.clone());
        if let Ok(Accepted::Token(mapping)) = &verdict.outcome {
            event.group_id = (mapping.kind == PrincipalKind::Group).then_some(mapping.object_id);
            event.checks = verdict.membership.iter().cloned().collect();
        }
    }
    event
}

fn micros(took: Duration) -> i64 {
    i64::try_from(took.as_micros()).unwrap_or(i64::MAX)
}
