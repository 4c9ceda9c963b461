//! The group sync worker: gives each member of a mapped group a role of their own ([`crate::group_sync`]).
//!
//! While group sync is off it sits at its latch, without a connection to the database. It ends when that
//! changes back, and when another database is configured: a process connects once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use entra_api::DirectorySettings;
use uuid::Uuid;

use super::run::{Broken, Finished, Run};
use crate::background::database::{self, Problem};
use crate::background::schedule::Schedule;
use crate::pg::latch::Process;
use crate::pg::log::{self, Level};
use crate::pg::{exit, server, worker};
use crate::shared::shmem::{self, ConnectFailures};
use crate::{clock, group_sync, settings};

/// How long the worker sleeps at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How soon it looks again whether its tables are there.
const RETRY: Duration = Duration::from_secs(10);

/// Runs until SIGTERM, or until group sync is turned off or to be done in another database.
pub fn run() {
    exit::before_exit(|| shmem::change_sync(|state| state.leave()));
    shmem::change_sync(|state| state.attend(Process::own()));
    let Some(setup) = wait_until_wanted() else {
        return;
    };
    database::connect(&setup.database, &ConnectFailures::OF_GROUP_SYNC);
    let now = Instant::now();
    let mut sync = Sync {
        setup,
        schedule: Schedule::new(settings::group_sync_interval(), now),
        is_ready: false,
        said: None,
        said_of_groups: HashMap::new(),
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

/// What group sync depends on.
#[derive(PartialEq, Eq)]
struct Setup {
    database: String,
    directory: DirectorySettings,
}

impl Setup {
    /// `None` while group sync is off or there is no directory.
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

/// `None` when the worker is to end.
fn wait_until_wanted() -> Option<Setup> {
    while !worker::stop_requested() {
        worker::reload_if_requested();
        if Setup::current().is_none() {
            worker::wait(LONGEST_PAUSE, None);
            continue;
        }
        let detail =
            "Nobody gets a group role, and nobody loses one. The reason is in the log line before.";
        let failures = ConnectFailures::OF_GROUP_SYNC;
        let (what, idle) = ("synchronise groups", || LONGEST_PAUSE);
        if !database::wait_to_connect(&failures, what, detail, idle) {
            return None;
        }
        // The wait ends early by a reload.
        if let Some(setup) = Setup::current() {
            return Some(setup);
        }
    }
    None
}

struct Sync {
    setup: Setup,
    schedule: Schedule,
    /// The database was fit to be written to when it was looked at last.
    is_ready: bool,
    /// The problem that is in the log; the same one is not written again.
    said: Option<Problem>,
    said_of_groups: HashMap<Uuid, String>,
}

impl Sync {
    /// `false` when another process has to go on.
    fn follow_settings(&mut self, now: Instant) -> bool {
        let interval = settings::group_sync_interval();
        match Setup::current() {
            Some(setup) if setup == self.setup => self.schedule.set_interval(interval),
            Some(setup) if setup.database == self.setup.database => {
                self.setup = setup;
                self.schedule = Schedule::new(interval, now);
                self.said_of_groups.clear();
            }
            _ => return false,
        }
        true
    }

    /// Does what is to be done now, and returns how long there is nothing to do.
    fn step(&mut self) -> Duration {
        let now = Instant::now();
        let is_asked = shmem::sync(|state| state.is_asked());
        if self.is_ready && !is_asked && now < self.schedule.due() {
            return self.pause(now);
        }
        // Requests that come from now on are for the next run.
        let (answers, last) = shmem::sync(|state| (state.asked(), state.last_run()));
        let fit = database::check(&self.setup.database, &group_sync::TABLES);
        self.is_ready = fit.is_ok();
        shmem::change_sync(|state| state.set_ready(fit.is_ok()));
        if let Err(problem) = fit {
            shmem::change_sync(|state| state.end(answers, Some(&problem.message)));
            self.say(problem);
            return RETRY;
        }
        let outcome = Run {
            settings: &self.setup.directory,
            last,
            is_over: &mut || is_over(&self.setup),
            said: &mut self.said_of_groups,
        }
        .perform(|number| shmem::change_sync(|state| state.begin(number)));
        let now = Instant::now();
        match outcome {
            // Whoever waits, waits for the run that begins with the new settings.
            Err(Broken::Interrupted) => return Duration::ZERO,
            Ok(Finished { has_failed: false }) => {
                self.said = None;
                self.schedule.succeeded(now);
                shmem::change_sync(|state| state.end(answers, None));
            }
            Ok(Finished { has_failed: true }) => {
                self.said = None;
                self.schedule.failed(now, chance());
                shmem::change_sync(|state| state.end(answers, None));
            }
            Err(Broken::Database(failure)) => {
                self.schedule.failed(now, chance());
                shmem::change_sync(|state| state.end(answers, Some(&failure.message)));
                self.say(failure.into());
            }
        }
        self.pause(now)
    }

    /// Until the next run, of which the view is told.
    fn pause(&self, now: Instant) -> Duration {
        let pause = self.schedule.due().saturating_duration_since(now);
        let micros = i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
        let next_run = clock::micros().saturating_add(micros);
        let is_asked = shmem::change_sync(|state| {
            state.plan(next_run);
            state.is_asked()
        });
        // Who asked while a run was under way has woken a worker that was awake.
        if is_asked {
            return Duration::ZERO;
        }
        pause.min(LONGEST_PAUSE)
    }

    fn say(&mut self, problem: Problem) {
        if self.said.as_ref() != Some(&problem) {
            let message = format!("groups are not synchronised: {}", problem.message);
            log::line(Level::Warning, &message, None, problem.hint);
        }
        self.said = Some(problem);
    }
}

fn chance() -> u8 {
    server::random().map_or(0, |[first, ..]| first)
}

/// Whether a run with that setup is to end: at a shutdown, and when the settings are others. A reload
/// that changes nothing else leaves it alone.
fn is_over(setup: &Setup) -> bool {
    worker::stop_requested()
        || worker::reload_if_requested() && Setup::current().as_ref() != Some(setup)
}
