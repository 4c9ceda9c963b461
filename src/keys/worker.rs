//! The network worker's part for signing keys: fetches them by schedule and on request, or reads them from a
//! file, and publishes them in shared memory.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use entra_api::HttpSettings;
use entra_token::{KeySet, TokenVersion};

use super::age::AgeWarning;
use super::jwks_file::KeyFile;
use super::store;
use crate::background::network::{self, Fetched};
use crate::background::notifier::Notifier;
use crate::background::schedule::Schedule;
use crate::pg::log::{self, Level};
use crate::pg::{server, worker};
use crate::shared::keys::scope::Scope;
use crate::shared::keys::stored::{Source, SourcedSet};
use crate::shared::keys::table::ClockCheck;
use crate::shared::shmem;
use crate::shared::workers::Worker;
use crate::{clock, keys, settings};

/// How often the key file is checked for changes.
const FILE_POLL: Duration = Duration::from_secs(2);
/// The longest pause between steps, so that the age of keys is checked.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The settings that a fetch depends on.
#[derive(PartialEq, Eq)]
struct Setup {
    scope: Option<Scope>,
    http: HttpSettings,
    jwks_file: Option<PathBuf>,
}

/// A fetch in progress.
struct Fetching {
    scope: Scope,
    /// The last request for new keys when it began.
    request: u64,
    results: Receiver<Fetched>,
}

/// The state of the signing keys in the worker.
pub struct SigningKeys {
    setup: Setup,
    schedule: Schedule,
    fetching: Option<Fetching>,
    file: Option<KeyFile>,
    /// The last logged outcome; the same one is not logged again.
    last_logged: String,
    store_problem: Option<String>,
    age: AgeWarning,
}

impl SigningKeys {
    /// Loads the keys on disk if there are no others.
    pub fn new(now: Instant) -> SigningKeys {
        let setup = Setup::current();
        adopt(&setup);
        SigningKeys {
            schedule: Schedule::new(settings::signing_key_refresh_interval(), now),
            file: setup.jwks_file.clone().map(KeyFile::new),
            setup,
            fetching: None,
            last_logged: String::new(),
            store_problem: None,
            age: AgeWarning::default(),
        }
    }

    /// Adopts the settings as they are now.
    pub fn reload(&mut self, now: Instant) {
        let interval = settings::signing_key_refresh_interval();
        let setup = Setup::current();
        // Read again even if it seems unchanged.
        self.file = setup.jwks_file.clone().map(KeyFile::new);
        if setup == self.setup {
            self.schedule.set_interval(interval);
            self.schedule.retry_now(now);
            return;
        }
        adopt(&setup);
        self.setup = setup;
        self.schedule = Schedule::new(interval, now);
        // The thread's result is not needed any more; it ends by its own timeouts.
        self.fetching = None;
        self.last_logged.clear();
    }

    /// Does what is due, and returns how long to wait before the next step.
    pub fn step(&mut self, now: Instant, notifier: &Notifier) -> Duration {
        self.collect(now);
        let request = shmem::keys(|table| table.open_request());
        let Some(scope) = self.setup.scope.clone() else {
            if let Some(request) = request {
                finish(request, Some("no tenant is configured"));
            }
            self.log(
                Level::Log,
                "no tenant is configured, so no signing keys are fetched",
                "Entra sign-ins are refused.",
                Some("Set aadauth.tenant_id and reload the configuration."),
            );
            return MAX_PAUSE;
        };
        self.age.check(now, &scope);
        if let Some(file) = &mut self.file {
            if request.is_some() || file.has_changed() {
                self.read_file(&scope);
            }
            return FILE_POLL;
        }
        if self.fetching.is_none() && (request.is_some() || self.schedule.due() <= now) {
            self.fetch(now, scope, notifier);
        }
        match self.fetching {
            Some(_) => MAX_PAUSE,
            None => self
                .schedule
                .due()
                .saturating_duration_since(now)
                .min(MAX_PAUSE),
        }
    }

