//! What group sync records: its progress with each group, and what it has changed.
//!
//! Every function runs inside a transaction of the worker's, with the search path that
//! [`crate::pg::worker::connect`] pins; our own tables are schema-qualified. Progress and changes commit
//! together with the changes to roles.

use pgrx::prelude::*;
use serde::Serialize;
use uuid::Uuid;

use super::eligibility::SkipReason;
use crate::pg::json;
use crate::pg::query::{self, Value};
use crate::pg::text::SqlText;
use crate::pg::uuid::uuid_argument;
use crate::pg::worker::{Failure, FailureKind};
use crate::text::SanitizedText;

/// The longest explanation, in characters.
const MAX_DETAIL: usize = 600;

/// A group, and the run that synchronizes it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub run: i64,
    pub tenant: Uuid,
    pub group: Uuid,
    /// The group role's name when the run began.
    pub role: String,
}

/// The progress of a run with a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub seen: usize,
    pub done: usize,
    pub created: usize,
    pub granted: usize,
    pub revoked: usize,
    pub not_possible: usize,
}

/// The state of a group in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Listing,
    Changing,
    Done,
    Failed,
    Skipped,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            State::Listing => "listing",
            State::Changing => "changing",
            State::Done => "done",
            State::Failed => "failed",
            State::Skipped => "skipped",
        }
    }

    const fn is_end(self) -> bool {
        matches!(self, State::Done | State::Failed | State::Skipped)
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Created,
    Granted,
    Revoked,
    NotPossible(SkipReason),
}

/// A row of `aadauth.group_sync_changes`.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// `None` when it is about the group.
    member: Option<SanitizedText>,
    member_id: Option<Uuid>,
    action: &'static str,
    detail: Option<SanitizedText>,
    is_skip: bool,
}

impl Change {
    pub fn of_member(name: &str, id: Uuid, action: Action, detail: Option<String>) -> Change {
        Change {
            member: Some(SanitizedText::new(name)),
            member_id: Some(id),
            ..Change::new(action, detail)
        }
    }

    pub fn of_group(reason: SkipReason, detail: &str) -> Change {
        Change::new(Action::NotPossible(reason), Some(detail.to_owned()))
    }

    fn new(action: Action, detail: Option<String>) -> Change {
        let (action, is_skip) = match action {
            Action::Created => ("created", false),
            Action::Granted => ("granted", false),
            Action::Revoked => ("revoked", false),
            Action::NotPossible(reason) => (reason.code(), true),
        };
        Change {
            member: None,
            member_id: None,
            action,
            detail: detail.map(|detail| SanitizedText::up_to(MAX_DETAIL, &detail)),
            is_skip,
        }
    }
}

/// Begins a run: deletes groups that are no longer mapped and changes older than 30 days, and returns the
/// run's number. It is greater than `last`, since a run that changed nothing has left no row here.
pub fn begin(mapped: &[(Uuid, Uuid)], last: i64) -> Result<i64, Failure> {
    let json = json::for_sql(&mapped).map_err(unexpected)?;
    Spi::connect_mut(|client| {
        let number = "SELECT GREATEST(
                (SELECT pg_catalog.max(run) FROM aadauth.group_sync_groups),
                (SELECT pg_catalog.max(run) FROM aadauth.group_sync_changes), $1) + 1";
        let run = query::update(client, number, Some(1), &[last.into()])?
            .first()
            .get_one::<i64>()?;
        let unmapped = "DELETE FROM aadauth.group_sync_groups AS g WHERE NOT EXISTS (
                SELECT FROM pg_catalog.jsonb_array_elements($1::jsonb) AS m
                WHERE g.tenant_id = (m.value ->> 0)::uuid AND g.group_id = (m.value ->> 1)::uuid)";
        query::update(client, unmapped, None, &[json.into()])?;
        let old = "DELETE FROM aadauth.group_sync_changes
                WHERE at < pg_catalog.now() - interval '30 days'";
        query::update(client, old, None, &[])?;
        Ok(run.unwrap_or(last + 1))
    })
}

/// Records the progress with the group.
pub fn record_progress(
    entry: &Entry,
    state: State,
    progress: &Progress,
    problem: Option<&str>,
) -> Result<(), Failure> {
    let number = |number: usize| Value::from(i32::try_from(number).unwrap_or(i32::MAX));
    let problem = problem.map(|problem| SanitizedText::up_to(MAX_DETAIL, problem).to_string());
    let values = [
        uuid_argument(entry.tenant),
        uuid_argument(entry.group),
        entry.run.into(),
        SqlText::from(state.as_str()).into(),
        number(progress.seen),
        number(progress.done),
        number(progress.created),
        number(progress.granted),
        number(progress.revoked),
        number(progress.not_possible),
        problem.map(SqlText).into(),
        state.is_end().into(),
    ];
    Ok(query::run(PROGRESS, &values)?)
}

const PROGRESS: &str = "\
INSERT INTO aadauth.group_sync_groups AS g (
    tenant_id, group_id, run, state,
    seen, done, created, granted, revoked, not_possible, problem, finished_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
    CASE WHEN $12 THEN pg_catalog.clock_timestamp() END)
ON CONFLICT (tenant_id, group_id) DO UPDATE SET
    run = excluded.run, state = excluded.state,
    seen = excluded.seen, done = excluded.done, created = excluded.created,
    granted = excluded.granted, revoked = excluded.revoked,
    not_possible = excluded.not_possible, problem = excluded.problem,
    started_at = CASE WHEN g.run = excluded.run THEN g.started_at ELSE excluded.started_at END,
    finished_at = excluded.finished_at";

/// Records changes. A reason that is recorded already gets the new run's number.
pub fn record_changes(entry: &Entry, changes: &[Change]) -> Result<(), Failure> {
    if changes.is_empty() {
        return Ok(());
    }
    let json = json::for_sql(&changes).map_err(unexpected)?;
    let values = [
        json.into(),
        entry.run.into(),
        SqlText(SanitizedText::new(&entry.role).to_string()).into(),
        uuid_argument(entry.tenant),
        uuid_argument(entry.group),
    ];
    Ok(query::run(CHANGES, &values)?)
}

const CHANGES: &str = "\
INSERT INTO aadauth.group_sync_changes AS c (
    run, group_role, tenant_id, group_id, member, member_id, action, detail, first_at)
SELECT $2, $3, $4, $5, n.member, n.member_id, n.action, n.detail,
    CASE WHEN n.is_skip THEN pg_catalog.clock_timestamp() END
FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS n (
    member text, member_id uuid, action text, detail text, is_skip boolean)
ON CONFLICT (tenant_id, group_id, member_id, action) WHERE first_at IS NOT NULL DO UPDATE SET
    run = excluded.run, at = excluded.at, group_role = excluded.group_role,
    member = excluded.member, detail = excluded.detail";

fn unexpected(error: serde_json::Error) -> Failure {
    Failure {
        message: error.to_string(),
        kind: FailureKind::Data,
    }
}
