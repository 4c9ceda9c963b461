//! Signing keys in shared memory: sign-ins read them, the network worker keeps them up to date.

mod age;
mod jwks_file;
mod store;
mod view;
pub mod worker;

pub use age::WARNING_AGE;

use std::sync::atomic::{AtomicU64, Ordering};

use entra_token::{Reason, TokenVersion};

use crate::pg::latch::Process;
use crate::shared::keys::scope::Scope;
use crate::shared::keys::table::{
    ClockCheck, KeyPolicy, KeyTable, Lookup, REFRESH_TIMEOUT, RefreshRequest,
};
use crate::shared::shmem;
use crate::shared::workers::{Unanswered, Worker};
use crate::{clock, settings};

/// The generation of the keys at this process's last [`find`]; `u64::MAX` before the first.
static SEEN: AtomicU64 = AtomicU64::new(u64::MAX);

/// The key that verifies this issuer's tokens of that version and key id, by this process's settings.
///
/// Holds a lock while it copies the key, and waits for nothing else.
pub fn find(version: TokenVersion, issuer: &str, key_id: &str) -> Lookup {
    let Some(policy) = policy() else {
        return Lookup::Unavailable;
    };
    shmem::keys(|table| {
        SEEN.store(table.generation(), Ordering::Relaxed);
        table.lookup(&policy, version, issuer, key_id)
    })
}

/// Why [`find`] found no keys at all: `signing-keys-unavailable` or `worker-not-running`.
pub fn why_unavailable() -> Reason {
    if shmem::worker(Worker::Network).is_running() {
        Reason::SigningKeysUnavailable
    } else {
        Reason::WorkerNotRunning
    }
}

/// Requests new keys from the network worker, for the sake of that key id, and waits, if it is to wait, until the attempt
/// to fetch them has ended, at most two seconds.
///
/// Called if [`find`] found no key and the token is otherwise plausible. `Ok` means that the attempt has ended, well or
/// not; the caller calls [`find`] again. The wait serves interrupts, so that a shutdown or the authentication timeout
/// ends it.
///
/// # Errors
/// - `worker-not-running`;
/// - `key-refresh-cooling-down`: the last request was answered less than
///   `aadauth.signing_key_refresh_cooldown` ago (three seconds for a new key id), or eight sign-ins are already waiting;
/// - `key-refresh-timed-out`, also if it is not to wait.
pub fn refresh(key_id: &str, waits: bool) -> Result<(), Reason> {
    let own = Process::own().ok_or(Reason::InternalError)?;
    let worker = shmem::worker(Worker::Network);
    if !worker.is_running() {
        return Err(Reason::WorkerNotRunning);
    }
    let cooldown = settings::signing_key_refresh_cooldown();
    let (seen, request) = shmem::change_keys(|table| {
        let seen = match SEEN.load(Ordering::Relaxed) {
            u64::MAX => table.generation(),
            seen => seen,
        };
        (
            seen,
            table.request_refresh(
                seen,
                waits.then_some(own),
                key_id,
                clock::micros(),
                cooldown,
            ),
        )
    });
    let awaited = match request? {
        RefreshRequest::KeysChanged => return Ok(()),
        RefreshRequest::Wait(awaited) => awaited,
    };
    if !waits {
        worker.wake();
        return Err(Reason::KeyRefreshTimedOut);
    }
    let outcome = worker.ask(REFRESH_TIMEOUT, || {
        shmem::keys(|table| table.is_done(seen, awaited)).then_some(())
    });
    shmem::change_keys(|table| table.remove_waiter(own));
    outcome.map_err(|unanswered| match unanswered {
        Unanswered::NotRunning => Reason::WorkerNotRunning,
        Unanswered::TimedOut => Reason::KeyRefreshTimedOut,
    })
}

/// Whether there are keys of either token version that sign-ins may use.
pub fn are_served() -> bool {
    let Some(policy) = policy() else { return false };
    shmem::keys(|table| {
        let mut sets = TokenVersion::ALL
            .map(|version| table.snapshot(Some(&policy), version))
            .into_iter();
        sets.any(|set| set.is_some_and(|(_, is_served)| is_served))
    })
}

/// When the keys of that version that sign-ins use were fetched, in microseconds since the Unix epoch; `None`
/// when there are none.
pub fn fetched_at(version: TokenVersion) -> Option<i64> {
    let policy = policy()?;
    let (sourced, is_served) = shmem::keys(|table| table.snapshot(Some(&policy), version))?;
    is_served.then_some(sourced.fetched_at)
}

/// How this machine's clock compared with the authority's at its last response; `None` if there was none since the
/// server started.
pub fn clock_check() -> Option<ClockCheck> {
    shmem::keys(KeyTable::clock)
}

/// Which keys this process may use; `None` if no tenant is configured.
fn policy() -> Option<KeyPolicy> {
    Some(KeyPolicy {
        scope: Scope::current()?,
        max_age: settings::signing_key_max_age(),
        file_is_set: settings::jwks_file().is_some(),
        now: clock::micros(),
    })
}
