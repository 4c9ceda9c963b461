//! Directory queries in the network worker: takes them from shared memory, runs them on threads, and
//! returns the answers.
//!
//! Each query runs on a thread of its own, so that a slow one delays no other; processes with the same
//! query share one. The threads do not know which processes wait.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use entra_api::call::Question;
use entra_api::{DirectoryError, DirectorySettings, ErrorKind};
use once_cell::unsync::OnceCell;

use super::log::DirectoryLog;
use crate::background::network::Directory;
use crate::background::notifier::{Delivery, Notifier};
use crate::pg::latch::Process;
use crate::pg::worker;
use crate::shared::directory::groups::CachedMembership;
use crate::shared::directory::query::{Answer, Query};
use crate::shared::directory::scope::Scope;
use crate::shared::directory::table::{GRACE_PERIOD, PendingQuery, Ticket};
use crate::shared::shmem;
use crate::{clock, settings, statistics};

/// How many queries run at the same time.
const MAX_CONCURRENT: usize = 16;
/// How long a query with other settings stays pending. A backend that starts after a reload has the new
/// settings at once, and the worker a moment later.
const RELOAD_LAG: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

type Outcome = Result<Answer, DirectoryError>;

/// The running queries, and the directory that they are sent to.
pub struct Queries {
    directory: Option<(DirectorySettings, Scope)>,
    /// To the thread that owns the directory client; `None` until there is a query.
    jobs: Option<Sender<Job>>,
    running: Vec<Running>,
    log: DirectoryLog,
}

/// A query for a thread.
struct Job {
    query: Query,
    deadline: Instant,
    delivery: Delivery<Outcome>,
}

struct Running {
    query: Query,
    /// The last ticket when the query started. Later ones did not contribute to its deadline.
    newest: Ticket,
    deadline: Instant,
    asked_at: i64,
    generation: u64,
    outcome: Receiver<Outcome>,
}

impl Queries {
    pub fn new() -> Queries {
        let mut queries = Queries {
            directory: None,
            jobs: None,
            running: Vec::new(),
            log: DirectoryLog::default(),
        };
        queries.reload();
        queries
    }

    /// Adopts the current settings, and has their files read again.
    ///
    /// Queries that run with other settings are abandoned: their answers would come from another directory,
    /// or through a host that is no longer trusted. The processes still wait, and their queries run again
    /// if they have the new settings.
    pub fn reload(&mut self) {
        let settings = settings::directory();
        self.log.adopt(settings.is_some());
        let directory = settings
            .and_then(|settings| Scope::from_settings(&settings).map(|scope| (settings, scope)));
        if directory != self.directory {
            self.running.clear();
            // The cache may hold what the change of settings is meant to remove.
            if self.directory.is_some() {
                shmem::change_groups(|cache| cache.clear());
            }
            self.directory = directory;
        }
        // Its thread, and with it the old directory client, ends after the last answer.
        self.jobs = None;
    }

    /// Does what is due, and returns how long to sleep.
    pub fn step(&mut self, now: Instant, notifier: &Notifier) -> Duration {
        self.collect(now);
        let clock = clock::micros();
        let (open, newest) = shmem::queries(|table| (table.pending(clock), table.last_ticket()));
        let mut pause = MAX_PAUSE;
        for pending in &open {
            let is_ours = self
                .directory
                .as_ref()
                .is_some_and(|(_, scope)| pending.scope == *scope);
            if !is_ours {
                let left = RELOAD_LAG.saturating_sub(since(pending.asked_at, clock));
                match left.is_zero() {
                    true => answer(
                        &pending.scope,
                        &pending.query,
                        pending.ticket,
                        Answer::OtherSettings,
                    ),
                    false => pause = pause.min(left),
                }
                continue;
            }
            let is_running = |running: &Running| running.query == pending.query;
            if self.running.len() < MAX_CONCURRENT && !self.running.iter().any(is_running) {
                let due_at = latest(&open, pending);
                self.start(pending, newest, now + since(clock, due_at), notifier);
            }
        }
        for running in &self.running {
            let overdue = running.deadline + GRACE_PERIOD;
            pause = pause.min(overdue.saturating_duration_since(now));
        }
        pause
    }

    fn start(
        &mut self,
        pending: &PendingQuery,
        newest: Ticket,
        deadline: Instant,
        notifier: &Notifier,
    ) {
        let (delivery, outcome) = notifier.delivery();
        let running = Running {
            query: pending.query,
            newest,
            deadline,
            asked_at: clock::micros(),
            generation: shmem::groups(|cache| cache.generation()),
            outcome,
        };
        let job = Job {
            query: pending.query,
            deadline,
            delivery,
        };
        // If it cannot be sent, it is dropped, and the next step notices that.
        if let Some(jobs) = self.jobs() {
            let _ = jobs.send(job);
        }
        self.running.push(running);
    }

    /// The thread that owns the directory client; started if there is none.
    fn jobs(&mut self) -> Option<&Sender<Job>> {
        if self.jobs.is_none() {
            let (settings, _) = self.directory.clone()?;
            let (sender, jobs) = mpsc::channel();
            worker::spawn("aadauth-graph", move || serve(&settings, &jobs)).ok()?;
            self.jobs = Some(sender);
        }
        self.jobs.as_ref()
    }

