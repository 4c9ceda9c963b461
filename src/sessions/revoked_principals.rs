//! The table of revoked principals, which only the session worker writes.

use pgrx::prelude::*;
use uuid::Uuid;

use crate::background::database::{self, Problem};
use crate::pg::lock_holder::LockHolder;
use crate::pg::query::{self, Value};
use crate::pg::text::SqlText;
use crate::pg::uuid::{sql_uuid, uuid_argument};
use crate::pg::worker::{self, Failure, FailureKind};
use crate::shared::problem::ProblemKind;
use crate::shared::sessions::requests::{Answer, Change, Request};
use crate::shared::sessions::revocations::{
    MAX_OF_ADMINS, MAX_OF_ONE_ADMIN, MAX_REVOCATIONS, Revocation,
};

const TABLE: &str = "aadauth.revoked_principals";

/// Runs `body` in a transaction, if the table is there and is a superuser's.
///
/// # Errors
/// It is not, it is locked, or the body fails.
pub fn transaction<T>(
    database: &str,
    body: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Problem> {
    let attempt = worker::transaction(|| {
        // Short, since a session waits for its request for two seconds only.
        query::one::<SqlText>("SELECT pg_catalog.set_config('lock_timeout', '500ms', true)")?;
        Ok(
            match database::check_ownership(database, &["revoked_principals"])? {
                Ok(()) => Ok(body()?),
                Err(problem) => Err(problem),
            },
        )
    });
    attempt.unwrap_or_else(|failure| {
        if failure.kind != FailureKind::Locked {
            return Err(failure.into());
        }
        let holder = worker::transaction(|| Ok(LockHolder::of_table(TABLE)));
        let holder = holder.unwrap_or(LockHolder::Gone);
        Err(Problem {
            kind: ProblemKind::Locked,
            message: format!("table {TABLE} is locked by {holder}"),
            hint: Some(holder.hint().into()),
        })
    })
}

/// The revocations in force. A date from year 9999 on counts as infinity.
///
/// # Errors
/// PostgreSQL cannot read the table.
pub fn read() -> Result<Vec<Revocation>, Failure> {
    let statement = "
SELECT r.object_id,
    CASE WHEN r.until < '9999-01-01 00:00:00+00'
        THEN (pg_catalog.extract('epoch', r.until) * 1000000)::pg_catalog.int8 END
FROM aadauth.revoked_principals AS r
WHERE r.until > pg_catalog.now()";
    Ok(Spi::connect(|client| {
        query::select(client, statement, None, &[])?
            .map(|row| {
                let object_id = row
                    .get::<pgrx::Uuid>(1)?
                    .map_or(Uuid::nil(), |id| Uuid::from_bytes(*id.as_bytes()));
                let until = row.get::<i64>(2)?.unwrap_or(i64::MAX);
                Ok(Revocation { object_id, until })
            })
            .collect::<Result<Vec<_>, spi::Error>>()
    })?)
}

/// Makes the requested change. The inner result is its description for the log, or the answer that refuses it.
///
/// # Errors
/// PostgreSQL cannot write the table.
pub fn change(request: &Request) -> Result<Result<String, Answer>, Failure> {
    query::run(
        "DELETE FROM aadauth.revoked_principals WHERE until <= pg_catalog.now()",
        &[],
    )?;
    match request.change {
        Change::Revoke { until } => revoke(request, timestamp(until)?),
        Change::Restore => restore(request),
    }
}

fn restore(request: &Request) -> Result<Result<String, Answer>, Failure> {
    let query = "SELECT by_superuser, true FROM aadauth.revoked_principals WHERE object_id = $1";
    let (by_superuser, _) = two::<bool, bool>(query, &[uuid_argument(request.object_id)])?;
    match by_superuser {
        None => return Ok(Err(Answer::NotRevoked)),
        Some(true) if !request.by_superuser => return Ok(Err(Answer::RevokedBySuperuser)),
        Some(_) => {}
    }
    let statement = "DELETE FROM aadauth.revoked_principals WHERE object_id = $1";
    query::run(statement, &[uuid_argument(request.object_id)])?;
    Ok(Ok("restored".to_owned()))
}

/// To make a revocation shorter is to restore the principal from then on.
fn revoke(
    request: &Request,
    until: TimestampWithTimeZone,
) -> Result<Result<String, Answer>, Failure> {
    let query =
        "SELECT by_superuser, until > $2 FROM aadauth.revoked_principals WHERE object_id = $1";
    let values = [uuid_argument(request.object_id), until.into()];
    let (by_superuser, is_shortened) = two::<bool, bool>(query, &values)?;
    match (by_superuser, is_shortened) {
        (Some(true), Some(true)) if !request.by_superuser => {
            return Ok(Err(Answer::RevokedBySuperuser));
        }
        (None, _) => {
            if let Some(refusal) = lack_of_room(request)? {
                return Ok(Err(refusal));
            }
        }
        _ => {}
    }
    // Others make a superuser's revocation longer, and change nothing else of it.
    let statement = "
INSERT INTO aadauth.revoked_principals AS r (object_id, until, reason, revoked_by, revoked_by_id, by_superuser)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (object_id) DO UPDATE SET
    until = excluded.until,
    reason = CASE WHEN r.by_superuser AND NOT excluded.by_superuser THEN r.reason ELSE excluded.reason END,
    revoked_at = CASE WHEN r.by_superuser AND NOT excluded.by_superuser THEN r.revoked_at ELSE excluded.revoked_at END,
    revoked_by = CASE WHEN r.by_superuser AND NOT excluded.by_superuser THEN r.revoked_by ELSE excluded.revoked_by END,
    revoked_by_id = CASE WHEN r.by_superuser AND NOT excluded.by_superuser THEN r.revoked_by_id ELSE excluded.revoked_by_id END,
    by_superuser = r.by_superuser OR excluded.by_superuser
RETURNING pg_catalog.isfinite(until), until::text";
    let (is_finite, end) = two::<bool, SqlText>(
        statement,
        &[
            uuid_argument(request.object_id),
            until.into(),
            request
                .reason
                .map(|reason| SqlText::from(reason.as_str()))
                .into(),
            SqlText::from(request.by.as_str()).into(),
            request.by_id.map(sql_uuid).into(),
            request.by_superuser.into(),
        ],
    )?;
    let SqlText(end) = end.unwrap_or_default();
    Ok(Ok(match (is_shortened, is_finite) {
        (Some(true), _) => format!("restored from {end} on"),
        (_, Some(true)) => format!("revoked until {end}"),
        _ => "revoked".to_owned(),
    }))
}

/// Why the list has no room for another principal.
fn lack_of_room(request: &Request) -> Result<Option<Answer>, Failure> {
    let query = "
SELECT pg_catalog.count(*),
    pg_catalog.count(*) FILTER (WHERE revoked_by_id IS NOT DISTINCT FROM $1 AND NOT by_superuser)
FROM aadauth.revoked_principals";
    let (all, own) = two::<i64, i64>(query, &[request.by_id.map(sql_uuid).into()])?;
    let is_full = |count: Option<i64>, max: usize| {
        usize::try_from(count.unwrap_or_default()).is_ok_and(|count| count >= max)
    };
    Ok(if request.by_superuser {
        is_full(all, MAX_REVOCATIONS).then_some(Answer::TooMany)
    } else if is_full(all, MAX_OF_ADMINS) {
        Some(Answer::TooManyByAdmins)
    } else {
        is_full(own, MAX_OF_ONE_ADMIN).then_some(Answer::TooManyByOneAdmin)
    })
}

fn timestamp(micros: i64) -> Result<TimestampWithTimeZone, Failure> {
    TimestampWithTimeZone::try_from(micros).map_err(|error| Failure {
        message: error.to_string(),
        kind: FailureKind::Data,
    })
}

/// The first row of a statement that may write; nothing if there is none.
fn two<A: FromDatum + IntoDatum, B: FromDatum + IntoDatum>(
    statement: &str,
    values: &[Value],
) -> spi::Result<(Option<A>, Option<B>)> {
    Spi::connect_mut(|client| {
        let rows = query::update(client, statement, Some(1), values)?;
        if rows.is_empty() {
            return Ok((None, None));
        }
        rows.first().get_two::<A, B>()
    })
}
