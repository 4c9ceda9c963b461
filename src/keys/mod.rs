//! Signing keys in shared memory: sign-ins read them, the network worker looks after them.

mod age;
mod jwks_file;
mod store;
mod view;
pub mod worker;

pub use age::OLD;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use entra_token::{Reason, TokenVersion};

use crate::pg::latch::{self, Process};
use crate::shared::keys::scope::Scope;
use crate::shared::keys::table::{Answer, Ask, ClockCheck, KeyTable, Lookup, PATIENCE, Terms};
use crate::shared::shmem;
use crate::{clock, settings};

/// The generation of the keys at this process's last [`find`]; the largest number before the first.
static SEEN: AtomicU64 = AtomicU64::new(u64::MAX);

/// The key that verifies this issuer's tokens of that version and key id, by this process's settings.
///
/// Takes a lock for the time of a copy, and waits for nothing else.
pub fn find(version: TokenVersion, issuer: &str, key_id: &str) -> Lookup {
    let Some(terms) = terms() else {
        return Lookup::Unavailable(Reason::SigningKeysUnavailable);
    };
    shmem::keys(|table| {
        SEEN.store(table.generation(), Ordering::Relaxed);
        table.lookup(&terms, version, issuer, key_id)
    })
}

/// Asks the network worker for new keys and waits until it has answered, at most for two seconds.
///
/// To be called when [`find`] found no key and the token is otherwise plausible; the caller looks again
/// after `Ok`, which says that there was an answer, not what it was. The wait serves interrupts, so that
/// a shutdown or the authentication timeout ends it.
///
/// # Errors
/// - `worker-not-running`;
/// - `key-refresh-cooling-down`: the last request was answered less than
///   `aadauth.signing_key_refresh_cooldown` ago, or eight sign-ins wait already;
/// - `key-refresh-timed-out`.
pub fn refresh() -> Result<(), Reason> {
    let own = Process::own().ok_or(Reason::InternalError)?;
    let cooldown = settings::signing_key_refresh_cooldown();
    let (seen, asked, worker) = shmem::change_keys(|table| {
        let seen = match SEEN.load(Ordering::Relaxed) {
            u64::MAX => table.generation(),
            seen => seen,
        };
        (
            seen,
            table.ask(seen, own, clock::micros(), cooldown),
            table.worker(),
        )
    });
    let answer = match asked? {
        Ask::LookAgain => return Ok(()),
        Ask::Wait(answer) => answer,
    };
    if let Some(worker) = worker {
        worker.wake();
    }
    let outcome = wait_for_answer(seen, answer);
    shmem::change_keys(|table| table.leave(own));
    outcome
}

/// Whether there are keys that sign-ins may use, of either token version.
pub fn are_served() -> bool {
    let Some(terms) = terms() else { return false };
    shmem::keys(|table| {
        let mut sets = TokenVersion::ALL
            .map(|version| table.snapshot(Some(&terms), version))
            .into_iter();
        sets.any(|set| set.is_some_and(|(_, is_served)| is_served))
    })
}

/// When the keys of that version that sign-ins use were fetched, in microseconds since the Unix epoch; `None`
/// when there are none.
pub fn fetched_at(version: TokenVersion) -> Option<i64> {
    let terms = terms()?;
    let (sourced, is_served) = shmem::keys(|table| table.snapshot(Some(&terms), version))?;
    is_served.then_some(sourced.fetched_at)
}

/// How this machine's clock compared with the authority's when it last answered; `None` when it has not
/// since the server started.
pub fn clock_check() -> Option<ClockCheck> {
    shmem::keys(KeyTable::clock)
}

fn wait_for_answer(seen: u64, answer: Answer) -> Result<(), Reason> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (is_answered, is_attended) =
            shmem::keys(|table| (table.is_answered(seen, answer), table.worker().is_some()));
        let left = deadline.saturating_duration_since(Instant::now());
        match (is_answered, is_attended) {
            (true, _) => return Ok(()),
            (false, false) => return Err(Reason::WorkerNotRunning),
            (false, true) if left.is_zero() => return Err(Reason::KeyRefreshTimedOut),
            // One millisecond more, since the latch's clock has no finer step.
            (false, true) => latch::wait(left + Duration::from_millis(1)),
        }
    }
}

/// On what terms this process may use keys; `None` when no tenant is configured.
fn terms() -> Option<Terms> {
    Some(Terms {
        scope: Scope::current()?,
        max_age: settings::signing_key_max_age(),
        file_is_set: settings::jwks_file().is_some(),
        now: clock::micros(),
    })
}
