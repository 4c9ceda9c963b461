//! The session worker: revokes and restores principals for the sessions that request it, loads the list of revoked
//! principals, and ends sessions whose principal is revoked or whose token has expired ([`crate::sessions`]). It also
//! logs how many log lines of refused sign-ins were left out.
//!
//! It runs on hot standbys as well. A list that was loaded once stays in force even if its database becomes
//! unavailable, so that a revoked principal never gets in.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{marker, revoked_principals as table};
use crate::audit::log_limit;
use crate::background::database::{self, Problem};
use crate::clock;
use crate::pg::log::{self, Level};
use crate::pg::{server, worker};
use crate::sessions;
use crate::settings::{self, SessionExpiry};
use crate::shared::bytes::Bytes;
use crate::shared::problem::ProblemKind;
use crate::shared::sessions::requests::{Answer, Request, Requests, Ticket};
use crate::shared::sessions::revocations::{CAPACITY, Revocation, RevocationList, TooMany};
use crate::shared::shmem;
use crate::shared::workers::Worker;

/// How often the table is read: a restored dump may have changed it.
const READ_INTERVAL: Duration = Duration::from_secs(10);
/// How often a standby, which learns of revocations only by replication, checks whether anything has been
/// replayed. If not, the table is not read.
const STANDBY_INTERVAL: Duration = Duration::from_millis(500);
/// How soon a failed read is repeated.
const RETRY: Duration = Duration::from_secs(1);
/// How many requests are carried out before other work is looked at.
const AT_ONCE: usize = 8;
/// How often the tokens' expiry is checked.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until SIGTERM, or until another database is configured.
pub fn run() {
    let detail = "Until the list has been read once, Entra sign-ins are denied; after that, the last list remains \
                  in force. The previous log line has the reason.";
    let meanwhile = || expire().min(log_limit::report());
    let opened = database::open(Worker::Session, "read the revocations", detail, meanwhile);
    let Some(database) = opened else { return };
    shmem::change_requests(Requests::restart);
    let mut watch = Watch {
        database,
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
        // Last: nothing that may wait, and so lose a wake-up, comes between these two and the wait.
        if watch.carry_out_requests() == AT_ONCE {
            continue;
        }
        let pause = pause.min(log_limit::report());
        if !worker::stop_requested() && !worker::reload_requested() {
            worker::wait(pause, None);
        }
    }
    log_limit::report_all();
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
    /// A standby's replay position when the table was last read.
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
        let position = server::is_in_recovery().then(server::replay_position);
        let now = Instant::now();
        if position != self.position || now >= self.due {
            let entry = shmem::worker(Worker::Session);
            let had_problem = entry.problem().is_some();
            let outcome = self.load();
            entry.set_problem(outcome.as_ref().err().map(|problem| problem.kind));
            match outcome {
                Ok(()) => {
                    self.position = position;
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
                    self.due = now;
                    return RETRY;
                }
            }
        }
        if position.is_some() {
            return STANDBY_INTERVAL;
        }
        self.due.saturating_duration_since(Instant::now())
    }

    /// Carries out what sessions have requested, [`AT_ONCE`] at most, and returns how many.
    fn carry_out_requests(&self) -> usize {
        for count in 0..AT_ONCE {
            let Some((ticket, request)) = shmem::change_requests(Requests::take) else {
                return count;
            };
            let answer = self.carry_out(ticket, &request);
            shmem::change_requests(|requests| {
                requests.answer(ticket, answer);
                // The others would wait for the same lock, one after the other.
                if let Answer::Failed {
                    is_locked: true, ..
                } = answer
                {
                    requests.answer_pending(answer);
                }
            });
            shmem::worker(Worker::Session).notify();
        }
        AT_ONCE
    }

    fn carry_out(&self, ticket: Ticket, request: &Request) -> Answer {
        let outcome = table::transaction(&self.database, || {
            let change = match table::change(request)? {
                Ok(change) => change,
                Err(answer) => return Ok(Err(answer)),
            };
            let revocations = table::read()?;
            if revocations.len() > CAPACITY {
                return Err(worker::Failure::other(TOO_MANY));
            }
            // From here on, the session waits until it knows the outcome.
            if shmem::change_requests(|requests| requests.commit(ticket)) {
                Ok(Ok((change, revocations)))
            } else {
                // Rolled back; the answer is nobody's.
                Err(worker::Failure::other("the session no longer waits"))
            }
        });
        let outcome = match outcome {
            Ok(Ok((change, revocations))) => in_force(revocations).map(|()| change),
            Ok(Err(answer)) => return answer,
            Err(problem) => Err(problem),
        };
        match outcome {
            Ok(change) => {
                let message = format!(
                    "Microsoft Entra ID principal {change}: oid={} by=\"{}\"",
                    request.object_id,
                    request.by.as_str()
                );
                log::line(Level::Log, &message, None, None);
                // If it fails, the next reading tries again and says why.
                let _ = note_revocations();
                let sessions = count_sessions(request.object_id);
                sessions::end_revoked();
                Answer::Done { sessions }
            }
            Err(problem) => Answer::Failed {
                is_locked: problem.kind == ProblemKind::Locked,
                message: Bytes::cut(&problem.message),
                hint: Bytes::cut(problem.hint.as_deref().unwrap_or_default()),
            },
        }
    }

    /// Puts the list into shared memory, and then ends the sessions of the principals on it.
    fn load(&self) -> Result<(), Problem> {
        let revocations = match table::transaction(&self.database, table::read) {
            Ok(revocations) => revocations,
            // Without a table, nobody has been revoked, unless there was one before.
            Err(problem) if problem.kind == ProblemKind::NoExtension => {
                let had_some = shmem::revocations(|list| list.is_loaded() && !list.is_empty());
                if had_some || marker::is_set() {
                    return Err(problem);
                }
                Vec::new()
            }
            Err(problem) => return Err(problem),
        };
        in_force(revocations)?;
        shmem::worker(Worker::Session).notify();
        sessions::end_revoked();
        note_revocations()
    }

    fn log_problem(&mut self, problem: Problem) {
        if self.last_logged.as_ref() != Some(&problem) {
            let message = format!("revocations are not read: {}", problem.message);
            let detail = if shmem::revocations(RevocationList::is_loaded) {
                "The last list remains in force."
            } else {
                "Until the list has been read once, Entra sign-ins are denied."
            };
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

const TOO_MANY: &str = "there are more revocations than the server can keep in memory; delete rows that are no longer needed from aadauth.revoked_principals";

fn in_force(revocations: Vec<Revocation>) -> Result<(), Problem> {
    shmem::change_revocations(|list| list.load(revocations))
        .map_err(|TooMany| worker::Failure::other(TOO_MANY).into())
}

/// For the next start of the server.
fn note_revocations() -> Result<(), Problem> {
    let has_some = shmem::revocations(|list| !list.is_empty());
    let failed =
        |error| format!("could not note in the data directory that there are revocations: {error}");
    marker::set(has_some).map_err(|error| worker::Failure::other(&failed(error)).into())
}

/// How many sessions the revocation of this principal ends.
fn count_sessions(object_id: Uuid) -> u32 {
    let now = clock::micros();
    if !shmem::revocations(|list| list.contains(object_id, now)) {
        return 0;
    }
    let count = shmem::sessions(|places| {
        let sessions = places.iter().filter_map(|place| place.0);
        sessions
            .filter(|session| session.ids.contain(object_id))
            .count()
    });
    count.try_into().unwrap_or(u32::MAX)
}
