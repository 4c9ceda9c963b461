//! Sign-in events: from the backend that decides, through a spool file, to the table.

pub mod event;
pub mod flood;
pub mod guard;
pub mod partition;
pub mod record;
pub mod spool;
mod trouble;
pub mod worker;
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
use crate::shared::spool::Share;
use flood::Admission;

extension_sql_file!("../../sql/audit.sql", name = "audit");

/// Begins a spool file and a flood table. Called when the shared memory has been made, in the postmaster.
pub fn begin() {
    let start = (!server::is_binary_upgrade()).then(event::new_id);
    spool::begin(start);
    if let Some(start) = start
        && let Err(error) = flood::prepare(start)
    {
        log::line(
            Level::Warning,
            &format!("could not make the flood table of the audit: {error}"),
            Some("Refused sign-ins are recorded one by one, however many they are."),
            Some("Look at the space and the permissions of the data directory's aadauth/spool."),
        );
    }
}

/// Bytes that the audit worker has not moved to the table yet, counts included.
pub fn backlog() -> u64 {
    spool::backlog() + flood::backlog()
}

/// A good sign-in that was to be recorded and could not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRecorded;

/// Records the event: in the spool, from where the audit worker takes it, or in a count.
///
/// Needs no transaction and no database, and never waits for the worker, so that it can be called in every
/// state of a sign-in and on a hot standby. With `must_be_recorded`, an event that can't be written is counted
/// as a refusal for `audit-unavailable`, which is what the caller must make of it.
///
/// # Errors
/// With `must_be_recorded` alone.
pub fn append(event: &Event, must_be_recorded: bool) -> Result<(), NotRecorded> {
    // Nothing of ours is to happen then.
    if server::is_binary_upgrade() {
        return Ok(());
    }
    let outcome = if event.is_anybodys() {
        append_anybodys(event);
        Ok(())
    } else {
        append_whole(event, must_be_recorded)
    };
    if let Some(worker) = shmem::audit_worker() {
        worker.wake();
    }
    outcome
}

fn append_anybodys(event: &Event) {
    // Where it can't be counted, it is written.
    if let Ok(Admission::Counted) = flood::admit(event) {
        return;
    }
    match spool::append(event, Share::Half) {
        Ok(_) => trouble::is_over(Share::Half),
        Err(error) => {
            trouble::say(Share::Half, &error);
            or_lost(event.outcome, flood::count(event));
        }
    }
}

fn append_whole(event: &Event, must_be_recorded: bool) -> Result<(), NotRecorded> {
    // One good token for something else refuses as often as somebody likes.
    let (share, sync) = match event.outcome {
        Outcome::Authenticated => (Share::Whole, settings::audit_sync()),
        Outcome::Refused | Outcome::Interrupted => (Share::Half, false),
    };
    let error = match spool::append(event, share) {
        Ok(written) => {
            trouble::is_over(share);
            // It is in the spool even if that fails, so that it must not be counted.
            if sync && let Err(error) = written.sync() {
                trouble::say_unsynced(&error);
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
    trouble::say(share, &error);
    if must_be_recorded {
        let refused = Event {
            outcome: Outcome::Refused,
            reason: Some(Reason::AuditUnavailable),
            ..event.clone()
        };
        or_lost(Outcome::Refused, flood::count(&refused));
        return Err(NotRecorded);
    }
    or_lost(event.outcome, flood::count_unrecorded(event.outcome, 1));
    Ok(())
}

/// Keeps in memory what could not be counted on disk either.
fn or_lost(outcome: Outcome, counted: io::Result<()>) {
    if counted.is_err() {
        shmem::change_spool(|state| *state.lost_of(outcome) += 1);
    }
}
