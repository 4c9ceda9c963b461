//! For readers of the audit: the spool is recorded first.

use std::time::Duration;

use pgrx::prelude::*;

use crate::background::database;
use crate::pg::{privileges, server};
use crate::shared::shmem;
use crate::shared::workers::Worker;

/// How long a reader waits at most.
const TIMEOUT: Duration = Duration::from_secs(1);

/// [`drain_spool`] as a condition of the view.
///
/// Immutable, so that the planner calls it, before the statement takes its snapshot: one that is taken earlier does not
/// show what is recorded meanwhile.
#[pg_extern(schema = "aadauth", immutable, parallel_restricted)]
fn await_sign_ins() -> bool {
    drain_spool();
    true
}

/// Asks the audit worker to record what is in the spool, and waits for it, at most a second. Does nothing on a standby,
/// while the worker cannot record, and for those who may not read the audit.
///
/// # Panics
/// With PostgreSQL's ERROR, in another database than that of the audit.
pub fn drain_spool() {
    database::ensure_recorded_here();
    let worker = shmem::worker(Worker::Audit);
    if !server::is_in_recovery() && worker.problem().is_none() && may_read() {
        let number = shmem::change_spool(|state| state.requests.make());
        // If it takes longer, the reader sees what has been recorded by then.
        let _ = worker.ask(TIMEOUT, || {
            shmem::spool(|state| state.requests.is_answered(number)).then_some(())
        });
    }
}

/// Whether the current user may read the audit.
pub fn may_read() -> bool {
    let auditor = privileges::role_named("aadauth_auditor");
    auditor.is_some_and(|role| privileges::has_privileges_of(privileges::current_user(), role))
}
