//! The group sync worker: creates a role for each member of a mapped group ([`crate::group_sync`]).
//!
//! While group sync is off it waits on its latch, without a connection to the database. It ends when group
//! sync is turned off again or another database is configured, since a process can connect only once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use entra_api::DirectorySettings;
use uuid::Uuid;

use super::run::{Finished, Run, RunError};
use crate::background::database::{self, Problem};
use crate::background::schedule::Schedule;
use crate::pg::latch::Process;
use crate::pg::log::{self, Level};
use crate::pg::{exit, server, worker};
use crate::shared::group_sync::SyncState;
use crate::shared::shmem;
use crate::shared::workers::Worker;
use crate::{clock, group_sync, settings};

/// How long the worker sleeps at most.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// How soon it checks again whether its tables exist.
const RETRY: Duration = Duration::from_secs(10);

/// Runs until SIGTERM, or until group sync is turned off or another database is configured.
pub fn run() {
    exit::before_exit(|| shmem::change_sync(SyncState::restart));
    shmem::change_sync(SyncState::restart);
    shmem::worker(Worker::GroupSync).set_process(Process::own());
    let Some(setup) = wait_until_enabled() else {
        return;
    };
    database::connect(Worker::GroupSync, &setup.database);
    let now = Instant::now();
    let mut sync = Sync {
        setup,
        schedule: Schedule::new(settings::group_sync_interval(), now),
        is_ready: false,
        last_logged: None,
        logged_group_problems: HashMap::new(),
    };
    while !worker::stop_requested() {
        worker::reload_if_requested();
        if !sync.follow_settings(Instant::now()) {
            return;
        }
        let pause = sync.step();
        if !worker::stop_requested() && !worker::reload_requested() {
            worker::wait(pause, None);
        }
    }
}

/// The settings that group sync depends on.
#[derive(PartialEq, Eq)]
struct Setup {
    database: String,
    directory: DirectorySettings,
}

impl Setup {
    /// `None` while group sync is off or no directory is configured.
    fn current() -> Option<Setup> {
        if !settings::group_sync_is_enabled() {
            return None;
        }
        Some(Setup {
            database: settings::database(),
            directory: settings::directory()?,
        })
    }
}

/// `None` when the worker must end.
fn wait_until_enabled() -> Option<Setup> {
    while !worker::stop_requested() {
        worker::reload_if_requested();
        if Setup::current().is_none() {
            worker::wait(MAX_PAUSE, None);
            continue;
        }
        let detail = "Group memberships are not updated. The previous log line has the reason.";
        let (what, idle) = ("synchronize groups", || MAX_PAUSE);
        if !database::wait_to_connect(Worker::GroupSync, what, detail, idle) {
            return None;
        }
        // A reload ends the wait early.
        if let Some(setup) = Setup::current() {
            return Some(setup);
        }
    }
    None
}

struct Sync {
    setup: Setup,
    schedule: Schedule,
    /// The last check found that the worker may write to the database.
    is_ready: bool,
    /// The problem that was logged last; the same one is not logged again.
    last_logged: Option<Problem>,
    logged_group_problems: HashMap<Uuid, String>,
}

impl Sync {
    /// `false` when a new process must take over.
    fn follow_settings(&mut self, now: Instant) -> bool {
        let interval = settings::group_sync_interval();
        match Setup::current() {
            Some(setup) if setup == self.setup => self.schedule.set_interval(interval),
            Some(setup) if setup.database == self.setup.database => {
                self.setup = setup;
                self.schedule = Schedule::new(interval, now);
                self.logged_group_problems.clear();
            }
            _ => return false,
        }
        true
    }

    /// Does what is due, and returns how long to sleep.
    fn step(&mut self) -> Duration {
        let now = Instant::now();
        let has_request = shmem::sync(|state| state.has_request());
        if self.is_ready && !has_request && now < self.schedule.due() {
            // The interval may be another.
            let next_run = self.next_run(now);
            shmem::change_sync(|state| state.set_next_run(next_run));
            return self.pause(now);
        }
        // Requests made from now on are for the next run.
        let (up_to, last) = shmem::sync(|state| (state.last_request(), state.last_run()));
        let fit = database::check(&self.setup.database, &group_sync::TABLES);
        self.is_ready = fit.is_ok();
        if let Err(problem) = fit {
            change(|state| state.refuse(&problem.message));
            self.log_problem(problem);
            return RETRY;
        }
        change(|state| state.set_ready());
        let outcome = Run {
            settings: &self.setup.directory,
            last,
            must_stop: &mut || must_stop(&self.setup),
            last_logged: &mut self.logged_group_problems,
        }
        .perform(|number| shmem::change_sync(|state| state.begin(number)));
        let now = Instant::now();
        let problem = match outcome {
            // Pending requests wait for the run that begins with the new settings.
            Err(RunError::Interrupted) => return Duration::ZERO,
            Ok(Finished { has_failed: false }) => {
                self.schedule.succeeded(now);
                None
            }
            Ok(Finished { has_failed: true }) => {
                self.schedule.failed(now, random_byte());
                None
            }
            Err(RunError::Database(failure)) => {
                self.schedule.failed(now, random_byte());
                Some(Problem::from(failure))
            }
        };
        // With the answer, so that a session that waited for it finds in the view when the next run is due.
        let next_run = self.next_run(now);
        let message = problem.as_ref().map(|problem| problem.message.as_str());
        change(|state| {
            state.end(up_to, message);
            state.set_next_run(next_run);
        });
        match problem {
            Some(problem) => self.log_problem(problem),
            None => self.last_logged = None,
        }
        self.pause(now)
    }

    /// The time to wait for the next run.
    fn pause(&self, now: Instant) -> Duration {
        // A request made during the run has set a latch that was reset since.
        if shmem::sync(|state| state.has_request()) {
            return Duration::ZERO;
        }
        self.until_due(now).min(MAX_PAUSE)
    }

    /// When the next run is due, in microseconds since the Unix epoch.
    fn next_run(&self, now: Instant) -> i64 {
        clock::micros().saturating_add(clock::micros_in(self.until_due(now)))
    }

    fn until_due(&self, now: Instant) -> Duration {
        self.schedule.due().saturating_duration_since(now)
    }

    fn log_problem(&mut self, problem: Problem) {
        if self.last_logged.as_ref() != Some(&problem) {
            let message = format!("groups are not synchronized: {}", problem.message);
            log::line(Level::Warning, &message, None, problem.hint.as_deref());
        }
        self.last_logged = Some(problem);
    }
}

/// Changes what the sessions that requested a run wait for.
fn change(change: impl FnOnce(&mut SyncState)) {
    shmem::change_sync(change);
    shmem::worker(Worker::GroupSync).notify();
}

fn random_byte() -> u8 {
    server::random().map_or(0, |[byte]| byte)
}

/// Whether a run with that setup must stop: at a shutdown, or when its settings have changed. A reload that
/// changes other settings does not stop it.
fn must_stop(setup: &Setup) -> bool {
    worker::stop_requested()
        || worker::reload_if_requested() && Setup::current().as_ref() != Some(setup)
}
