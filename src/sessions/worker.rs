//! The session worker: loads the list of revoked principals, and ends sessions whose principal is
//! revoked or whose token has expired ([`crate::sessions`]).
//!
//! It runs on hot standbys as well. A list that was loaded once stays in force even if its database becomes
//! unavailable, so that a revoked principal never gets in.

use std::time::{Duration, Instant};

use pgrx::prelude::*;
use uuid::Uuid;

use crate::background::database::{self, Problem};
use crate::pg::log::{self, Level};
use crate::pg::{server, worker};
use crate::sessions;
use crate::settings::{self, SessionExpiry};
use crate::shared::problem::ProblemKind;
use crate::shared::sessions::revocations::{MAX_REVOCATIONS, Revocation, RevocationList, TooMany};
use crate::shared::shmem;
use crate::shared::workers::Worker;

/// How often the table is read when our functions have not changed it: a restored dump or a prepared
/// transaction may have.
const READ_INTERVAL: Duration = Duration::from_secs(10);
/// How often a standby, which learns of revocations only by replication, checks whether anything has been
/// replayed. If not, the table is not read.
const STANDBY_INTERVAL: Duration = Duration::from_millis(500);
/// How soon a failed read is repeated.
const RETRY: Duration = Duration::from_secs(1);
/// How often the tokens' expiry is checked.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until SIGTERM, or until another database is configured.
pub fn run() {
    let detail = "Until the list has been read once, Entra sign-ins are denied; after that, the last list remains \
                  in force. The previous log line has the reason.";
    let opened = database::open(Worker::Session, "read the revocations", detail, expire);
    let Some(database) = opened else { return };
    let mut watch = Watch {
        database,
        changes: None,
        position: None,
        due: Instant::now(),
        last_logged: None,
    };
    while !worker::stop_requested() {
        if worker::reload_if_requested() {
            if settings::database() != watch.database {
                return;
            }
            watch.due = Instant::now();
        }
        let pause = watch.step().min(expire());
        if !worker::stop_requested() && !worker::reload_requested() {
            worker::wait(pause, None);
        }
    }
}

/// Ends the sessions whose tokens have expired, if so configured, and returns how long until the next check.
fn expire() -> Duration {
    match settings::session_expiry() {
        SessionExpiry::Off => READ_INTERVAL,
        SessionExpiry::Token => {
            sessions::end_expired();
            EXPIRY_INTERVAL
        }
    }
}

struct Watch {
    database: String,
    /// The number of changes by our functions when the table was last read.
    changes: Option<u64>,
    /// A standby's replay position then.
    position: Option<u64>,
    /// When the table is read again in any case.
    due: Instant,
    /// The problem that was logged last; the same one is not logged again.
    last_logged: Option<Problem>,
}

impl Watch {
    /// Reads the list if it may have changed, and returns how long until the next check.
    fn step(&mut self) -> Duration {
        // Before the table is read, so that later changes are seen next time.
        let changes = Some(shmem::revocation_changes());
        let position = server::is_in_recovery().then(server::replay_position);
        let now = Instant::now();
        if changes != self.changes || position != self.position || now >= self.due {
            let entry = shmem::worker(Worker::Session);
            let had_problem = entry.problem().is_some();
            let outcome = self.load();
            entry.set_problem(outcome.as_ref().err().map(|problem| problem.kind));
            match outcome {
                Ok(()) => {
                    (self.changes, self.position) = (changes, position);
                    self.due = now + READ_INTERVAL;
                    self.last_logged = None;
                    // A problem of this process, or of an earlier one with another database.
                    if had_problem {
                        let message =
                            format!("revocations are read from database \"{}\"", self.database);
                        log::line(Level::Log, &message, None, None);
                    }
                }
                Err(problem) => {
                    self.log_problem(problem);
                    self.changes = None;
                    return RETRY;
                }
            }
        }
        if position.is_some() {
            return STANDBY_INTERVAL;
        }
        self.due.saturating_duration_since(Instant::now())
    }

    /// Puts the list into shared memory, and then ends the sessions of the principals on it.
    fn load(&self) -> Result<(), Problem> {
        let revocations = match worker::transaction(|| {
            Ok(
                match database::check_ownership(&self.database, &sessions::TABLES)? {
                    Ok(()) => Ok(read()?),
                    Err(problem) => Err(problem),
                },
            )
        })? {
            Ok(revocations) => revocations,
            // Without a table, nobody has been revoked, unless there was one before.
            Err(problem) if problem.kind == ProblemKind::NoExtension => {
                if shmem::revocations(|list| list.is_loaded() && !list.is_empty()) {
                    return Err(problem);
                }
                Vec::new()
            }
            Err(problem) => return Err(problem),
        };
        shmem::change_revocations(|list| list.load(revocations)).map_err(|TooMany| Problem {
            kind: ProblemKind::Other,
            message: format!("there are more than {MAX_REVOCATIONS} revocations"),
            hint: Some("Delete rows that are no longer needed from aadauth.revoked_principals."),
        })?;
        shmem::worker(Worker::Session).notify();
        sessions::end_revoked();
        Ok(())
    }

    fn log_problem(&mut self, problem: Problem) {
        if self.last_logged.as_ref() != Some(&problem) {
            let message = format!("revocations are not read: {}", problem.message);
            let detail = if shmem::revocations(RevocationList::is_loaded) {
                "The last list remains in force."
            } else {
                "Until the list has been read once, Entra sign-ins are denied."
            };
            log::line(Level::Warning, &message, Some(detail), problem.hint);
        }
        self.last_logged = Some(problem);
    }
}

/// The revocations in force. A date from year 9999 on counts as infinity.
fn read() -> Result<Vec<Revocation>, worker::Failure> {
    let query = "
SELECT r.object_id,
    CASE WHEN r.until < '9999-01-01 00:00:00+00'
        THEN (pg_catalog.extract('epoch', r.until) * 1000000)::pg_catalog.int8 END
FROM aadauth.revoked_principals AS r
WHERE r.until > pg_catalog.now()";
    Ok(Spi::connect(|client| {
        client
            .select(query, None, &[])?
            .map(|row| {
                let object_id = row
                    .get::<pgrx::Uuid>(1)?
                    .map_or(Uuid::nil(), |id| Uuid::from_bytes(*id.as_bytes()));
                let until = row.get::<i64>(2)?.unwrap_or(i64::MAX);
                Ok(Revocation { object_id, until })
            })
            .collect::<Result<Vec<_>, spi::Error>>()
    })?)
}
