//! The signing keys as they lie in shared memory, and who waits for new ones.
//!
//! Everything here is a plain value: the lock is taken in [`crate::pg::shmem`], time and settings are
//! arguments. Times are microseconds since the Unix epoch.

use std::time::Duration;

use entra_token::{Cloud, KeySet, Reason, SigningKey, TokenVersion};

use super::bytes::Bytes;
use super::scope::Scope;
use crate::pg::latch::Process;

/// As many keys as [`KeySet::from_jwks`] lets through.
const KEYS: usize = 16;
/// How many sign-ins may wait for new keys at the same time, on the whole server.
const WAITERS: usize = 8;
/// How long one waits.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Where a set of keys came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Fetched from the authority since the server started.
    Network,
    /// Fetched from the authority earlier, and kept on disk.
    Disk,
    /// `aadauth.jwks_file`.
    File,
}

impl Source {
    pub fn name(self) -> &'static str {
        match self {
            Source::Network => "network",
            Source::Disk => "disk",
            Source::File => "file",
        }
    }
}

/// A key set and its history.
#[derive(Clone, Debug)]
pub struct SourcedSet {
    pub set: KeySet,
    pub source: Source,
    pub fetched_at: i64,
}

/// What a reader's settings say about the keys it may use.
pub struct Terms {
    pub scope: Scope,
    pub max_age: Duration,
    /// Keys from a file serve only as long as the setting names one.
    pub file_is_set: bool,
    pub now: i64,
}

/// What [`KeyTable::lookup`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    Found(SigningKey),
    /// There are keys of that issuer, and this is none of them.
    Unknown,
    /// There are none: `signing-keys-unavailable` or `worker-not-running`.
    Unavailable(Reason),
}

/// What to wait for after [`KeyTable::ask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Nothing: the keys have changed since the caller looked.
    LookAgain,
    /// For an answer.
    Wait(Answer),
}

/// What a waiting sign-in waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// That many requests have been answered.
    Requests(u64),
    /// That many attempts to get keys have ended.
    Attempts(u64),
}

#[derive(Clone, Copy)]
struct StoredKey {
    key_id: Bytes<128>,
    modulus: Bytes<512>,
    exponent: Bytes<8>,
}

#[derive(Clone, Copy)]
struct StoredSet {
    issuer: Bytes<384>,
    source: Source,
    fetched_at: i64,
    keys: [Option<StoredKey>; KEYS],
}

#[derive(Clone, Copy)]
struct StoredScope {
    cloud: Cloud,
    host: Option<Bytes<288>>,
    tenant: [u8; 16],
}

/// A sign-in that waits. A place is free again when its time is over, whatever became of the process:
/// no exit callback has to give it back, and a killed backend can't keep it.
#[derive(Clone, Copy)]
struct Waiter {
    process: Process,
    until: i64,
}

/// The keys, the worker that looks after them, and those who wait for it.
pub struct KeyTable {
    worker: Option<Process>,
    scope: Option<StoredScope>,
    v1: Option<StoredSet>,
    v2: Option<StoredSet>,
    /// Grows whenever the keys are replaced.
    generation: u64,
    /// Requests for new keys so far, and up to which they have been answered.
    asked: u64,
    answered: u64,
    asked_at: i64,
    /// Attempts that have ended, and whether one is under way.
    attempts: u64,
    is_trying: bool,
    waiters: [Option<Waiter>; WAITERS],
    attempted_at: Option<i64>,
    problem: Option<Bytes<512>>,
}

impl KeyTable {
    pub const EMPTY: KeyTable = KeyTable {
        worker: None,
        scope: None,
        v1: None,
        v2: None,
        generation: 0,
        asked: 0,
        answered: 0,
        asked_at: i64::MIN,
        attempts: 0,
        is_trying: false,
        waiters: [None; WAITERS],
        attempted_at: None,
        problem: None,
    };

