//! The SQL functions of group sync.

use std::time::Duration;

use pgrx::iter::TableIterator;
use pgrx::prelude::*;

use super::error::SyncError;
use crate::background::database;
use crate::pg::name::Name;
use crate::pg::text::SqlText;
use crate::pg::{privileges, query, server, snapshot};
use crate::shared::group_sync::{Reply, SyncState};
use crate::shared::shmem;
use crate::shared::workers::Worker;
use crate::text::escapes;
use crate::{clock, principals, settings};

/// How long a worker may take to become ready after its start, or after group sync is turned on.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// Creates a role for each member of every mapped group, grants it the group's role, and revokes the group's
/// role from those who have left. The group sync worker does this now, and the function waits for it.
/// Returns one row per change, and one per member or group that was skipped.
///
/// It shows what the run has committed, at every isolation level.
#[allow(clippy::type_complexity, reason = "pgrx must see the columns here")]
#[pg_extern(schema = "pg_catalog", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn pgaadauth_sync_roles_for_group_members() -> TableIterator<
    'static,
    (
        name!(group_role, Name),
        name!(member, Option<SqlText>),
        name!(action, SqlText),
        name!(detail, Option<SqlText>),
    ),
> {
    if let Err(error) = principals::ensure_may_map("pgaadauth_sync_roles_for_group_members") {
        error.raise()
    }
    TableIterator::new(synchronize().unwrap_or_else(|error| error.raise()))
}

/// The run in progress, when the next run is due, and why the last one failed as a whole.
#[pg_extern(schema = "aadauth", volatile, parallel_restricted)]
fn group_sync_worker() -> TableIterator<
    'static,
    (
        name!(run, Option<i64>),
        name!(next_run, Option<TimestampWithTimeZone>),
        name!(problem, Option<SqlText>),
    ),
> {
    let (run, next_run, problem) = shmem::sync(|state| state.runs());
    // Without a directory, the worker waits and has nothing to say.
    let unconfigured = settings::directory_problem().filter(|_| settings::group_sync_is_enabled());
    let problem = unconfigured.map(|(_, problem)| problem).or(problem);
    TableIterator::once((
        run,
        next_run.and_then(clock::timestamp),
        problem.map(SqlText),
    ))
}

type Row = (Name, Option<SqlText>, SqlText, Option<SqlText>);

fn synchronize() -> Result<Vec<Row>, SyncError> {
    if !settings::group_sync_is_enabled() {
        return Err(SyncError::Off);
    }
    if settings::directory().is_none() {
        return Err(SyncError::NoDirectory);
    }
    if server::is_in_recovery() {
        return Err(SyncError::Standby);
    }
    database::ensure_recorded_here();
    if server::has_written() {
        return Err(SyncError::HasChanges);
    }
    let worker = shmem::worker(Worker::GroupSync);
    let mut problem = None;
    let ticket = worker.wait_for(START_TIMEOUT, || {
        let asked = shmem::change_sync(SyncState::ask);
        asked.map_err(|why| problem = why).ok()
    });
    let ticket = ticket.ok_or(SyncError::NotReady(problem))?;
    // A run takes as long as it takes.
    let reply = worker.ask(Duration::MAX, || {
        let reply = shmem::sync(|state| state.reply(&ticket));
        (reply != Reply::Pending).then_some(reply)
    });
    match reply {
        Ok(Reply::Done { after, last }) => Ok(read(after, last)?),
        Ok(Reply::Failed(problem)) => Err(SyncError::Failed(problem)),
        Ok(Reply::Gone | Reply::Pending) | Err(_) => Err(SyncError::Gone),
    }
}

/// What the runs after `after`, up to `last`, have recorded.
///
/// Read with the privileges of the bootstrap superuser, since an Entra admin need not be a member of
/// `azure_pg_admin`; the worker has checked that a superuser owns the table. Read with the latest snapshot,
/// since in REPEATABLE READ the transaction's is older than the run.
fn read(after: i64, last: i64) -> spi::Result<Vec<Row>> {
    let statement =
        "SELECT c.group_role, c.member, c.action, c.detail FROM aadauth.group_sync_changes AS c
                 WHERE c.run > $1 AND c.run <= $2
                 ORDER BY c.group_role, c.member NULLS FIRST, c.action";
    let values = [after.into(), last.into()];
    snapshot::with_latest(|| {
        privileges::as_bootstrap_superuser(|| {
            Spi::connect(|client| {
                query::select(client, statement, None, &values)?
                    .map(|row| {
                        let recorded = |number| {
                            let text = row.get::<SqlText>(number)?;
                            spi::Result::Ok(text.map(|SqlText(text)| escapes::unescape(&text)))
                        };
                        Ok((
                            Name(recorded(1)?.unwrap_or_default()),
                            recorded(2)?.map(SqlText),
                            recorded(3)?.unwrap_or_default().into(),
                            recorded(4)?.map(SqlText),
                        ))
                    })
                    .collect()
            })
        })
    })
}
