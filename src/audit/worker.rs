//! The audit worker: moves events from the spool into the table.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::aggregate::Counts;
use super::{partition, spool, writer};
use crate::background::database::{self, Problem};
use crate::pg::log::{self, Level};
use crate::pg::worker::{self, Failure};
use crate::shared::problem::ProblemKind;
use crate::shared::shmem;
use crate::shared::workers::Worker;
use crate::{clock, settings};

/// How often the spool is read when no sign-in wakes the worker.
const IDLE_INTERVAL: Duration = Duration::from_secs(10);
/// How often counts are copied; each time may update the same rows again.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);
/// How soon it is tried again after a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
const MIN_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How often partitions are created and dropped, and how soon again after a failure.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(3600);
const MAINTENANCE_RETRY: Duration = Duration::from_secs(60);

/// The tables that the worker writes.
pub const TABLES: [&str; 2] = ["sign_in_audit", "audit_spool"];

/// Runs until SIGTERM, or until another database is configured.
pub fn run() {
    let detail = "Events remain in the spool until then. The audit worker's preceding FATAL message in the server log has the cause.";
    let idle = || IDLE_INTERVAL;
    let Some(database) = database::open(Worker::Audit, "record sign-ins", detail, idle) else {
        return;
    };
    let mut drain = Drain {
        database,
        last_logged: None,
        last_counted: None,
    };
    let mut maintenance = Maintenance {
        due: Instant::now(),
    };
    while !worker::stop_requested() {
        if worker::reload_if_requested() {
            if settings::database() != drain.database {
                // It was the other database's.
                shmem::worker(Worker::Audit).set_problem(None);
                return;
            }
            maintenance.due = Instant::now();
        }
        let began = Instant::now();
        let request = shmem::spool(|state| state.requests.last());
        let outcome = drain.run();
        if outcome.is_ok() {
            maintenance.run_if_due(began);
        }
        let kind = outcome.as_ref().err().map(|problem| problem.kind);
        shmem::worker(Worker::Audit).set_problem(kind);
        // Otherwise it has not read all files.
        if !worker::stop_requested() && !worker::reload_requested() {
            shmem::change_spool(|state| state.requests.answer(request));
            shmem::worker(Worker::Audit).notify();
        }
        let (least, most) = match outcome {
            Ok(()) => (settings::audit_delay(), IDLE_INTERVAL),
            Err(problem) => {
                drain.log_problem(problem);
                (MIN_RETRY_INTERVAL, RETRY_INTERVAL)
            }
        };
        // A wait for a lock has used up what woke the worker.
        if !has_request() {
            worker::wait(most, None);
        }
        pause(least.saturating_sub(began.elapsed()));
    }
}

/// Waits for that long, or until the worker is to end or to reload the configuration, or a reader asks; a sign-in that
/// wakes it does not end the pause.
fn pause(duration: Duration) {
    let until = Instant::now() + duration;
    while !worker::stop_requested() && !worker::reload_requested() && !has_request() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        worker::wait(left, None);
    }
}

fn has_request() -> bool {
    shmem::spool(|state| state.requests.is_open())
}

/// The partitions of the audit's table.
struct Maintenance {
    due: Instant,
}

impl Maintenance {
    /// Creates next week's partition, and drops what is older than `aadauth.audit_retention`.
    fn run_if_due(&mut self, now: Instant) {
        if now < self.due {
            return;
        }
        let prepared = partition::prepare(clock::micros());
        let log_failure = |what: &str, failure: &Failure| {
            let message = format!("could not {what}: {}", failure.message);
            let detail = "This is tried again in a minute.";
            log::line(Level::Log, &message, Some(detail), None);
        };
        if let Err(failure) = &prepared {
            log_failure("create next week's partition of the audit", failure);
        }
        let dropped = settings::audit_retention().map_or(Ok(()), drop_old);
        if let Err(failure) = &dropped {
            log_failure("drop old sign-ins", failure);
        }
        let is_done = prepared.is_ok() && dropped.is_ok();
        self.due = now
            + if is_done {
                MAINTENANCE_INTERVAL
            } else {
                MAINTENANCE_RETRY
            };
    }
}

