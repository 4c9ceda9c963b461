//! The table of signing keys in shared memory, and the sign-ins that wait for new ones.
//!
//! Everything here is a plain value: the lock is taken in [`crate::shared::shmem`], time and settings are
//! arguments. Times are microseconds since the Unix epoch.

use std::time::Duration;

use entra_token::{KeySet, Reason, SigningKey, TokenVersion};

use super::scope::Scope;
use super::stored::{Source, SourcedSet, StoredKey, StoredScope, StoredSet};
use crate::clock::micros_in;
use crate::pg::latch::Process;
use crate::shared::bytes::Bytes;
use crate::shared::request_counter::RequestCounter;

/// How many sign-ins may wait for new keys at the same time, on the whole server.
const WAITERS: usize = 8;
/// How long a sign-in waits for new keys.
pub const REFRESH_TIMEOUT: Duration = Duration::from_secs(2);

/// The cool-down for a key id that was not among the last ones that keys were requested for, if it is the shorter one.
/// Otherwise an invented key id would delay, by a whole cool-down, the first use of a key that Entra has just published.
const NEW_KEY_COOLDOWN: Duration = Duration::from_secs(3);
/// How many of these are remembered.
const REMEMBERED: usize = 8;

/// Which keys a reader may use by its settings.
pub struct KeyPolicy {
    pub scope: Scope,
    pub max_age: Duration,
    /// Keys from a file are used only while the setting names one.
    pub file_is_set: bool,
    pub now: i64,
}

/// What [`KeyTable::lookup`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    Found(SigningKey),
    /// There are keys of that issuer, but not this one.
    Unknown,
    /// There are none.
    Unavailable,
}

/// What to wait for after [`KeyTable::request_refresh`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshRequest {
    /// Nothing: the keys have changed since the caller looked.
    KeysChanged,
    /// For the end of a fetch.
    Wait(Awaited),
}

/// What a waiting sign-in waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The request of that number has been answered.
    Requests(u64),
    /// That many attempts to get keys have ended.
    Attempts(u64),
}

/// How this machine's clock compared with the authority's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockCheck {
    pub at: i64,
    /// Seconds by which ours was ahead, including the time that the response took. Negative: behind.
    pub ahead: i64,
}

impl ClockCheck {
    /// From this machine's time, and the Unix seconds that the authority sent.
    pub fn new(now: i64, theirs: i64) -> ClockCheck {
        ClockCheck {
            at: now,
            ahead: now.div_euclid(1_000_000).saturating_sub(theirs),
        }
    }
}

/// A sign-in that waits. Its place is free again after the timeout, whatever becomes of the process: no exit callback
/// is needed, and a killed backend cannot keep it.
#[derive(Clone, Copy)]
struct Waiter {
    process: Process,
    until: i64,
}

/// The keys, and the sign-ins that wait for others.
pub struct KeyTable {
    scope: Option<StoredScope>,
    v1: Option<StoredSet>,
    v2: Option<StoredSet>,
    /// Grows whenever the keys are replaced.
    generation: u64,
    /// For new keys.
    requests: RequestCounter,
    /// When the last was made.
    requested_at: i64,
    /// The last key ids that keys were requested for, latest first.
    requested_for: [Option<Bytes<64>>; REMEMBERED],
    /// The number of attempts that have ended, and whether one is in progress.
    attempts: u64,
    is_fetching: bool,
    waiters: [Option<Waiter>; WAITERS],
    attempted_at: Option<i64>,
    clock: Option<ClockCheck>,
    problem: Option<Bytes<512>>,
}

impl KeyTable {
    pub const EMPTY: KeyTable = KeyTable {
        scope: None,
        v1: None,
        v2: None,
        generation: 0,
        requests: RequestCounter::NONE,
        requested_at: i64::MIN,
        requested_for: [None; REMEMBERED],
        attempts: 0,
        is_fetching: false,
        waiters: [None; WAITERS],
        attempted_at: None,
        clock: None,
        problem: None,
    };

    /// The key that verifies this issuer's tokens of that version and key id.
    pub fn lookup(
        &self,
        policy: &KeyPolicy,
        version: TokenVersion,
        issuer: &str,
        key_id: &str,
    ) -> Lookup {
        let served = self
            .set(version)
            .filter(|set| self.serves(policy, set) && set.issuer.as_str() == issuer);
        let Some(set) = served else {
            return Lookup::Unavailable;
        };
        let key = set
            .keys
            .iter()
            .flatten()
            .find(|key| key.key_id.as_str() == key_id);
        key.map_or(Lookup::Unknown, |key| Lookup::Found(key.load()))
    }

