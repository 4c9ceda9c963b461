//! The background workers: their registration, and the function that the postmaster starts them with.

use std::time::Duration;

use pgrx::bgworkers::{BackgroundWorkerBuilder, BgWorkerStartTime};
use pgrx::prelude::*;
use pgrx::{IntoDatum, pg_sys};

use super::{client_authentication, network};
use crate::pg::latch::Process;
use crate::pg::{exit, server};
use crate::shared::shmem;
use crate::shared::workers::Worker;
use crate::{audit, group_sync, sessions};

/// How long the postmaster waits before it restarts a worker that has ended.
const RESTART: Duration = Duration::from_secs(1);

struct Registration {
    name: &'static str,
    has_database: bool,
    start: BgWorkerStartTime,
    run: fn(),
}

/// In the order of their registration: if only one fits into `max_worker_processes`, it is the one without which
/// tokens are refused. The first two also run on a hot standby.
const WORKERS: [Registration; 4] = [
    Registration {
        name: "aadauth session worker",
        has_database: true,
        start: BgWorkerStartTime::ConsistentState,
        run: || {
            client_authentication::report_displacement();
            sessions::worker::run();
        },
    },
    Registration {
        name: "aadauth network worker",
        has_database: false,
        start: BgWorkerStartTime::ConsistentState,
        run: network::run,
    },
    Registration {
        name: "aadauth audit worker",
        has_database: true,
        start: BgWorkerStartTime::RecoveryFinished,
        run: audit::worker::run,
    },
    Registration {
        name: "aadauth group sync worker",
        has_database: true,
        start: BgWorkerStartTime::RecoveryFinished,
        run: group_sync::worker::run,
    },
];

unsafe extern "C" {
    fn aad_worker_signals(has_database: bool);
}

/// Registers the workers. Called in `_PG_init`, in the postmaster.
pub fn init() {
    // pg_upgrade drops and creates databases, which a connected worker would block.
    if server::is_binary_upgrade() {
        return;
    }
    for (number, worker) in (0_i32..).zip(&WORKERS) {
        let builder = BackgroundWorkerBuilder::new(worker.name)
            .set_library("aadauth")
            .set_function("aadauth_worker")
            .set_argument(number.into_datum())
            .set_restart_time(Some(RESTART));
        let builder = if worker.has_database {
            builder.enable_spi_access()
        } else {
            builder.enable_shmem_access(None)
        };
        // Last: `enable_spi_access` sets a start time of its own.
        builder.set_start_time(worker.start).load();
    }
}

/// The main function of every worker. `argument` is its index in [`WORKERS`].
///
/// A worker that returns exits with code 0 and is never restarted (bgworker.c, `CleanupBackgroundWorker`); after code 1
/// the postmaster restarts it, unless it is shutting down.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn aadauth_worker(argument: pg_sys::Datum) {
    if let Some(worker) = WORKERS.get(argument.value()) {
        // SAFETY: this is a background worker's main function, before anything else in it.
        unsafe { aad_worker_signals(worker.has_database) };
        exit::before_exit(leave);
        (worker.run)();
    }
    exit::process(1)
}

/// Clears the entry of this process in the table of workers.
fn leave() {
    for entry in Worker::ALL.map(shmem::worker) {
        if entry.is_running() && entry.process() == Process::own() {
            entry.set_process(None);
        }
    }
}