fn drop_old(retention: Duration) -> Result<(), Failure> {
    // If the files cannot be listed, all offsets are kept.
    let deleted = spool::list().map_or(Ok(()), |present| {
        partition::delete_offsets(retention, &present)
    });
    let (dropped, outcome) = partition::drop_expired(retention);
    for name in dropped {
        let message = format!("dropped the sign-ins in table \"aadauth.{name}\"");
        let detail = "They are older than aadauth.audit_retention.";
        log::line(Level::Log, &message, Some(detail), None);
    }
    deleted.and(outcome)
}

struct Drain {
    database: String,
    /// The problem that was logged last; it is not logged again.
    last_logged: Option<Problem>,
    /// When the counts were last copied.
    last_counted: Option<Instant>,
}

impl Drain {
    /// Moves all events, file by file.
    fn run(&mut self) -> Result<(), Problem> {
        let ids = spool::list().map_err(unlistable)?;
        let is_count_due = self
            .last_counted
            .is_none_or(|at| at.elapsed() >= COUNT_INTERVAL);
        if ids.is_empty() && !is_count_due {
            return Ok(());
        }
        database::check(&self.database, &TABLES)?;
        // A file that cannot be read must not block the others.
        let mut outcome = Ok(());
        for id in ids {
            outcome = outcome.and(drain(id));
            spool::update_size().map_err(unlistable)?;
            if worker::stop_requested() || worker::reload_requested() {
                return outcome;
            }
        }
        if is_count_due {
            outcome = outcome.and(copy_counts());
            self.last_counted = Some(Instant::now());
        }
        if outcome.is_ok() && self.last_logged.take().is_some() {
            let message = format!("sign-ins are recorded in database \"{}\"", self.database);
            log::line(Level::Log, &message, None, None);
        }
        outcome
    }

    fn log_problem(&mut self, problem: Problem) {
        if self.last_logged.as_ref() != Some(&problem) {
            let detail = "Events remain in the spool until then.";
            let message = format!("sign-ins are not recorded: {}", problem.message);
            log::line(
                Level::Warning,
                &message,
                Some(detail),
                problem.hint.as_deref(),
            );
        }
        self.last_logged = Some(problem);
    }
}

/// Copies the counts of the aggregate tables.
fn copy_counts() -> Result<(), Problem> {
    let unreadable = |error| {
        Problem {
        kind: ProblemKind::Other,
        message: format!("could not read the aggregate table of the audit: {error}"),
        hint: Some(
            "The server must be able to read the files in the directory aadauth/spool in the data directory.".into(),
        ),
    }
    };
    let tables = match Counts::read() {
        // Backends that count hold the lock; copying can wait.
        Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(()),
        tables => tables.map_err(unreadable)?,
    };
    for counts in tables {
        let records = counts.records();
        let refused = if records.is_empty() {
            0
        } else {
            writer::update_counts(&records)?
        };
        if refused > 0 {
            let message =
                format!("skipped {refused} counts of sign-ins that the table does not accept");
            log::line(Level::Warning, &message, None, None);
        }
        match counts.acknowledge() {
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            result => result.map_err(unreadable)?,
        }
    }
    Ok(())
}

fn unlistable(error: std::io::Error) -> Problem {
    Problem {
        kind: ProblemKind::Other,
        message: format!("could not list the spool: {error}"),
        hint: Some(
            "The directory aadauth/spool in the data directory must exist, and the server must be able to read it.".into(),
        ),
    }
}

fn drain(id: Uuid) -> Result<(), Problem> {
    loop {
        let progress = writer::advance(id)?;
        if progress.skipped > 0 {
            let message = format!(
                "skipped {} lines of the audit spool that are not events, or that the table does not accept",
                progress.skipped
            );
            let detail = format!(
                "They remain in the file aadauth/spool/{id}.jsonl in the data directory until all of it has been read."
            );
            let hint = "Lines are damaged by a full disk, or if something else writes to the file.";
            log::line(Level::Warning, &message, Some(&detail), Some(hint));
        }
        // The current file is read again when a sign-in wakes the worker; a file that has just been replaced, at once.
        let was_current = spool::current() == Some(id);
        spool::mark_read(id, progress.read_to);
        let may_have_ended = was_current && spool::current() != Some(id);
        if progress.is_finished {
            return spool::remove(id).map_err(|error| Problem {
                kind: ProblemKind::Other,
                message: format!(
                    "could not remove the spool file {id}, which has been read: {error}"
                ),
                hint: None,
            });
        }
        if !(progress.has_moved || may_have_ended) || worker::stop_requested() {
            return Ok(());
        }
    }
}