    /// The key that verifies this issuer's tokens of that version and key id.
    pub fn lookup(
        &self,
        terms: &Terms,
        version: TokenVersion,
        issuer: &str,
        key_id: &str,
    ) -> Lookup {
        let served = self
            .set(version)
            .filter(|set| self.serves(terms, set) && set.issuer.as_str() == issuer);
        let Some(set) = served else {
            return Lookup::Unavailable(match self.worker {
                Some(_) => Reason::SigningKeysUnavailable,
                None => Reason::WorkerNotRunning,
            });
        };
        let key = set
            .keys
            .iter()
            .flatten()
            .find(|key| key.key_id.as_str() == key_id);
        key.map_or(Lookup::Unknown, |key| Lookup::Found(key.load()))
    }

    /// Whether a reader may use the set.
    fn serves(&self, terms: &Terms, set: &StoredSet) -> bool {
        let is_fresh = set.source == Source::File || set.age(terms.now) <= terms.max_age;
        let is_set = set.source != Source::File || terms.file_is_set;
        is_fresh && is_set && self.scope.is_some_and(|scope| scope.is(&terms.scope))
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn worker(&self) -> Option<Process> {
        self.worker
    }

    /// Takes a place among those who wait for new keys, and asks for them where nobody has.
    ///
    /// The cool-down runs from the last request that a sign-in made: fetches by schedule neither start
    /// it nor are held up by it, so that a rotation right after one is still noticed at once. Who comes
    /// while a request is unanswered waits for its answer; who comes after it, or finds no place, is
    /// turned away. While there are no keys at all and the worker is about to get some, that is
    /// waited for and no request made.
    ///
    /// # Errors
    /// `worker-not-running`, `key-refresh-cooling-down`.
    pub fn ask(
        &mut self,
        seen: u64,
        process: Process,
        now: i64,
        cooldown: Duration,
    ) -> Result<Ask, Reason> {
        if self.generation != seen {
            return Ok(Ask::LookAgain);
        }
        if self.worker.is_none() {
            return Err(Reason::WorkerNotRunning);
        }
        let is_first = self.is_trying || self.attempted_at.is_none();
        let is_first = is_first && self.is_empty();
        let is_open = self.asked > self.answered;
        // A clock that was set back must not prolong the cool-down.
        let since = now.checked_sub(self.asked_at).filter(|since| *since >= 0);
        if !is_first && !is_open && since.is_some_and(|since| since < micros(cooldown)) {
            return Err(Reason::KeyRefreshCoolingDown);
        }
        let place = self
            .waiters
            .iter_mut()
            .find(|place| !place.is_some_and(|w| w.waits(now)));
        let Some(place) = place else {
            return Err(Reason::KeyRefreshCoolingDown);
        };
        *place = Some(Waiter {
            process,
            until: now.saturating_add(micros(PATIENCE)),
        });
        if is_first {
            return Ok(Ask::Wait(Answer::Attempts(self.attempts + 1)));
        }
        if !is_open {
            self.asked += 1;
            self.asked_at = now;
        }
        Ok(Ask::Wait(Answer::Requests(self.asked)))
    }

    /// Whether the wait that [`ask`](Self::ask) began is over.
    pub fn is_answered(&self, seen: u64, answer: Answer) -> bool {
        let has_come = match answer {
            Answer::Requests(count) => self.answered >= count,
            Answer::Attempts(count) => self.attempts >= count,
        };
        has_come || self.generation != seen
    }

    /// Gives back the process's place.
    pub fn leave(&mut self, process: Process) {
        for place in &mut self.waiters {
            if place.is_some_and(|waiter| waiter.process == process) {
                *place = None;
            }
        }
    }

    /// The number of the last request, when it has not been answered.
    pub fn open_request(&self) -> Option<u64> {
        (self.asked > self.answered).then_some(self.asked)
    }

    pub fn set_worker(&mut self, worker: Option<Process>) {
        self.worker = worker;
        self.is_trying = false;
    }

    /// Records that an attempt to get new keys begins, and returns how many requests it answers.
    pub fn begin(&mut self) -> u64 {
        self.is_trying = true;
        self.asked
    }

    /// Records the end of the attempt that [`begin`](Self::begin) numbered, and returns who is to be
    /// woken.
    pub fn finish(&mut self, asked: u64, now: i64, problem: Option<&str>) -> Vec<Process> {
        self.answered = self.answered.max(asked.min(self.asked));
        self.attempts += 1;
        self.is_trying = false;
        self.attempted_at = Some(now);
        self.problem = problem.map(Bytes::cut);
        self.waiting(now)
    }

    /// Who waits now.
    pub fn waiting(&self, now: i64) -> Vec<Process> {
        let waiting = self
            .waiters
            .iter()
            .flatten()
            .filter(|waiter| waiter.waits(now));
        waiting.map(|waiter| waiter.process).collect()
    }

    /// Replaces the sets of the versions that are given, and drops all others where the scope differs.
    /// A set that does not fit is left out; [`KeySet::from_jwks`] makes none.
    pub fn publish(&mut self, scope: &Scope, sets: &[SourcedSet]) {
        self.keep_only(scope);
        self.scope = StoredScope::new(scope);
        for sourced in sets {
            *self.slot(sourced.set.version) = StoredSet::new(sourced);
        }
        self.generation += 1;
    }

    /// Forgets all keys.
    pub fn clear(&mut self) {
        self.scope = None;
        self.v1 = None;
        self.v2 = None;
        self.generation += 1;
    }

    /// Forgets keys of another scope.
    pub fn keep_only(&mut self, scope: &Scope) {
        if !self.scope.is_some_and(|stored| stored.is(scope)) {
            self.clear();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.v1.is_none() && self.v2.is_none()
    }

    /// Whether there are keys of that scope, of whatever age.
    pub fn holds(&self, scope: &Scope) -> bool {
        !self.is_empty() && self.scope.is_some_and(|stored| stored.is(scope))
    }

    /// Forgets the keys that came from there.
    pub fn drop_source(&mut self, source: Source) {
        for slot in [&mut self.v1, &mut self.v2] {
            if slot.is_some_and(|set| set.source == source) {
                *slot = None;
            }
        }
        self.generation += 1;
    }

    /// When and how the last attempt to get new keys ended.
    pub fn last_attempt(&self) -> (Option<i64>, Option<String>) {
        (
            self.attempted_at,
            self.problem.map(|problem| problem.as_str().to_owned()),
        )
    }

    /// A copy of the set of that version, and whether readers on these terms use it.
    pub fn snapshot(
        &self,
        terms: Option<&Terms>,
        version: TokenVersion,
    ) -> Option<(SourcedSet, bool)> {
        let stored = self.set(version)?;
        let keys = stored.keys.iter().flatten().map(StoredKey::load).collect();
        let set = KeySet {
            version,
            issuer: stored.issuer.as_str().to_owned(),
            keys,
        };
        let is_served = terms.is_some_and(|terms| self.serves(terms, stored));
        let (source, fetched_at) = (stored.source, stored.fetched_at);
        Some((
            SourcedSet {
                set,
                source,
                fetched_at,
            },
            is_served,
        ))
    }

    fn set(&self, version: TokenVersion) -> Option<&StoredSet> {
        match version {
            TokenVersion::V1 => self.v1.as_ref(),
            TokenVersion::V2 => self.v2.as_ref(),
        }
    }

    fn slot(&mut self, version: TokenVersion) -> &mut Option<StoredSet> {
        match version {
            TokenVersion::V1 => &mut self.v1,
            TokenVersion::V2 => &mut self.v2,
        }
    }
}

impl StoredKey {
    fn new(key: &SigningKey) -> Option<StoredKey> {
        Some(StoredKey {
            key_id: Bytes::new(key.key_id.as_bytes())?,
            modulus: Bytes::new(&key.modulus)?,
            exponent: Bytes::new(&key.exponent)?,
        })
    }

    fn load(&self) -> SigningKey {
        SigningKey {
            key_id: self.key_id.as_str().to_owned(),
            modulus: self.modulus.as_slice().to_vec(),
            exponent: self.exponent.as_slice().to_vec(),
        }
    }
}

impl StoredSet {
    fn new(sourced: &SourcedSet) -> Option<StoredSet> {
        let mut keys = [None; KEYS];
        if sourced.set.keys.len() > keys.len() {
            return None;
        }
        for (slot, key) in keys.iter_mut().zip(&sourced.set.keys) {
            *slot = Some(StoredKey::new(key)?);
        }
        let issuer = Bytes::new(sourced.set.issuer.as_bytes())?;
        Some(StoredSet {
            issuer,
            source: sourced.source,
            fetched_at: sourced.fetched_at,
            keys,
        })
    }

    fn age(&self, now: i64) -> Duration {
        Duration::from_micros(now.saturating_sub(self.fetched_at).try_into().unwrap_or(0))
    }
}

impl StoredScope {
    fn new(scope: &Scope) -> Option<StoredScope> {
        let host = match &scope.authority.host {
            Some(host) => Some(Bytes::new(host.as_bytes())?),
            None => None,
        };
        Some(StoredScope {
            cloud: scope.authority.cloud,
            host,
            tenant: scope.tenant.into_bytes(),
        })
    }

    fn is(&self, scope: &Scope) -> bool {
        self.cloud == scope.authority.cloud
            && self.host.as_ref().map(Bytes::as_str) == scope.authority.host.as_deref()
            && self.tenant == *scope.tenant.as_bytes()
    }
}

impl Waiter {
    fn waits(&self, now: i64) -> bool {
        (now..=now.saturating_add(micros(PATIENCE))).contains(&self.until)
    }
}

fn micros(duration: Duration) -> i64 {
    duration.as_micros().try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use entra_token::Authority;
    use uuid::Uuid;

    use super::*;

    const HOUR: i64 = 3_600_000_000;
    const COOLDOWN: Duration = Duration::from_secs(30);

    fn scope(tenant: u128, host: Option<&str>) -> Scope {
        let authority = Authority {
            cloud: Cloud::Public,
            host: host.map(str::to_owned),
        };
        Scope {
            authority,
            tenant: Uuid::from_u128(tenant),
        }
    }

    fn terms(scope: &Scope, now: i64) -> Terms {
        let max_age = Duration::from_secs(7 * 24 * 3600);
        Terms {
            scope: scope.clone(),
            max_age,
            file_is_set: true,
            now,
        }
    }

    fn sourced(scope: &Scope, version: TokenVersion, source: Source) -> SourcedSet {
        let key = SigningKey {
            key_id: "key".to_owned(),
            modulus: vec![0xAB; 512],
            exponent: vec![1, 0, 1],
        };
        let set = KeySet {
            version,
            issuer: scope.issuer(version),
            keys: vec![key],
        };
        SourcedSet {
            set,
            source,
            fetched_at: 0,
        }
    }

    fn table(scope: &Scope, source: Source) -> KeyTable {
        let mut table = KeyTable::EMPTY;
        table.set_worker(Process::from_number(1));
        table.publish(scope, &[sourced(scope, TokenVersion::V1, source)]);
        table
    }

    fn wait(requests: u64) -> Ask {
        Ask::Wait(Answer::Requests(requests))
    }

    fn process(number: i32) -> Process {
        Process::from_number(number).unwrap()
    }

    #[test]
    fn keys_serve_their_issuer_only() {
        let own = scope(1, None);
        let table = table(&own, Source::Network);
        let find =
            |version, issuer: &str, key_id| table.lookup(&terms(&own, 0), version, issuer, key_id);
        let (v1, v2) = (own.issuer(TokenVersion::V1), own.issuer(TokenVersion::V2));
        let none = Lookup::Unavailable(Reason::SigningKeysUnavailable);
        match find(TokenVersion::V1, &v1, "key") {
            Lookup::Found(key) => assert_eq!(key.modulus, vec![0xAB; 512]),
            other => panic!("{other:?}"),
        }
        assert_eq!(find(TokenVersion::V1, &v1, "other"), Lookup::Unknown);
        assert_eq!(find(TokenVersion::V1, &v2, "key"), none);
        assert_eq!(find(TokenVersion::V2, &v2, "key"), none);
        assert_eq!(find(TokenVersion::V2, &v1, "key"), none);
    }

    /// A reload that changes whom the server trusts must not reuse what was fetched before.
    #[test]
    fn keys_of_other_settings_do_not_serve() {
        let own = scope(1, None);
        let mut table = table(&own, Source::Network);
        let v1 = own.issuer(TokenVersion::V1);
        let mut us_gov = own.clone();
        us_gov.authority.cloud = Cloud::UsGov;
        let others = [
            scope(2, None),
            scope(1, Some("https://localhost:8443")),
            us_gov,
        ];
        for other in &others {
            let found = table.lookup(&terms(other, 0), TokenVersion::V1, &v1, "key");
            assert_eq!(
                found,
                Lookup::Unavailable(Reason::SigningKeysUnavailable),
                "{other:?}"
            );
        }
        table.publish(
            &others[0],
            &[sourced(&others[0], TokenVersion::V2, Source::Network)],
        );
        let found = table.lookup(&terms(&own, 0), TokenVersion::V1, &v1, "key");
        assert_eq!(found, Lookup::Unavailable(Reason::SigningKeysUnavailable));
        assert!(table.snapshot(None, TokenVersion::V1).is_none());
    }

    #[test]
    fn fetched_keys_age_and_those_of_a_file_do_not() {
        let own = scope(1, None);
        let v1 = own.issuer(TokenVersion::V1);
        let serves = |source, now, file_is_set| {
            let terms = Terms {
                file_is_set,
                ..terms(&own, now)
            };
            let found = table(&own, source).lookup(&terms, TokenVersion::V1, &v1, "key");
            matches!(found, Lookup::Found(_))
        };
        let week = 7 * 24 * HOUR;
        for source in [Source::Network, Source::Disk] {
            assert!(serves(source, week, true));
            assert!(!serves(source, week + 1, true));
            // A clock that was set back makes them no older than new.
            assert!(serves(source, -HOUR, true));
        }
        assert!(serves(Source::File, 100 * week, true));
        assert!(!serves(Source::File, 0, false));
    }

    #[test]
    fn without_a_worker_that_is_the_reason() {
        let own = scope(1, None);
        let v1 = own.issuer(TokenVersion::V1);
        let mut table = KeyTable::EMPTY;
        let find = |table: &KeyTable| table.lookup(&terms(&own, 0), TokenVersion::V1, &v1, "key");
        assert_eq!(find(&table), Lookup::Unavailable(Reason::WorkerNotRunning));
        assert_eq!(
            table.ask(0, process(5), 0, COOLDOWN),
            Err(Reason::WorkerNotRunning)
        );
        table.set_worker(Process::from_number(1));
        assert_eq!(
            find(&table),
            Lookup::Unavailable(Reason::SigningKeysUnavailable)
        );
    }

    #[test]
    fn many_askers_make_one_request_and_eight_wait() {
        let own = scope(1, None);
        let mut table = table(&own, Source::Network);
        let seen = table.generation();
        for number in 0..8 {
            assert_eq!(table.ask(seen, process(number), 0, COOLDOWN), Ok(wait(1)));
        }
        assert_eq!(
            table.ask(seen, process(8), 0, COOLDOWN),
            Err(Reason::KeyRefreshCoolingDown)
        );
        assert_eq!(table.open_request(), Some(1));
        assert_eq!(table.waiting(0).len(), 8);
        // Places whose owners were killed come free by themselves.
        let later = micros(PATIENCE) + 1;
        assert_eq!(table.waiting(later), []);
        assert_eq!(table.ask(seen, process(9), later, COOLDOWN), Ok(wait(1)));
        assert_eq!(table.finish(1, later, None), [process(9)]);
        assert!(table.is_answered(seen, Answer::Requests(1)));
        assert_eq!(table.open_request(), None);
    }

    #[test]
    fn an_answered_request_starts_the_cool_down() {
        let own = scope(1, None);
        let mut table = table(&own, Source::Network);
        let seen = table.generation();
        assert_eq!(table.ask(seen, process(1), 0, COOLDOWN), Ok(wait(1)));
        table.finish(1, 1, Some("down"));
        assert_eq!(table.last_attempt(), (Some(1), Some("down".to_owned())));
        let end = micros(COOLDOWN);
        assert_eq!(
            table.ask(seen, process(1), end - 1, COOLDOWN),
            Err(Reason::KeyRefreshCoolingDown)
        );
        // A fetch by schedule neither ends the cool-down nor starts another.
        table.finish(1, end - 1, None);
        assert_eq!(
            table.ask(seen, process(1), end - 1, COOLDOWN),
            Err(Reason::KeyRefreshCoolingDown)
        );
        assert_eq!(table.ask(seen, process(1), end, COOLDOWN), Ok(wait(2)));
        table.finish(2, end, None);
        // The clock was set back.
        assert_eq!(table.ask(seen, process(1), end - 1, COOLDOWN), Ok(wait(3)));
    }

    #[test]
    fn who_asks_after_the_keys_have_changed_looks_again() {
        let own = scope(1, None);
        let mut table = table(&own, Source::Network);
        let seen = table.generation();
        table.ask(seen, process(1), 0, COOLDOWN).unwrap();
        table.publish(&own, &[sourced(&own, TokenVersion::V1, Source::Network)]);
        assert!(table.is_answered(seen, Answer::Requests(1)));
        assert_eq!(table.ask(seen, process(2), 1, COOLDOWN), Ok(Ask::LookAgain));
    }

    #[test]
    fn a_fetch_that_began_before_the_request_does_not_answer_it() {
        let own = scope(1, None);
        let mut table = table(&own, Source::Network);
        let seen = table.generation();
        let asked = table.begin();
        table.ask(seen, process(1), 0, COOLDOWN).unwrap();
        table.finish(asked, 1, None);
        assert!(!table.is_answered(seen, Answer::Requests(1)));
        assert_eq!(table.open_request(), Some(1));
    }

    /// Sign-ins right after the server's start wait for the first keys, and leave the cool-down alone.
    #[test]
    fn while_the_first_keys_are_fetched_no_request_is_made() {
        let own = scope(1, None);
        let mut table = KeyTable::EMPTY;
        table.set_worker(Process::from_number(1));
        let first = Answer::Attempts(1);
        assert_eq!(table.ask(0, process(2), 0, COOLDOWN), Ok(Ask::Wait(first)));
        let asked = table.begin();
        assert_eq!(table.ask(0, process(3), 0, COOLDOWN), Ok(Ask::Wait(first)));
        assert_eq!(table.open_request(), None);
        assert!(!table.is_answered(0, first));
        table.finish(asked, 1, Some("down"));
        assert!(table.is_answered(0, first));
        // The worker rests before it tries again: now a sign-in makes it try at once.
        assert_eq!(table.ask(0, process(2), 1, COOLDOWN), Ok(wait(1)));
        let asked = table.begin();
        table.publish(&own, &[sourced(&own, TokenVersion::V1, Source::Network)]);
        table.finish(asked, 2, None);
        assert_eq!(table.open_request(), None);
    }
}
