//! Questions to the directory: takes them from shared memory, has them asked on threads, and brings the
//! answers back.
//!
//! Each question runs on a thread of its own, so that a slow one holds up no other; those who ask the
//! same share one. The threads know nothing of who asked.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use entra_api::{DirectoryError, DirectorySettings, ErrorKind};
use entra_client::Directory;

use super::log::DirectoryLog;
use crate::background::notifier::{Delivery, Doorbell};
use crate::pg::latch::Process;
use crate::pg::worker;
use crate::shared::directory::groups::Learnt;
use crate::shared::directory::question::{Answer, Question};
use crate::shared::directory::scope::Scope;
use crate::shared::directory::table::{GRACE, Open, Ticket};
use crate::shared::shmem;
use crate::{clock, settings, statistics};

/// How many questions are under way at the same time.
const AT_ONCE: usize = 16;
/// How long a question of other settings is left alone. A backend that was started after a reload has the
/// new ones at once, and the worker a moment later.
const RELOAD_LAG: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

type Outcome = Result<Answer, DirectoryError>;

/// The questions under way, and the directory that they are put to.
pub struct Questions {
    directory: Option<(DirectorySettings, Scope)>,
    /// To the thread that has the directory; `None` until there is something to ask.
    jobs: Option<Sender<Job>>,
    running: Vec<Running>,
    log: DirectoryLog,
}

/// A question for a thread.
struct Job {
    question: Question,
    deadline: Instant,
    delivery: Delivery<Outcome>,
}

struct Running {
    question: Question,
    /// Who has asked later than this had no part in how long it was given.
    newest: Ticket,
    deadline: Instant,
    asked_at: i64,
    generation: u64,
    outcome: Receiver<Outcome>,
}

impl Questions {
    pub fn new() -> Questions {
        let mut questions = Questions {
            directory: None,
            jobs: None,
            running: Vec::new(),
            log: DirectoryLog::default(),
        };
        questions.reload();
        questions
    }

    /// Adopts the settings as they are now, and has their files read again.
    ///
    /// What is under way in other settings is not waited for: it would answer for another directory, or
    /// by way of somebody who is trusted no longer. Who asked still waits, and it is asked again where
    /// the new settings are theirs.
    pub fn reload(&mut self) {
        let settings = settings::directory();
        self.log.adopt(settings.is_some());
        let directory =
            settings.and_then(|settings| Scope::of(&settings).map(|scope| (settings, scope)));
        if directory != self.directory {
            self.running.clear();
            // What was learnt by another way may be what the change is to get rid of.
            if self.directory.is_some() {
                shmem::change_groups(|cache| cache.clear());
            }
            self.directory = directory;
        }
        // Its thread ends, and with it the old directory, when the last answer is there.
        self.jobs = None;
    }

    /// Does what is to be done now, and returns how long there is nothing to do.
    pub fn step(&mut self, now: Instant, doorbell: &Doorbell) -> Duration {
        self.collect(now);
        let clock = clock::micros();
        let (open, newest) = shmem::questions(|table| (table.open(clock), table.last_ticket()));
        let mut pause = LONGEST_PAUSE;
        for question in &open {
            let is_ours = self
                .directory
                .as_ref()
                .is_some_and(|(_, scope)| question.scope == *scope);
            if !is_ours {
                let left = RELOAD_LAG.saturating_sub(since(question.asked_at, clock));
                match left.is_zero() {
                    true => answer(
                        &question.scope,
                        &question.question,
                        question.ticket,
                        Answer::OtherSettings,
                    ),
                    false => pause = pause.min(left),
                }
                continue;
            }
            let is_running = |running: &Running| running.question == question.question;
            if self.running.len() < AT_ONCE && !self.running.iter().any(is_running) {
                let due_at = latest(&open, question);
                self.start(question, newest, now + since(clock, due_at), doorbell);
            }
        }
        for running in &self.running {
            let overdue = running.deadline + GRACE;
            pause = pause.min(overdue.saturating_duration_since(now));
        }
        pause
    }

    fn start(&mut self, open: &Open, newest: Ticket, deadline: Instant, doorbell: &Doorbell) {
        let (delivery, outcome) = doorbell.delivery();
        let running = Running {
            question: open.question,
            newest,
            deadline,
            asked_at: clock::micros(),
            generation: shmem::groups(|cache| cache.generation()),
            outcome,
        };
        let job = Job {
            question: open.question,
            deadline,
            delivery,
        };
        // Where it can't be handed over, it is dropped, and the next step finds that out.
        if let Some(jobs) = self.jobs() {
            let _ = jobs.send(job);
        }
        self.running.push(running);
    }

    /// The thread that has the directory; started where there is none.
    fn jobs(&mut self) -> Option<&Sender<Job>> {
        if self.jobs.is_none() {
            let (settings, _) = self.directory.clone()?;
            let (sender, jobs) = mpsc::channel();
            worker::spawn("aadauth-graph", move || serve(&settings, &jobs)).ok()?;
            self.jobs = Some(sender);
        }
        self.jobs.as_ref()
    }

