//! The network worker: fetches signing keys, and sends the directory queries of sessions. (Group sync has a worker of its
//! own.)
//!
//! Its main thread waits at its latch. Requests run on threads that call no function of PostgreSQL and notify the
//! main thread when they are done, so that a hanging request does not delay a shutdown.

use std::os::fd::AsFd;
use std::time::Instant;

use crate::background::notifier::Notifier;
use crate::directory::worker::Queries;
use crate::keys::worker::SigningKeys;
use crate::pg::latch::Process;
use crate::pg::log::{self, Level};
use crate::pg::{exit, worker};
use crate::shared::directory::table::QueryTable;
use crate::shared::keys::table::KeyTable;
use crate::shared::shmem;
use crate::shared::workers::Worker;

/// Runs until SIGTERM.
pub fn run() {
    let notifier = match Notifier::new() {
        Ok(notifier) => notifier,
        Err(error) => {
            let message = format!("could not start the network worker: {error}");
            return log::line(Level::Warning, &message, None, None);
        }
    };
    exit::before_exit(stop);
    shmem::change_keys(KeyTable::start);
    shmem::worker(Worker::Network).set_process(Process::own());
    let mut keys = SigningKeys::new(Instant::now());
    let mut queries = Queries::new();
    while !worker::stop_requested() {
        if worker::reload_if_requested() {
            keys.reload(Instant::now());
            queries.reload();
        }
        notifier.drain();
        let pause = queries.step(Instant::now(), &notifier);
        let pause = pause.min(keys.step(Instant::now(), &notifier));
        worker::wait(pause, Some(notifier.as_fd()));
    }
    // Dropped, it would start threads that clean up while the process ends.
    std::mem::forget(queries);
}

/// Leaves the worker's entry, and wakes those that wait for it.
fn stop() {
    shmem::worker(Worker::Network).set_process(None);
    let askers = shmem::change_queries(QueryTable::stop);
    askers.into_iter().for_each(Process::wake);
}
