//! The background workers' entries in shared memory.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use super::problem::ProblemKind;
use crate::pg::condition::Condition;
use crate::pg::latch::Process;

/// A background worker. Each has an entry in shared memory.
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
    /// Notified whenever the worker changes something that others may wait for.
    progress: Condition,
}

/// Why [`WorkerEntry::ask`] returned without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    NotRunning,
    TimedOut,
}

impl WorkerEntry {
    pub fn init(&mut self) {
        self.progress.init();
    }

    /// The process of the worker while it runs; those for audit and sessions are entered after they have connected to
    /// their database, the others when they start.
    pub fn process(&self) -> Option<Process> {
        Process::from_number(self.process.load(Ordering::Acquire) - 1)
    }

    pub fn is_running(&self) -> bool {
        self.process().is_some()
    }

    pub fn set_process(&self, process: Option<Process>) {
        let number = process.map_or(0, |process| process.number() + 1);
        self.process.store(number, Ordering::Release);
        self.notify();
    }

    /// Wakes the worker if it is running.
    pub fn wake(&self) {
        if let Some(process) = self.process() {
            process.wake();
        }
    }

    /// Wakes the worker, and waits until `look` finds its answer.
    ///
    /// # Errors
    /// The worker does not run, or the time is over.
    pub fn ask<T>(
        &self,
        timeout: Duration,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T, Unanswered> {
        self.wake();
        let answer = self.wait_for(timeout, || {
            let stopped = || (!self.is_running()).then_some(Err(Unanswered::NotRunning));
            look().map(Ok).or_else(stopped)
        });
        answer.unwrap_or(Err(Unanswered::TimedOut))
    }

    /// Waits until `look` finds something, whether the worker runs or not; `None` after `timeout`.
    pub fn wait_for<T>(&self, timeout: Duration, look: impl FnMut() -> Option<T>) -> Option<T> {
        self.progress.wait_for(timeout, look)
    }

    /// Wakes the processes that wait for the worker; each checks its condition again.
    pub fn notify(&self) {
        self.progress.notify();
    }

    /// How many attempts in a row to connect to its database have ended the worker.
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
