//! The audit worker: moves events from the spool into the table.

use std::time::{Duration, Instant};

use pgrx::prelude::*;
use uuid::Uuid;

use crate::audit::{spool, writer};
use crate::pg::latch::Process;
use crate::pg::log::{self, Level};
use crate::pg::shmem;
use crate::pg::worker::{self, Failure};
use crate::settings;

/// Between two looks at the spool when no sign-in wakes the worker.
const IDLE: Duration = Duration::from_secs(10);
/// Between two looks when sign-ins wake it all the time, so that many of them share a transaction.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
/// The same after a failure.
const RETRY: Duration = Duration::from_secs(5);
const LEAST_RETRY: Duration = Duration::from_secs(1);

/// Runs until SIGTERM, or until another database is configured.
pub fn run() {
    if !wait_to_connect() {
        return;
    }
    // After the wait, which a reload that names another database ends.
    let database = settings::database();
    let failures = shmem::audit_connect_failures();
    shmem::set_audit_connect_failures(failures.saturating_add(1));
    worker::connect(&database);
    shmem::set_audit_connect_failures(0);
    worker::on_exit(|| shmem::set_audit_worker(None));
    shmem::set_audit_worker(Process::own());

    let mut drain = Drain {
        database,
        said: None,
    };
    while !worker::stop_requested() {
        if worker::reload_if_requested() && settings::database() != drain.database {
            return;
        }
        let began = Instant::now();
        let (least, most) = match drain.run() {
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

/// After a connection that ended the process, waits before the next: a database that isn't there would
/// otherwise fill the log. A reload ends the wait. `false` when the worker is to end.
fn wait_to_connect() -> bool {
    let failures = shmem::audit_connect_failures();
    if failures == 0 {
        return true;
    }
    let pause = Duration::from_secs(60 * 2_u64.pow(failures.min(4) - 1));
    if failures == 1 {
        log::line(
            Level::Warning,
            &format!(
                "could not connect to database \"{}\" to record sign-ins",
                settings::database()
            ),
            Some("Events wait in the spool; sign-ins go on. The reason is in the log line before."),
            Some("Create the database, or set aadauth.database, and reload the configuration."),
        );
    }
    let until = Instant::now() + pause;
    while !worker::stop_requested() {
        if worker::reload_if_requested() {
            return true;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        worker::wait(left, None);
    }
    false
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

/// What keeps events in the spool.
#[derive(PartialEq, Eq)]
struct Problem {
    message: String,
    hint: Option<&'static str>,
}

struct Drain {
    database: String,
    /// The problem that is in the log; the same one is not written again.
    said: Option<Problem>,
}

impl Drain {
    /// Moves all there is, file by file.
    fn run(&mut self) -> Result<(), Problem> {
        let ids = spool::list().map_err(|error| Problem {
            message: format!("could not list the spool: {error}"),
            hint: Some(
                "The directory aadauth/spool in the data directory must be there and readable.",
            ),
        })?;
        if ids.is_empty() {
            return Ok(());
        }
        self.check()?;
        // A file that can't be read must not hold up those after it.
        let mut outcome = Ok(());
        for id in ids {
            outcome = outcome.and(drain(id));
            if worker::stop_requested() || worker::reload_requested() {
                return outcome;
            }
        }
        if outcome.is_ok() && self.said.take().is_some() {
            let message = format!("sign-ins are recorded in database \"{}\"", self.database);
            log::line(Level::Log, &message, None, None);
        }
        outcome
    }

    /// Whether the tables are there, and whose they are. A database's owner can do with it as they
    /// like, so that what a superuser's process writes to must be a superuser's.
    fn check(&self) -> Result<(), Problem> {
        let (has_extension, has_tables, is_owned) = worker::transaction(look_at_database)?;
        let database = &self.database;
        let problem = if !has_extension {
            Some(Problem {
                message: format!("extension aadauth is not installed in database \"{database}\""),
                hint: Some("Run CREATE EXTENSION aadauth there, or set aadauth.database."),
            })
        } else if !has_tables {
            Some(Problem {
                message: format!(
                    "the audit tables of extension aadauth are missing in database \"{database}\""
                ),
                hint: Some("Run DROP EXTENSION aadauth and CREATE EXTENSION aadauth there."),
            })
        } else if !is_owned {
            Some(Problem {
                message: format!(
                    "database \"{database}\" or its audit tables are not owned by a superuser"
                ),
                hint: Some(
                    "Run ALTER DATABASE ... OWNER TO a superuser, or set aadauth.database to another one.",
                ),
            })
        } else {
            None
        };
        problem.map_or(Ok(()), Err)
    }

    fn say(&mut self, problem: Problem) {
        if self.said.as_ref() != Some(&problem) {
            let detail = "Events wait in the spool; sign-ins go on.";
            let message = format!("sign-ins are not recorded: {}", problem.message);
            log::line(Level::Warning, &message, Some(detail), problem.hint);
        }
        self.said = Some(problem);
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        Problem {
            message: failure.message,
            hint: None,
        }
    }
}

fn drain(id: Uuid) -> Result<(), Problem> {
    loop {
        let progress = writer::advance(id)?;
        if progress.skipped > 0 {
            let message = format!(
                "skipped {} lines of the audit spool that are not events",
                progress.skipped
            );
            let detail = format!(
                "They are in the file aadauth/spool/{id}.jsonl of the data directory until it has been read to its end."
            );
            let hint = "A full disk tears lines; so does writing to the file by hand.";
            log::line(Level::Warning, &message, Some(&detail), Some(hint));
        }
        if progress.is_finished {
            return spool::remove(id).map_err(|error| Problem {
                message: format!(
                    "could not remove the spool file {id}, which has been read: {error}"
                ),
                hint: None,
            });
        }
        if !progress.has_moved || worker::stop_requested() {
            return Ok(());
        }
    }
}

/// Whether the extension is there, its tables are, and a superuser owns them, their schema and the database.
fn look_at_database() -> Result<(bool, bool, bool), Failure> {
    let query = "
SELECT
    EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'aadauth'),
    (SELECT pg_catalog.count(*) = 2
     FROM pg_catalog.pg_class AS c
     JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
         AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e'
     JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'aadauth'
     WHERE n.nspname = 'aadauth' AND c.relname IN ('sign_in_audit', 'audit_spool')),
    NOT EXISTS (
        SELECT FROM (
            SELECT datdba AS owner FROM pg_catalog.pg_database
                WHERE datname = pg_catalog.current_database()
            UNION ALL SELECT nspowner FROM pg_catalog.pg_namespace WHERE nspname = 'aadauth'
            UNION ALL SELECT c.relowner FROM pg_catalog.pg_class AS c
                JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                WHERE n.nspname = 'aadauth' AND c.relname IN ('sign_in_audit', 'audit_spool')) AS o
        JOIN pg_catalog.pg_roles AS r ON r.oid = o.owner
        WHERE NOT r.rolsuper)";
    Spi::connect(|client| {
        let rows = client.select(query, Some(1), &[])?.first();
        let column = |number| rows.get::<bool>(number).map(|value| value == Some(true));
        Ok((column(1)?, column(2)?, column(3)?))
    })
}
