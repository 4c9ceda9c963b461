//! The audit event of a sign-in, and the log line of an accepted one.

use entra_token::{Judgment, PRINCIPAL_CHECK, PrincipalKind, Reason};

use super::refusal::Refusal;
use super::verdict::{Accepted, AuthMethod, Decision, Verdict};
use super::{attempt, grace};
use crate::audit::{self, Event, EventCheck, EventMembership, NotRecorded};
use crate::clock::micros_in;
use crate::identity::Principal;
use crate::pg::connection::{self, Connection, POOLER, Proof};
use crate::pg::log::{self, Level};
use crate::pg::oauth::{self, WithoutToken};
use crate::pg::sign_in_method::SignInMethod;
use crate::settings::{self, AuditFailure};
use crate::shared::outcome::Outcome;
use crate::text::{SanitizedText, in_field};
use crate::{sessions, statistics};

/// The method of a sign-in to a mapped role, and of one with a token to any.
const ENTRA_TOKEN: &str = "entra-token";

/// Every check's outcome, as the audit keeps it. `membership` is the group that was checked, and the source.
pub fn checks(judgment: &Judgment, membership: Option<EventMembership>) -> Vec<EventCheck> {
    judgment
        .checks
        .iter()
        .map(|check| EventCheck {
            name: SanitizedText::from(check.name),
            reason: check.outcome.err(),
            membership: membership.filter(|_| check.name == PRINCIPAL_CHECK),
        })
        .collect()
}

/// Records the event of a decided attempt.
///
/// # Errors
/// The event of an accepted sign-in could not be recorded, so that it must be refused (`aadauth.audit_failure`).
pub fn record(
    connection: &Connection,
    decision: &Decision,
    verdict: Option<&Verdict>,
) -> Result<(), NotRecorded> {
    let (outcome, reason) = match decision {
        Decision::Accepted(_) => (Outcome::Authenticated, None),
        Decision::Refused(refusal) => (Outcome::Refused, Some(refusal)),
        Decision::RefusedByMethod => {
            let reason = match connection.method.as_str() {
                "scram-sha-256" | "md5" | "password" => Reason::PasswordFailed,
                _ => Reason::MethodRefused,
            };
            (
                Outcome::Refused,
                Some(&Refusal::new(reason, &connection.role)),
            )
        }
        Decision::ClientGone | Decision::Discovery => {
            record_interrupted(verdict);
            return Ok(());
        }
    };
    let recorded = append(connection, decision, verdict, outcome, reason);
    let (outcome, reason) = match recorded {
        Ok(()) => (outcome, reason.map(|refusal| refusal.reason)),
        Err(NotRecorded) => (Outcome::Refused, Some(Reason::AuditUnavailable)),
    };
    let method = method(connection, verdict);
    // For a password, it includes the client's time.
    let took = verdict
        .filter(|_| method == ENTRA_TOKEN)
        .map(|verdict| verdict.took);
    statistics::count_attempt(outcome, method, reason, took);
    recorded
}

fn append(
    connection: &Connection,
    decision: &Decision,
    verdict: Option<&Verdict>,
    outcome: Outcome,
    refusal: Option<&Refusal>,
) -> Result<(), NotRecorded> {
    let is_local_success = matches!(
        decision,
        Decision::Accepted(AuthMethod::Password | AuthMethod::OtherRecord)
    );
    if is_local_success && !settings::audit_local_sign_ins() {
        return Ok(());
    }
    let mut event = event(connection, outcome, verdict);
    if let Some(refusal) = refusal {
        event.reason = Some(refusal.reason);
        event.checks = refusal.checks.clone();
    }
    // HBA records that are not aadauth's are the emergency access: they do not depend on the audit.
    let is_ours = matches!(
        decision,
        Decision::Accepted(AuthMethod::Token | AuthMethod::Password)
    );
    audit::append(
        &event,
        is_ours && settings::audit_failure() == AuditFailure::Refuse,
    )
}

/// Records the event of an attempt that ended before the final authorization check, or without a credential.
pub fn record_interrupted(verdict: Option<&Verdict>) {
    let Some(connection) = connection::current() else {
        return;
    };
    let (outcome, refusal) = match verdict.map(|verdict| &verdict.outcome) {
        // A client that disconnects on a refusal has been refused.
        Some(Err(refusal)) if refusal.reason != Reason::NoPassword => {
            (Outcome::Refused, refusal.clone())
        }
        Some(Err(refusal)) => (Outcome::Interrupted, refusal.clone()),
        Some(Ok(_)) => (
            Outcome::Interrupted,
            Refusal::new(Reason::Interrupted, &connection.role),
        ),
        None => {
            let (outcome, reason) = outcome_without_verdict(&connection);
            (outcome, Refusal::new(reason, &connection.role))
        }
    };
    // The client has left without waiting for the verdict. Without one, core has said why it refuses.
    if outcome == Outcome::Refused && verdict.is_some() && !attempt::is_left_out() {
        let message = format!(
            "refused role \"{}\" to a client that has left",
            connection.role
        );
        log::line(Level::Log, &message, refusal.as_log().detail_log, None);
    }
    statistics::count_attempt(
        outcome,
        method(&connection, verdict),
        Some(refusal.reason),
        None,
    );
    let mut event = event(&connection, outcome, verdict);
    event.reason = Some(refusal.reason);
    event.checks = refusal.checks;
    // The attempt has ended: there is nothing left to refuse.
    let _ = audit::append(&event, false);
}

