//! The background workers' entries in shared memory.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use super::problem::ProblemKind;
use crate::pg::latch::Process;

/// A background worker; the number is that of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worker {
    Session,
    Network,
    Audit,
    GroupSync,
}

impl Worker {
    pub const ALL: [Worker; 4] = [
        Worker::Session,
        Worker::Network,
        Worker::Audit,
        Worker::GroupSync,
    ];
}

/// What the other processes know of a worker. Changed by the worker only; takes no lock.
pub struct WorkerEntry {
    /// One more than the number of its process; 0 for none.
    process: AtomicI32,
    connect_failures: AtomicU32,
    problem: AtomicU32,
}

impl WorkerEntry {
    /// The process of the worker while it runs; workers for audit and sessions count once they are connected to their
    /// database.
    pub fn process(&self) -> Option<Process> {
        Process::from_number(self.process.load(Ordering::Acquire) - 1)
    }

    pub fn is_running(&self) -> bool {
        self.process().is_some()
    }

    pub fn set_process(&self, process: Option<Process>) {
        let number = process.map_or(0, |process| process.number() + 1);
        self.process.store(number, Ordering::Release);
    }

    /// Wakes the worker if it is running.
    pub fn wake(&self) {
        if let Some(process) = self.process() {
            process.wake();
        }
    }

    /// How many times in a row the worker has ended while it connected to its database.
    pub fn connect_failures(&self) -> u32 {
        self.connect_failures.load(Ordering::Relaxed)
    }

    pub fn set_connect_failures(&self, count: u32) {
        self.connect_failures.store(count, Ordering::Relaxed);
    }

    /// Why the worker's last attempt to do its work failed.
    pub fn problem(&self) -> Option<ProblemKind> {
        ProblemKind::from_number(self.problem.load(Ordering::Relaxed))
    }

    pub fn set_problem(&self, problem: Option<ProblemKind>) {
        let number = problem.map_or(0, |problem| problem as u32);
        self.problem.store(number, Ordering::Relaxed);
    }
}
