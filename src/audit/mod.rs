//! Sign-in events: from the backend that decides, through a spool file, to the table.

mod address;
pub mod aggregate;
pub mod event;
pub mod guard;
pub mod log_limit;
pub mod partition;
pub mod reader;
pub mod record;
pub mod spool;
pub mod worker;
mod write_failures;
mod writer;

use std::io;

use entra_token::Reason;
use pgrx::prelude::*;

pub use event::{Event, EventCheck, EventMembership, MembershipSource};

use crate::pg::log::{self, Level};
use crate::pg::server;
use crate::settings;
use crate::shared::outcome::Outcome;
use crate::shared::shmem;
use crate::shared::spool::Quota;
use crate::shared::workers::Worker;
use aggregate::Admission;

extension_sql_file!(
    "../../sql/audit.sql",
    name = "audit",
    requires = [reader::await_sign_ins]
);

/// Creates a spool file and an aggregate table. Called in the postmaster, once shared memory exists.
pub fn begin() {
    let start = (!server::is_binary_upgrade()).then(event::new_id);
    spool::begin(start);
    if let Some(start) = start
        && let Err(error) = aggregate::prepare(start)
    {
        log::line(
            Level::Warning,
            &format!("could not create the aggregate table of the audit: {error}"),
            Some("Each refused sign-in is recorded by itself, regardless of how many there are."),
            Some(
                "Check free space and permissions of the directory aadauth/spool in the data directory.",
            ),
        );
    }
}

/// Bytes that the audit worker has not moved to the table yet, counts included.
pub fn backlog() -> u64 {
    spool::backlog() + aggregate::backlog()
}

/// A valid sign-in had to be recorded and could not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRecorded;

/// Records the event: in the spool, which the audit worker reads, or in a count.
///
/// Needs no transaction and no database, and never waits for the worker, so that it can be called in every
/// state of a sign-in and on a hot standby. With `must_be_recorded`, an event that cannot be written is counted
/// as a refusal for `audit-unavailable`, and the caller must refuse the sign-in.
///
/// # Errors
/// Only with `must_be_recorded`.
pub fn append(event: &Event, must_be_recorded: bool) -> Result<(), NotRecorded> {
    // pg_upgrade runs the server; nothing is recorded then.
    if server::is_binary_upgrade() {
        return Ok(());
    }
    let outcome = if event.outcome == Outcome::Authenticated {
        append_accepted(event, must_be_recorded)
    } else {
        append_refused(event);
        Ok(())
    };
    shmem::worker(Worker::Audit).wake();
    outcome
}

/// Clients can cause any number of them, the holder of one valid token as well as anyone else.
fn append_refused(event: &Event) {
    // If it cannot be counted, it is written.
    if let Ok(Admission::Counted) = aggregate::admit(event) {
        return;
    }
    match spool::append(event, Quota::Half) {
        Ok(_) => write_failures::record_success(Quota::Half),
        Err(error) => {
            write_failures::record_failure(Quota::Half, &error);
            count_lost(event.outcome, aggregate::count(event));
        }
    }
}

fn append_accepted(event: &Event, must_be_recorded: bool) -> Result<(), NotRecorded> {
    let error = match spool::append(event, Quota::Full) {
        Ok(written) => {
            write_failures::record_success(Quota::Full);
            // Even if that fails it is in the spool, so it must not be counted as well.
            if settings::audit_sync()
                && let Err(error) = written.sync()
            {
                write_failures::log_unsynced(&error);
                return if must_be_recorded {
                    Err(NotRecorded)
                } else {
                    Ok(())
                };
            }
            return Ok(());
        }
        Err(error) => error,
    };
    write_failures::record_failure(Quota::Full, &error);
    if must_be_recorded {
        let refused = Event {
            outcome: Outcome::Refused,
            reason: Some(Reason::AuditUnavailable),
            ..event.clone()
        };
        count_lost(Outcome::Refused, aggregate::count(&refused));
        return Err(NotRecorded);
    }
    let counted = aggregate::count_unrecorded(event.outcome, 1);
    count_lost(event.outcome, counted);
    Ok(())
}

/// Counts in memory what could not be counted on disk either.
fn count_lost(outcome: Outcome, counted: io::Result<()>) {
    if counted.is_err() {
        shmem::change_spool(|state| *state.lost_of(outcome) += 1);
    }
}