/// The outcome of an attempt without a verdict.
fn outcome_without_verdict(connection: &Connection) -> (Outcome, Reason) {
    if attempt::had_internal_error() {
        return (Outcome::Refused, Reason::InternalError);
    }
    match oauth::without_token() {
        WithoutToken::Malformed => (Outcome::Refused, Reason::TokenMalformed),
        WithoutToken::Discovery => (Outcome::Interrupted, Reason::TokenDiscovery),
        WithoutToken::Silence if connection.sign_in_method() == Some(SignInMethod::Oauth) => {
            (Outcome::Interrupted, Reason::NoPassword)
        }
        WithoutToken::Silence => (Outcome::Interrupted, Reason::Interrupted),
    }
}

/// Logs who has signed in, if that is to be logged, in the wording that queries written for Azure look for, and tells the
/// rest of the server.
pub fn announce(connection: &Connection, verdict: Option<&Verdict>) {
    let Some(verdict) = verdict else { return };
    let Some(principal) = verdict
        .identity
        .as_ref()
        .and_then(|identity| identity.principal.as_ref())
    else {
        return;
    };
    if settings::logs_sign_ins() {
        let role = SanitizedText::from(connection.role.as_str());
        let pooler = verdict.pooler.as_deref().map(SanitizedText::from);
        log_authorized(principal, &role, pooler.as_ref());
    }
    let proof = match connection.sign_in_method() {
        Some(SignInMethod::HbaFile) => Proof::Cleartext,
        _ => Proof::HbaMethod,
    };
    let identity = match &verdict.pooler {
        Some(pooler) if verdict.is_shared() => format!("pooler {pooler}"),
        _ => principal.object_id.to_string(),
    };
    connection::set_identity(&identity, proof);
}

pub fn log_authorized(principal: &Principal, role: &SanitizedText, pooler: Option<&SanitizedText>) {
    let upn = principal.upn.as_ref().map(ToString::to_string);
    let person = sessions::person(principal.kind, upn.as_deref(), principal.app_id);
    let pooler = pooler.map_or(String::new(), |pooler| {
        format!(" pooler=\"{}\"", in_field(pooler))
    });
    let message = format!(
        "Microsoft Entra ID connection authorized: role=\"{}\"{pooler} {person} oid={}",
        in_field(role),
        principal.object_id,
    );
    log::line(Level::Log, &message, None, None);
}

/// The audit's `method`: `entra-token`, `password`, `pooler`, or the method of a record that is not aadauth's.
fn method<'a>(connection: &'a Connection, verdict: Option<&Verdict>) -> &'a str {
    match verdict {
        Some(_) if connection.method == POOLER => POOLER,
        Some(verdict) if verdict.role.as_ref().is_some_and(|role| role.is_mapped()) => ENTRA_TOKEN,
        // A token was judged, whether or not the role is mapped.
        Some(_) if connection.sign_in_method() == Some(SignInMethod::Oauth) => ENTRA_TOKEN,
        Some(_) => "password",
        None => &connection.method,
    }
}

/// The event of an attempt at this moment, without a reason.
pub fn event(connection: &Connection, outcome: Outcome, verdict: Option<&Verdict>) -> Event {
    let mut event = Event::new(outcome, &connection.role, method(connection, verdict));
    event.role_can_login = attempt::role_can_login();
    event.client_address = connection
        .client_address
        .as_deref()
        .map(SanitizedText::from);
    event.client_port = connection.client_port;
    event.database = connection.database.as_deref().map(SanitizedText::from);
    event.application_name = connection
        .application_name
        .as_deref()
        .map(SanitizedText::from);
    event.tls = connection.tls;
    // Only if the pooler has asked: the view for people leaves such sign-ins out, and has the client's.
    let asked = verdict.filter(|verdict| verdict.presented.as_ref().is_some_and(grace::was_asked));
    let pooler = asked.and_then(|verdict| verdict.pooler.as_deref());
    event.pooler = pooler.map(SanitizedText::from);
    if let Some(verdict) = verdict {
        event.decision_micros = micros_in(verdict.took);
        event.principal = verdict
            .identity
            .as_ref()
            .and_then(|identity| identity.principal.clone());
        event.token = verdict
            .identity
            .as_ref()
            .map(|identity| identity.token.clone());
        if let (Outcome::Authenticated, Some(token)) = (outcome, &mut event.token) {
            // They are this server's.
            (token.audience, token.version) = (None, None);
        }
        if let Ok(Accepted::Token(mapping)) = &verdict.outcome {
            event.group_id = (mapping.kind == PrincipalKind::Group).then_some(mapping.object_id);
            event.checks = verdict.noted.clone();
        }
    }
    event
}
