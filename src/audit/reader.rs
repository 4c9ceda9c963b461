//! For readers of the audit: the spool is recorded first.

use std::time::Duration;

use pgrx::prelude::*;

use crate::background::database;
use crate::pg::{privileges, server};
use crate::shared::shmem;
use crate::shared::workers::Worker;

/// How long a reader waits at most.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Asks the audit worker to record what is in the spool, and waits for it, at most a second. Does nothing on a standby,
/// while the worker cannot record, and for those who may not read the audit.
///
/// # Panics
/// With PostgreSQL's ERROR, in another database than that of the audit.
///
/// Immutable, so that the planner calls it, before the statement takes its snapshot: one that is taken earlier does not
/// show what is recorded meanwhile.
#[pg_extern(schema = "aadauth", immutable, parallel_restricted)]
pub fn await_sign_ins() -> bool {
    let worker = shmem::worker(Worker::Audit);
    if database::is_recorded_here()
        && !server::is_in_recovery()
        && worker.problem().is_none()
        && may_read()
    {
        let number = shmem::change_spool(|state| state.requests.make());
        // If it takes longer, the reader sees what has been recorded by then.
        let _ = worker.ask(TIMEOUT, || {
            shmem::spool(|state| state.requests.is_answered(number)).then_some(())
        });
    }
    true
}

fn may_read() -> bool {
    let auditor = privileges::role_named("aadauth_auditor");
    auditor.is_some_and(|role| privileges::has_privileges_of(privileges::current_user(), role))
}
