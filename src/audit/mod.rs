//! Sign-in events: from the backend that decides, through a spool file, to the table.

pub mod event;
mod explain;
pub mod guard;
pub mod partition;
pub mod record;
pub mod spool;
pub mod writer;

use std::io;

use pgrx::prelude::*;

pub use event::{
    Event, EventCheck, EventMembership, EventPrincipal, EventToken, MembershipSource, Outcome,
    Shown,
};

use crate::pg::shmem;

extension_sql_file!("../../sql/audit.sql", name = "audit");

/// Appends the event to the spool, from where the audit worker takes it.
///
/// Needs no transaction, no database and no lock, and never waits for the worker, so that it can be
/// called in every state of a sign-in and on a hot standby.
///
/// # Errors
/// The event is not recorded, or not wholly: the disk is full, or the spool can't be written.
pub fn append(event: &Event) -> io::Result<()> {
    spool::append(event)?;
    if let Some(worker) = shmem::audit_worker() {
        worker.wake();
    }
    Ok(())
}