    /// Whether a reader may use the set.
    fn serves(&self, policy: &KeyPolicy, set: &StoredSet) -> bool {
        let is_fresh = set.source == Source::File || set.age(policy.now) <= policy.max_age;
        let is_set = set.source != Source::File || policy.file_is_set;
        is_fresh && is_set && self.scope.is_some_and(|scope| scope.is(&policy.scope))
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Adds the process, if there is one, to those that wait for new keys, and requests them unless a request is pending.
    ///
    /// The cool-down runs from the last request of a sign-in. Scheduled fetches neither start it nor are delayed by it, so
    /// that a key rotation right after one is still noticed at once. It is shorter for a key id that is new
    /// ([`NEW_KEY_COOLDOWN`]). A sign-in that comes while a request is pending waits for it; one that comes during the
    /// cool-down, or finds no place, is refused. While there are no keys at all and the first fetch is in progress or
    /// imminent, sign-ins wait for it and make no request.
    ///
    /// # Errors
    /// `key-refresh-cooling-down`.
    pub fn request_refresh(
        &mut self,
        seen: u64,
        waiter: Option<Process>,
        key_id: &str,
        now: i64,
        cooldown: Duration,
    ) -> Result<RefreshRequest, Reason> {
        if self.generation != seen {
            return Ok(RefreshRequest::KeysChanged);
        }
        let is_first = self.is_fetching || self.attempted_at.is_none();
        let is_first = is_first && self.is_empty();
        let is_open = self.requests.is_open();
        let key_id = Some(Bytes::cut(key_id));
        let is_new = !self.requested_for.contains(&key_id);
        let cooldown = if is_new {
            cooldown.min(NEW_KEY_COOLDOWN)
        } else {
            cooldown
        };
        // A clock that was set back must not prolong the cool-down.
        let since = now
            .checked_sub(self.requested_at)
            .filter(|since| *since >= 0);
        if !is_first && !is_open && since.is_some_and(|since| since < micros_in(cooldown)) {
            return Err(Reason::KeyRefreshCoolingDown);
        }
        if let Some(process) = waiter {
            let mut places = self.waiters.iter_mut();
            let place = places
                .find(|place| !place.is_some_and(|w| w.waits(now)))
                .ok_or(Reason::KeyRefreshCoolingDown)?;
            *place = Some(Waiter {
                process,
                until: now.saturating_add(micros_in(REFRESH_TIMEOUT)),
            });
        }
        if is_first {
            return Ok(RefreshRequest::Wait(Awaited::Attempts(self.attempts + 1)));
        }
        if !is_open {
            self.requests.make();
            self.requested_at = now;
            if is_new {
                self.requested_for.rotate_right(1);
                if let Some(latest) = self.requested_for.first_mut() {
                    *latest = key_id;
                }
            }
        }
        Ok(RefreshRequest::Wait(Awaited::Requests(
            self.requests.last(),
        )))
    }

    /// Whether the wait that [`request_refresh`](Self::request_refresh) began is over.
    pub fn is_done(&self, seen: u64, awaited: Awaited) -> bool {
        let has_come = match awaited {
            Awaited::Requests(number) => self.requests.is_answered(number),
            Awaited::Attempts(count) => self.attempts >= count,
        };
        has_come || self.generation != seen
    }

    /// Frees the process's place.
    pub fn remove_waiter(&mut self, process: Process) {
        for place in &mut self.waiters {
            if place.is_some_and(|waiter| waiter.process == process) {
                *place = None;
            }
        }
    }

    /// The number of the last request, if it has not been answered.
    pub fn open_request(&self) -> Option<u64> {
        self.requests.is_open().then(|| self.requests.last())
    }

    /// Notes that no attempt is in progress, when a worker starts.
    pub fn start(&mut self) {
        self.is_fetching = false;
    }

    /// Records that an attempt to get new keys begins, and returns the number of the last request that it answers.
    pub fn begin(&mut self) -> u64 {
        self.is_fetching = true;
        self.requests.last()
    }

    /// Records the end of the attempt that [`begin`](Self::begin) numbered.
    pub fn finish(&mut self, request: u64, now: i64, problem: Option<&str>) {
        self.requests.answer(request);
        self.attempts += 1;
        self.is_fetching = false;
        self.attempted_at = Some(now);
        self.problem = problem.map(Bytes::cut);
    }

    /// Replaces the sets of the given versions, and drops all others if the scope differs.
    /// A set that does not fit is left out; [`KeySet::from_jwks`] returns none.
    pub fn publish(&mut self, scope: &Scope, sets: &[SourcedSet]) {
        self.keep_only(scope);
        self.scope = StoredScope::new(scope);
        for sourced in sets {
            *self.slot(sourced.set.version) = StoredSet::new(sourced);
        }
        self.generation += 1;
    }

    /// Removes all keys.
    pub fn clear(&mut self) {
        self.scope = None;
        self.v1 = None;
        self.v2 = None;
        self.clock = None;
        self.generation += 1;
    }

    /// Removes keys of another scope.
    pub fn keep_only(&mut self, scope: &Scope) {
        if !self.scope.is_some_and(|stored| stored.is(scope)) {
            self.clear();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.v1.is_none() && self.v2.is_none()
    }

    /// Removes the keys from that source.
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

    /// How our clock compared with the authority's at its last response.
    pub fn clock(&self) -> Option<ClockCheck> {
        self.clock
    }

    pub fn set_clock(&mut self, check: ClockCheck) {
        self.clock = Some(check);
    }

    /// A copy of the set of that version, and whether readers with this policy use it.
    pub fn snapshot(
        &self,
        policy: Option<&KeyPolicy>,
        version: TokenVersion,
    ) -> Option<(SourcedSet, bool)> {
        let stored = self.set(version)?;
        let keys = stored.keys.iter().flatten().map(StoredKey::load).collect();
        let set = KeySet {
            version,
            issuer: stored.issuer.as_str().to_owned(),
            keys,
        };
        let is_served = policy.is_some_and(|policy| self.serves(policy, stored));
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

impl Waiter {
    fn waits(&self, now: i64) -> bool {
        (now..=now.saturating_add(micros_in(REFRESH_TIMEOUT))).contains(&self.until)
    }
}

#[cfg(test)]
mod tests;
