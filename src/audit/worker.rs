//! The audit worker: moves events from the spool into the table.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::flood::Counts;
use super::{partition, spool, writer};
use crate::background::database::{self, Problem};
use crate::pg::latch::Process;
use crate::pg::log::{self, Level};
use crate::pg::{exit, worker};
use crate::settings;
use crate::shared::problem::ProblemKind;
use crate::shared::shmem::{self, ConnectFailures};

/// Between two looks at the spool when no sign-in wakes the worker.
const IDLE: Duration = Duration::from_secs(10);
/// Between two looks at what is counted, each of which may change the same rows once more.
const COUNT_PAUSE: Duration = Duration::from_secs(5);
/// Between two looks when sign-ins wake it all the time, so that many of them share a transaction.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
/// The same after a failure.
const RETRY: Duration = Duration::from_secs(5);
const LEAST_RETRY: Duration = Duration::from_secs(1);

/// How often old weeks are looked for, and how soon again when one could not be dropped.
const RETENTION_INTERVAL: Duration = Duration::from_secs(3600);
const RETENTION_RETRY: Duration = Duration::from_secs(60);

/// The tables that the worker writes.
const TABLES: [&str; 2] = ["sign_in_audit", "audit_spool"];

/// Runs until SIGTERM, or until another database is configured.
pub fn run() {
    let failures = ConnectFailures::OF_AUDIT;
    let detail = "Events wait in the spool meanwhile. The reason is in the log, in the FATAL message of the audit worker before.";
    let idle = || IDLE;
    if !database::wait_to_connect(&failures, "record sign-ins", detail, idle) {
        return;
    }
    // After the wait, which a reload that names another database ends.
    let database = settings::database();
    database::connect(&database, &failures);
    exit::before_exit(|| shmem::set_audit_worker(None));
    shmem::set_audit_worker(Process::own());

    let mut drain = Drain {
        database,
        said: None,
        counted: None,
    };
    let mut retention = Retention::due(Instant::now());
    while !worker::stop_requested() {
        if worker::reload_if_requested() {
            if settings::database() != drain.database {
                return;
            }
            retention = Retention::due(Instant::now());
        }
        let began = Instant::now();
        let outcome = drain.run();
        if outcome.is_ok() {
            retention.apply(began);
        }
        shmem::set_audit_problem(outcome.as_ref().err().map(|problem| problem.kind));
        let (least, most) = match outcome {
            Ok(()) => (LEAST_PAUSE, IDLE),
            Err(problem) => {
                drain.say(problem);
                (LEAST_RETRY, RETRY)
            }
        };
        worker::wait(most, None);
        rest(least.saturating_sub(began.elapsed()));
    }
}

/// Waits for that long, unless the worker is to end or the configuration to be read again; being woken
/// by a sign-in does not count.
fn rest(pause: Duration) {
    let until = Instant::now() + pause;
    while !worker::stop_requested() && !worker::reload_requested() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        worker::wait(left, None);
    }
}

/// When to look for weeks that `aadauth.audit_retention` has passed.
struct Retention {
    due: Instant,
}

impl Retention {
    fn due(due: Instant) -> Retention {
        Retention { due }
    }

    fn apply(&mut self, now: Instant) {
        let Some(retention) = settings::audit_retention().filter(|_| now >= self.due) else {
            return;
        };
        // A file that can't be listed keeps its offset.
        let forgotten = spool::list().map_or(Ok(()), |present| {
            partition::forget_offsets(retention, &present)
        });
        let (dropped, outcome) = partition::drop_expired(retention);
        for name in dropped {
            let message = format!("dropped the sign-ins in table \"aadauth.{name}\"");
            let detail = "They are older than aadauth.audit_retention says.";
            log::line(Level::Log, &message, Some(detail), None);
        }
        self.due = match forgotten.and(outcome) {
            Ok(()) => now + RETENTION_INTERVAL,
            Err(failure) => {
                let message = format!("could not drop old sign-ins: {}", failure.message);
                let detail = "It is tried again in a minute.";
                log::line(Level::Log, &message, Some(detail), None);
                now + RETENTION_RETRY
            }
        };
    }
}

struct Drain {
    database: String,
    /// The problem that is in the log; the same one is not written again.
    said: Option<Problem>,
    /// When the counts were last copied.
    counted: Option<Instant>,
}

impl Drain {
    /// Moves all there is, file by file.
    fn run(&mut self) -> Result<(), Problem> {
        let ids = spool::list().map_err(unlistable)?;
        let is_time_to_count = self.counted.is_none_or(|at| at.elapsed() >= COUNT_PAUSE);
        if ids.is_empty() && !is_time_to_count {
            return Ok(());
        }
        database::check(&self.database, &TABLES)?;
        // A file that can't be read must not hold up those after it.
        let mut outcome = Ok(());
        for id in ids {
            outcome = outcome.and(drain(id));
            spool::measure().map_err(unlistable)?;
            if worker::stop_requested() || worker::reload_requested() {
                return outcome;
            }
        }
        if is_time_to_count {
            outcome = outcome.and(count());
            self.counted = Some(Instant::now());
        }
        if outcome.is_ok() && self.said.take().is_some() {
            let message = format!("sign-ins are recorded in database \"{}\"", self.database);
            log::line(Level::Log, &message, None, None);
        }
        outcome
    }

    fn say(&mut self, problem: Problem) {
        if self.said.as_ref() != Some(&problem) {
            let detail = "Events wait in the spool meanwhile.";
            let message = format!("sign-ins are not recorded: {}", problem.message);
            log::line(Level::Warning, &message, Some(detail), problem.hint);
        }
        self.said = Some(problem);
    }
}

/// Copies what the flood tables have counted.
fn count() -> Result<(), Problem> {
    let unreadable = |error| Problem {
        kind: ProblemKind::Other,
        message: format!("could not read the flood table of the audit: {error}"),
        hint: Some("The files in aadauth/spool in the data directory must be readable."),
    };
    let tables = match Counts::read() {
        // Those who count have it; what is there can wait.
        Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(()),
        tables => tables.map_err(unreadable)?,
    };
    for counts in tables {
        let records = counts.records();
        let refused = if records.is_empty() {
            0
        } else {
            writer::count(&records)?
        };
        if refused > 0 {
            let message = format!("skipped {refused} counts of sign-ins that the table refuses");
            let hint = "A database with the encoding UTF8 refuses none.";
            log::line(Level::Warning, &message, None, Some(hint));
        }
        match counts.settle() {
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            settled => settled.map_err(unreadable)?,
        }
    }
    Ok(())
}

fn unlistable(error: std::io::Error) -> Problem {
    Problem {
        kind: ProblemKind::Other,
        message: format!("could not list the spool: {error}"),
        hint: Some("The directory aadauth/spool in the data directory must be there and readable."),
    }
}

fn drain(id: Uuid) -> Result<(), Problem> {
    loop {
        let progress = writer::advance(id)?;
        if progress.skipped > 0 {
            let message = format!(
                "skipped {} lines of the audit spool that are no events, or that the table refuses",
                progress.skipped
            );
            let detail = format!(
                "They are in the file aadauth/spool/{id}.jsonl of the data directory until it has been read to its end."
            );
            let hint = "A full disk tears lines; so does writing to the file by hand. Only a database with the encoding UTF8 takes every name.";
            log::line(Level::Warning, &message, Some(&detail), Some(hint));
        }
        // The current file is read again when a sign-in wakes the worker; one that isn't it any more, now.
        let was_current = spool::current() == Some(id);
        spool::passed(id, progress.read_to);
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
