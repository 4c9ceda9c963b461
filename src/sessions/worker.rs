//! The session worker: loads the list of revoked principals, and ends sessions whose principal is
//! revoked or whose token has expired ([`crate::sessions`]).
//!
//! It runs on hot standbys as well. A list that was loaded once stays in force, whatever becomes of the
//! database that it came from: what must not happen is that somebody who is shut out gets in.

use std::time::{Duration, Instant};

use pgrx::prelude::*;
use uuid::Uuid;

use crate::background::database::{self, Problem};
use crate::pg::latch::Process;
use crate::pg::log::{self, Level};
use crate::pg::{exit, server, worker};
use crate::sessions;
use crate::settings::{self, SessionExpiry};
use crate::shared::problem::ProblemKind;
use crate::shared::sessions::revocations::{MOST, Revocation, RevocationList, TooMany};
use crate::shared::shmem::{self, ConnectFailures};

/// Between two looks at the table when nobody has called our functions: for what a restored dump or a
/// prepared transaction has brought.
const IDLE: Duration = Duration::from_secs(10);
/// The same on a standby, which learns of a revocation by replication alone. Nothing is looked at while
/// nothing is replayed.
const STANDBY_IDLE: Duration = Duration::from_millis(500);
/// The same after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Between two looks at the tokens' times.
const EXPIRY: Duration = Duration::from_secs(1);
/// Runs until SIGTERM, or until another database is configured.
pub fn run() {
    let failures = ConnectFailures::OF_SESSIONS;
    let detail = "Until they have been read once, Entra sign-ins are refused; then the list that was read last stays \
                  in force. The reason is in the log line before.";
    if !database::wait_to_connect(&failures, "read the revocations", detail, expire) {
        return;
    }
    let database = settings::database();
    database::connect(&database, &failures);
    exit::before_exit(|| shmem::set_session_worker(None));
    shmem::set_session_worker(Process::own());
    let mut watch = Watch {
        database,
        changes: None,
        position: None,
        due: Instant::now(),
        said: None,
    };
    while !worker::stop_requested() {
        if worker::reload_if_requested() && settings::database() != watch.database {
            return;
        }
        let pause = watch.step().min(expire());
        if !worker::stop_requested() && !worker::reload_requested() {
            worker::wait(pause, None);
        }
    }
}

/// Ends the sessions whose tokens have expired, where they are to end, and returns when to look again.
fn expire() -> Duration {
    match settings::session_expiry() {
        SessionExpiry::Off => IDLE,
        SessionExpiry::Token => {
            sessions::end_expired();
            EXPIRY
        }
    }
}

struct Watch {
    database: String,
    /// How often our functions had changed the table when it was last read.
    changes: Option<u64>,
    /// How far a standby had replayed then.
    position: Option<u64>,
    /// When it is read again in any case.
    due: Instant,
    /// The problem that is in the log; the same one is not written again.
    said: Option<Problem>,
}

impl Watch {
    /// Reads the list if it may have changed, and returns when to look again.
    fn step(&mut self) -> Duration {
        // Before the table: what is changed after these is for the next time.
        let changes = Some(shmem::revocation_changes());
        let position = server::is_in_recovery().then(server::replay_position);
        let now = Instant::now();
        if changes != self.changes || position != self.position || now >= self.due {
            let had_problem = shmem::session_problem().is_some();
            let outcome = self.load();
            shmem::set_session_problem(outcome.as_ref().err().map(|problem| problem.kind));
            match outcome {
                Ok(()) => {
                    (self.changes, self.position) = (changes, position);
                    self.due = now + IDLE;
                    self.said = None;
                    // Of this process, or of one before, with another database.
                    if had_problem {
                        let message =
                            format!("revocations are read from database \"{}\"", self.database);
                        log::line(Level::Log, &message, None, None);
                    }
                }
                Err(problem) => {
                    self.say(problem);
                    self.changes = None;
                    return RETRY;
                }
            }
        }
        if position.is_some() {
            return STANDBY_IDLE;
        }
        self.due.saturating_duration_since(Instant::now())
    }

    /// Puts the list into shared memory, and then ends the sessions of those who are on it.
    fn load(&self) -> Result<(), Problem> {
        let revocations = match worker::transaction(|| {
            Ok(
                match database::fitness(&self.database, &sessions::TABLES)? {
                    Ok(()) => Ok(read()?),
                    Err(problem) => Err(problem),
                },
            )
        })? {
            Ok(revocations) => revocations,
            // Where there is no table, nobody has been revoked; unless there was one before.
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
            message: format!("there are more than {MOST} of them"),
            hint: Some("Remove those from aadauth.revoked_principals that are of no use any more."),
        })?;
        sessions::end_revoked();
        Ok(())
    }

    fn say(&mut self, problem: Problem) {
        if self.said.as_ref() != Some(&problem) {
            let message = format!("revocations are not read: {}", problem.message);
            let detail = if shmem::revocations(RevocationList::is_loaded) {
                "The list that was read last stays in force."
            } else {
                "Until they have been read once, Entra sign-ins are refused."
            };
            log::line(Level::Warning, &message, Some(detail), problem.hint);
        }
        self.said = Some(problem);
    }
}

/// The revocations in force. What is for longer than anybody lives is for ever.
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