    fn fetch(&mut self, now: Instant, scope: Scope, notifier: &Notifier) {
        let request = shmem::change_keys(|table| table.begin());
        match start(&scope, self.setup.http.clone(), notifier) {
            Ok(results) => {
                self.fetching = Some(Fetching {
                    scope,
                    request,
                    results,
                });
            }
            Err(error) => {
                let message = format!("the thread that fetches them cannot start: {error}");
                self.finish_fetch(
                    now,
                    &scope,
                    request,
                    Fetched::nothing(
                        message,
                        "Raise the limits of threads and memory of the server's account.",
                    ),
                );
            }
        }
    }

    /// Processes the thread's result if it has arrived.
    fn collect(&mut self, now: Instant) {
        let Some(fetching) = self.fetching.take() else {
            return;
        };
        let results = match fetching.results.try_recv() {
            Ok(results) => results,
            Err(TryRecvError::Empty) => {
                self.fetching = Some(fetching);
                return;
            }
            Err(TryRecvError::Disconnected) => {
                Fetched::nothing("their fetch has failed", "The server log says where.")
            }
        };
        self.finish_fetch(now, &fetching.scope, fetching.request, results);
    }

    /// Publishes what was fetched, and logs the outcome.
    fn finish_fetch(&mut self, now: Instant, scope: &Scope, request: u64, results: Fetched) {
        let mut sets = Vec::new();
        let mut problem = None;
        for result in results.sets {
            match result {
                Ok(set) => sets.push(fetched(set, Source::Network)),
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        if !sets.is_empty() {
            publish(scope, &sets);
            self.save(scope);
        }
        // After the keys: publishing clears what is known of another authority.
        if let Some(time) = results.clock {
            let check = ClockCheck::new(time.received, time.date);
            shmem::change_keys(|table| table.set_clock(check));
        }
        match &problem {
            None => self.schedule.succeeded(now),
            Some(_) => {
                let jitter = server::random().map_or(0, |[byte]| byte);
                self.schedule.failed(now, jitter);
            }
        }
        finish(
            request,
            problem.as_ref().map(|problem| problem.message.as_str()),
        );
        match problem {
            None => {
                let message = format!("fetched signing keys from {}", scope.authority.login());
                self.log(Level::Log, &message, &list(&sets), None);
            }
            Some(error) => {
                let level = if error.is_ours {
                    Level::Warning
                } else {
                    Level::Log
                };
                let message = format!("could not fetch signing keys: {}", error.message);
                self.log(level, &message, consequence(), Some(&error.hint));
            }
        }
    }

    fn read_file(&mut self, scope: &Scope) {
        let Some(file) = &mut self.file else { return };
        let request = shmem::change_keys(|table| table.begin());
        let path = file.path().display().to_string();
        match file.read(scope) {
            Ok(sets) => {
                let sets: Vec<_> = sets
                    .into_iter()
                    .map(|set| fetched(set, Source::File))
                    .collect();
                shmem::change_keys(|table| {
                    // The file replaces all keys: also the set of a version that it has no keys for.
                    table.clear();
                    table.publish(scope, &sets);
                });
                finish(request, None);
                let message = format!("read signing keys from aadauth.jwks_file {path:?}");
                self.log(Level::Log, &message, &list(&sets), None);
            }
            Err(error) => {
                finish(
                    request,
                    Some(&format!("aadauth.jwks_file {path:?}: {error}")),
                );
                let message = format!("aadauth.jwks_file {path:?} is not used: {error}");
                let hint = "The file must be a JWK set (RFC 7517) of RSA public keys, like the one that the authority \
                            serves at its jwks_uri, and readable by the server.";
                self.log(Level::Warning, &message, consequence(), Some(hint));
            }
        }
    }

    /// Stores the fetched keys that sign-ins use now.
    fn save(&mut self, scope: &Scope) {
        let sets = shmem::keys(|table| {
            TokenVersion::ALL.map(|version| table.snapshot(None, version).map(|(set, _)| set))
        });
        let sets: Vec<_> = sets
            .into_iter()
            .flatten()
            .filter(|set| set.source != Source::File)
            .collect();
        let problem = store::save(scope, &sets)
            .err()
            .map(|error| error.to_string());
        if let Some(problem) = problem.as_ref().filter(|_| problem != self.store_problem) {
            let path = store::path();
            let message = format!("could not store signing keys in {path:?}: {problem}");
            let detail = "Without stored keys, a server that is restarted while the authority cannot be \
                          reached has no keys.";
            log::line(Level::Warning, &message, Some(detail), None);
        }
        self.store_problem = problem;
    }

    /// Logs a message unless it was the last one logged.
    fn log(&mut self, level: Level, message: &str, detail: &str, hint: Option<&str>) {
        let line = format!("{message}\n{detail}");
        if self.last_logged != line {
            log::line(level, message, Some(detail), hint);
            self.last_logged = line;
        }
    }
}

impl Setup {
    fn current() -> Setup {
        Setup {
            scope: Scope::current(),
            http: settings::http(),
            jwks_file: settings::jwks_file(),
        }
    }
}

/// Publishes the keys, for which sign-ins may wait.
fn publish(scope: &Scope, sets: &[SourcedSet]) {
    shmem::change_keys(|table| table.publish(scope, sets));
    shmem::worker(Worker::Network).notify();
}

/// Removes from shared memory the keys that these settings do not trust, and loads the keys on disk if no others are
/// left.
fn adopt(setup: &Setup) {
    let Some(scope) = &setup.scope else {
        shmem::change_keys(|table| table.clear());
        return;
    };
    let is_empty = shmem::change_keys(|table| {
        table.keep_only(scope);
        if setup.jwks_file.is_none() {
            table.drop_source(Source::File);
        }
        table.is_empty()
    });
    if !is_empty || setup.jwks_file.is_some() {
        return;
    }
    match store::load(scope, clock::micros()) {
        Ok(None) => {}
        Ok(Some(sets)) => {
            publish(scope, &sets);
            let message = format!(
                "loaded signing keys of {} from disk",
                scope.authority.login()
            );
            log::line(Level::Log, &message, Some(&list(&sets)), None);
        }
        Err(error) => {
            let path = store::path();
            let message = format!("signing keys stored in {path:?} are not used: {error}");
            log::line(Level::Log, &message, None, None);
        }
    }
}

fn start(
    scope: &Scope,
    http: HttpSettings,
    notifier: &Notifier,
) -> std::io::Result<Receiver<Fetched>> {
    let (delivery, results) = notifier.delivery();
    let scope = scope.clone();
    worker::spawn("aadauth-fetch", move || {
        let deliver = move |results| delivery.send(results);
        network::fetch_keys(&scope.authority, scope.tenant, &http, deliver);
    })?;
    Ok(results)
}

/// Records the end of an attempt and wakes those who wait for it.
fn finish(request: u64, problem: Option<&str>) {
    shmem::change_keys(|table| table.finish(request, clock::micros(), problem));
    shmem::worker(Worker::Network).notify();
}

fn fetched(set: KeySet, source: Source) -> SourcedSet {
    SourcedSet {
        set,
        source,
        fetched_at: clock::micros(),
    }
}

/// The key ids, for the log.
fn list(sets: &[SourcedSet]) -> String {
    let describe = |sourced: &SourcedSet| {
        let ids: Vec<_> = sourced
            .set
            .keys
            .iter()
            .map(|key| key.key_id.as_str())
            .collect();
        format!("{}: {}", sourced.set.version, ids.join(", "))
    };
    format!(
        "Key ids: {}.",
        sets.iter().map(describe).collect::<Vec<_>>().join("; ")
    )
}

/// What a failure means for sign-ins.
fn consequence() -> &'static str {
    if keys::are_served() {
        "The last valid keys remain in use."
    } else {
        "There are no valid keys, so Entra sign-ins are refused."
    }
}
