//! The audit event of a pooler's question, and its log line.

use entra_token::Reason;
use uuid::Uuid;

use super::record;
use super::refusal::Refusal;
use super::verdict::Verdict;
use crate::audit::{self, NotRecorded, log_limit};
use crate::pg::connection::{Connection, POOLER};
use crate::pg::log::{self, Level};
use crate::settings::{self, AuditFailure};
use crate::shared::outcome::Outcome;
use crate::statistics;
use crate::text::SanitizedText;

/// What was recorded of a pooler's client.
pub struct Recorded {
    pub event_id: Uuid,
    /// Why it is refused.
    pub reason: Option<Reason>,
}

/// Records and logs what a pooler's client has tried. `pooler` is the pooler's role.
pub fn record(connection: &Connection, verdict: &Verdict, pooler: &str) -> Recorded {
    let refusal = verdict.outcome.as_ref().err();
    let outcome = refusal.map_or(Outcome::Authenticated, |_| Outcome::Refused);
    let mut event = record::event(connection, outcome, Some(verdict));
    event.role_can_login = verdict.role.as_ref().is_some_and(|role| role.can_login);
    let pooler = SanitizedText::from(pooler);
    event.pooler = Some(pooler.clone());
    if let Some(refusal) = refusal {
        event.reason = Some(refusal.reason);
        event.checks = refusal.checks.clone();
    }
    let must_be_recorded = settings::audit_failure() == AuditFailure::Refuse;
    let unrecorded = audit::append(&event, must_be_recorded).err();
    let unrecorded =
        unrecorded.map(|NotRecorded| Refusal::new(Reason::AuditUnavailable, &connection.role));
    let refusal = refusal.or(unrecorded.as_ref());
    let reason = refusal.map(|refusal| refusal.reason);
    let outcome = reason.map_or(Outcome::Authenticated, |_| Outcome::Refused);
    statistics::count_attempt(outcome, POOLER, reason, Some(verdict.took));
    let principal = event.principal.as_ref();
    match (refusal, principal) {
        (Some(refusal), _) if log_limit::admit(refusal.reason) => {
            let message = format!("refused role \"{}\" to pooler \"{pooler}\"", event.role);
            log::line(Level::Log, &message, refusal.as_log().detail_log, None);
        }
        (None, Some(principal)) if settings::logs_sign_ins() => {
            record::log_authorized(principal, &event.role, Some(&pooler));
        }
        _ => {}
    }
    Recorded {
        event_id: event.id,
        reason,
    }
}