    /// Takes over what the threads have brought.
    fn collect(&mut self, now: Instant) {
        let mut finished = Vec::new();
        self.running.retain(|running| {
            let outcome = match running.outcome.try_recv() {
                Ok(outcome) => outcome,
                Err(TryRecvError::Empty) if now < running.deadline + GRACE => return true,
                // It must not keep its place.
                Err(TryRecvError::Empty) => Err(DirectoryError {
                    kind: ErrorKind::TimedOut,
                    message: "the thread that asked did not keep to its time".to_owned(),
                }),
                Err(TryRecvError::Disconnected) => Err(DirectoryError {
                    kind: ErrorKind::Unreachable,
                    message: "the thread that asked could not start or ended early".to_owned(),
                }),
            };
            finished.push((running.question, running.learnt(), running.newest, outcome));
            false
        });
        for (question, learnt, newest, outcome) in finished {
            self.conclude(now, &question, learnt, newest, outcome);
        }
    }

    /// Keeps and hands out what the directory said.
    fn conclude(
        &mut self,
        now: Instant,
        question: &Question,
        learnt: (i64, u64),
        newest: Ticket,
        outcome: Outcome,
    ) {
        statistics::count_directory_call(outcome.as_ref().err().map(|error| error.kind));
        let Some((_, scope)) = &self.directory else {
            return;
        };
        if let (Question::Membership { member, group, .. }, Ok(Answer::Member(is_member))) =
            (question, &outcome)
            && !settings::group_cache_ttl().is_zero()
        {
            let (asked_at, generation) = learnt;
            let learnt = Learnt {
                member: *member,
                group: *group,
                is_member: *is_member,
                asked_at,
                generation,
            };
            shmem::change_groups(|cache| cache.keep(scope, &learnt));
        }
        let (_, generation) = learnt;
        let is_current = !settings::group_cache_ttl().is_zero()
            && shmem::groups(|cache| cache.generation() == generation);
        let (up_to, said) = match &outcome {
            // Who came later wants to know what is so now: a group may have been forgotten since it was asked.
            Ok(said @ Answer::Member(_)) if !is_current => (newest, *said),
            Ok(said) => (Ticket::LAST, *said),
            // Who came later has time left, and it is asked again for them.
            Err(error) if error.kind == ErrorKind::TimedOut => (newest, error.into()),
            Err(error) => (Ticket::LAST, error.into()),
        };
        answer(scope, question, up_to, said);
        self.log.note(now, failure(&outcome));
    }
}

impl Running {
    /// Since when, and in which generation of the cache, what it brings is known.
    fn learnt(&self) -> (i64, u64) {
        (self.asked_at, self.generation)
    }
}

/// Why the directory did not answer. That it knows no such principal, or several, is an answer.
fn failure(outcome: &Outcome) -> Option<&DirectoryError> {
    let is_failure =
        |error: &&DirectoryError| !matches!(error.kind, ErrorKind::NotFound | ErrorKind::Ambiguous);
    outcome.as_ref().err().filter(is_failure)
}

fn answer(scope: &Scope, question: &Question, newest: Ticket, answer: Answer) {
    let askers = shmem::change_questions(|table| table.answer(scope, question, newest, answer));
    askers.into_iter().for_each(Process::wake);
}

/// When the last of those who ask the same stops waiting.
fn latest(open: &[Open], question: &Open) -> i64 {
    open.iter()
        .filter(|open| open.question == question.question && open.scope == question.scope)
        .map(|open| open.due_at)
        .max()
        .unwrap_or(question.due_at)
}

/// From one time in microseconds to a later one.
fn since(earlier: i64, later: i64) -> Duration {
    Duration::from_micros(later.saturating_sub(earlier).try_into().unwrap_or_default())
}

/// Puts each job to the directory, on a thread of its own. Files are read here, and the HTTP client ends
/// here, which waits for its own threads.
fn serve(settings: &DirectorySettings, jobs: &Receiver<Job>) {
    let mut directory: Option<Arc<Directory>> = None;
    for job in jobs {
        let directory = match &directory {
            Some(directory) => Arc::clone(directory),
            None => match Directory::new(settings.clone()) {
                Ok(new) => Arc::clone(directory.insert(Arc::new(new))),
                Err(error) => {
                    job.delivery.send(Err(error));
                    continue;
                }
            },
        };
        let ask = move || {
            let outcome = put(&directory, &job.question, job.deadline);
            job.delivery.send(outcome);
        };
        // Without a thread the job is dropped, which is noticed.
        let _ = thread::Builder::new()
            .name("aadauth-ask".to_owned())
            .spawn(ask);
    }
}

fn put(directory: &Directory, question: &Question, deadline: Instant) -> Outcome {
    match question {
        Question::ByName(name) => directory
            .find_by_name(name.as_str(), deadline)
            .map(|principal| Answer::Found((&principal).into())),
        Question::ByObjectId(object_id) => directory
            .find_by_object_id(*object_id, deadline)
            .map(|principal| Answer::Found((&principal).into())),
        Question::ByAppId(app_id) => directory
            .find_by_app_id(*app_id, deadline)
            .map(|principal| Answer::Found((&principal).into())),
        Question::Membership {
            kind,
            member,
            group,
        } => directory
            .is_member(*kind, *member, *group, deadline)
            .map(Answer::Member),
        Question::Probe => directory.probe(deadline).map(|()| Answer::Ready),
    }
}