    /// Collects what the threads have delivered.
    fn collect(&mut self, now: Instant) {
        let mut finished = Vec::new();
        self.running.retain(|running| {
            let outcome = match running.outcome.try_recv() {
                Ok(outcome) => outcome,
                Err(TryRecvError::Empty) if now < running.deadline + GRACE_PERIOD => return true,
                // It must not occupy its place any longer.
                Err(TryRecvError::Empty) => Err(DirectoryError {
                    kind: ErrorKind::TimedOut,
                    message: "the lookup thread did not end in time".to_owned(),
                }),
                Err(TryRecvError::Disconnected) => Err(DirectoryError {
                    kind: ErrorKind::Unreachable,
                    message: "the lookup thread could not start or ended early".to_owned(),
                }),
            };
            finished.push((running.query, running.provenance(), running.newest, outcome));
            false
        });
        for (query, provenance, newest, outcome) in finished {
            self.finish(now, &query, provenance, newest, outcome);
        }
    }

    /// Caches and distributes the outcome.
    fn finish(
        &mut self,
        now: Instant,
        query: &Query,
        provenance: (i64, u64),
        newest: Ticket,
        outcome: Outcome,
    ) {
        statistics::count_directory_call(outcome.as_ref().err().map(|error| error.kind));
        let Some((_, scope)) = &self.directory else {
            return;
        };
        if let (Query::Membership { member, group, .. }, Ok(Answer::Member(is_member))) =
            (query, &outcome)
            && !settings::group_cache_ttl().is_zero()
        {
            let (asked_at, generation) = provenance;
            let membership = CachedMembership {
                member: *member,
                group: *group,
                is_member: *is_member,
                asked_at,
                generation,
            };
            shmem::change_groups(|cache| cache.insert(scope, &membership));
        }
        let (_, generation) = provenance;
        let is_current = !settings::group_cache_ttl().is_zero()
            && shmem::groups(|cache| cache.generation() == generation);
        let (up_to, result) = match &outcome {
            // Later processes need a newer answer: the cache may have been invalidated since the query started.
            Ok(answer @ Answer::Member(_)) if !is_current => (newest, *answer),
            Ok(answer) => (Ticket::LAST, *answer),
            // Later processes have time left, so the query runs again for them.
            Err(error) if error.kind == ErrorKind::TimedOut => (newest, error.into()),
            Err(error) => (Ticket::LAST, error.into()),
        };
        answer(scope, query, up_to, result);
        self.log.record(now, failure(&outcome));
    }
}

impl Running {
    /// When the query started, and the generation of the cache at that time.
    fn provenance(&self) -> (i64, u64) {
        (self.asked_at, self.generation)
    }
}

/// Why the directory did not answer. Finding no such principal, or several, is an answer.
fn failure(outcome: &Outcome) -> Option<&DirectoryError> {
    let is_failure =
        |error: &&DirectoryError| !matches!(error.kind, ErrorKind::NotFound | ErrorKind::Ambiguous);
    outcome.as_ref().err().filter(is_failure)
}

fn answer(scope: &Scope, query: &Query, newest: Ticket, answer: Answer) {
    let askers = shmem::change_queries(|table| table.answer(scope, query, newest, answer));
    askers.into_iter().for_each(Process::wake);
}

/// When the last process with the same query stops waiting.
fn latest(open: &[PendingQuery], pending: &PendingQuery) -> i64 {
    open.iter()
        .filter(|open| open.query == pending.query && open.scope == pending.scope)
        .map(|open| open.due_at)
        .max()
        .unwrap_or(pending.due_at)
}

/// From one time in microseconds to a later one.
fn since(earlier: i64, later: i64) -> Duration {
    Duration::from_micros(later.saturating_sub(earlier).try_into().unwrap_or_default())
}

/// Runs each job on a thread of its own. This thread reads the files, and drops the HTTP client, which
/// waits for its own threads.
fn serve(settings: &DirectorySettings, jobs: &Receiver<Job>) {
    // Creating it can fail, and is tried again for the next job.
    let client = OnceCell::new();
    for job in jobs {
        let created = client.get_or_try_init(|| Directory::new(settings).map(Arc::new));
        let directory = match created {
            Ok(directory) => Arc::clone(directory),
            Err(error) => {
                job.delivery.send(Err(error));
                continue;
            }
        };
        let ask = move || {
            let outcome = lookup(&directory, &job.query, job.deadline);
            job.delivery.send(outcome);
        };
        // If no thread starts, the job is dropped, and the receiver notices that.
        let _ = thread::Builder::new()
            .name("aadauth-ask".to_owned())
            .spawn(ask);
    }
}

fn lookup(directory: &Directory, query: &Query, deadline: Instant) -> Outcome {
    let find = |question| {
        let found = directory.find(question, deadline);
        found.map(|principal| Answer::Found((&principal).into()))
    };
    match *query {
        Query::ByName(name) => find(Question::Name(name.as_str().to_owned())),
        Query::ByObjectId(object_id) => find(Question::ObjectId(object_id)),
        Query::ByAppId(app_id) => find(Question::AppId(app_id)),
        Query::Membership {
            kind,
            member,
            group,
        } => {
            let question = Question::Membership {
                kind,
                member,
                group,
            };
            directory.is_member(question, deadline).map(Answer::Member)
        }
        Query::Probe => directory.probe(deadline).map(|()| Answer::Ready),
    }
}
