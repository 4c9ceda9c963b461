//! The extension's shared memory, created when the server starts and again after a crash.
#![allow(
    unsafe_code,
    reason = "declares that the tables may be shared, and refers to them under their locks"
)]

use std::sync::atomic::{AtomicU8, Ordering};

use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgLwLock, pg_shmem_init};

use super::counters::Counters;
use super::directory::groups::GroupCache;
use super::directory::table::QueryTable;
use super::group_sync::SyncState;
use super::keys::table::KeyTable;
use super::log_lines::LogLines;
use super::poolers::accepted_tokens::AcceptedTokens;
use super::poolers::password_failures::PasswordFailures;
use super::sessions::requests::Requests;
use super::sessions::revocations::RevocationList;
use super::sessions::table::Place;
use super::sessions::termination::TerminationReason;
use super::spool::SpoolState;
use super::workers::{Worker, WorkerEntry};
use crate::pg::latch::Process;
use crate::pg::memory::{BeginsAsZeros, PerProcess, Vacant, Zeroed};

// SAFETY: a KeyTable holds no pointer, reference or handle and has no Drop. All processes are forked from
// the one postmaster that loaded this build, so that its layout is the same in all.
unsafe impl PGRXSharedMemory for KeyTable {}
// SAFETY: as above.
unsafe impl PGRXSharedMemory for SyncState {}

// SAFETY: as above.
unsafe impl PGRXSharedMemory for QueryTable {}
// SAFETY: as above.
unsafe impl PGRXSharedMemory for GroupCache {}
// SAFETY: as above.
unsafe impl PGRXSharedMemory for RevocationList {}
// SAFETY: as above.
unsafe impl PGRXSharedMemory for Requests {}
// SAFETY: as above.
unsafe impl PGRXSharedMemory for Place {}
// SAFETY: as above.
unsafe impl PGRXSharedMemory for SpoolState {}
// SAFETY: as above.
unsafe impl PGRXSharedMemory for Counters {}
// SAFETY: as above.
unsafe impl PGRXSharedMemory for LogLines {}
// SAFETY: as above.
unsafe impl PGRXSharedMemory for AcceptedTokens {}
// SAFETY: as above.
unsafe impl PGRXSharedMemory for PasswordFailures {}
// SAFETY: as above.
unsafe impl PGRXSharedMemory for WorkerEntry {}

// SAFETY: no other structure of this server bears the name, and nothing uses it before pgrx's shmem_startup_hook, which
// `init` registers, has made it.
static KEYS: PgLwLock<KeyTable> = unsafe { PgLwLock::new(c"aadauth_signing_keys") };
// SAFETY: as above.
static QUERIES: PgLwLock<QueryTable> = unsafe { PgLwLock::new(c"aadauth_directory") };
// SAFETY: as above.
static GROUPS_LOCK: PgLwLock<()> = unsafe { PgLwLock::new(c"aadauth_groups") };
static GROUPS: Zeroed<GroupCache> = Zeroed::new(c"aadauth_group_cache");
static COUNTERS: Zeroed<Counters> = Zeroed::new(c"aadauth_statistics");
static LOG_LINES: Zeroed<LogLines> = Zeroed::new(c"aadauth_log_lines");
static WORKERS: Zeroed<[WorkerEntry; Worker::ALL.len()]> = Zeroed::new(c"aadauth_workers");
// SAFETY: as above.
static SYNC: PgLwLock<SyncState> = unsafe { PgLwLock::new(c"aadauth_group_sync") };
// SAFETY: as above.
static SESSIONS_LOCK: PgLwLock<()> = unsafe { PgLwLock::new(c"aadauth_sessions") };
static SESSIONS: PerProcess<Place> = PerProcess::new(c"aadauth_session_table");
static TERMINATIONS: PerProcess<AtomicU8> = PerProcess::new(c"aadauth_terminations");
// SAFETY: as above.
static REVOCATIONS_LOCK: PgLwLock<()> = unsafe { PgLwLock::new(c"aadauth_revocations") };
static REVOCATIONS: Zeroed<RevocationList> = Zeroed::new(c"aadauth_revocation_list");
// SAFETY: as above.
static REQUESTS: PgLwLock<Requests> = unsafe { PgLwLock::new(c"aadauth_revocation_requests") };
// SAFETY: as above.
static ACCEPTED_TOKENS_LOCK: PgLwLock<()> = unsafe { PgLwLock::new(c"aadauth_accepted_tokens") };
static ACCEPTED_TOKENS: Zeroed<AcceptedTokens> = Zeroed::new(c"aadauth_accepted_token_table");
static PASSWORD_FAILURES: Zeroed<PasswordFailures> = Zeroed::new(c"aadauth_password_failures");
// SAFETY: as above.
static SPOOL: PgLwLock<SpoolState> = unsafe { PgLwLock::new(c"aadauth_spool") };

// SAFETY: it consists of numbers, arrays of bytes and `false`.
unsafe impl BeginsAsZeros for GroupCache {}
// SAFETY: as above.
unsafe impl BeginsAsZeros for RevocationList {}
// SAFETY: it consists of numbers, arrays of bytes and `false`.
unsafe impl BeginsAsZeros for AcceptedTokens {}
// SAFETY: it consists of atomic numbers.
unsafe impl BeginsAsZeros for Counters {}
// SAFETY: as above.
unsafe impl BeginsAsZeros for PasswordFailures {}
// SAFETY: as above.
unsafe impl BeginsAsZeros for LogLines {}
// SAFETY: it consists of atomic numbers, and of condition variables, which are numbers.
unsafe impl BeginsAsZeros for [WorkerEntry; Worker::ALL.len()] {
    fn complete(&mut self) {
        self.iter_mut().for_each(WorkerEntry::init);
    }
}

impl Vacant for Place {
    fn vacant() -> Place {
        Place::EMPTY
    }
}

/// Requests the memory. Called in `_PG_init`, in the postmaster.
#[allow(
    unexpected_cfgs,
    reason = "pgrx's macro asks for versions that we have no feature for"
)]
pub fn init() {
    pg_shmem_init!(KEYS = KeyTable::EMPTY);
    pg_shmem_init!(QUERIES = QueryTable::EMPTY);
    pg_shmem_init!(GROUPS_LOCK = ());
    pg_shmem_init!(GROUPS = ());
    pg_shmem_init!(COUNTERS = ());
    pg_shmem_init!(LOG_LINES = ());
    pg_shmem_init!(WORKERS = ());
    pg_shmem_init!(SYNC = SyncState::EMPTY);
    pg_shmem_init!(SESSIONS_LOCK = ());
    pg_shmem_init!(SESSIONS = ());
    pg_shmem_init!(TERMINATIONS = ());
    pg_shmem_init!(REVOCATIONS_LOCK = ());
    pg_shmem_init!(REVOCATIONS = ());
    pg_shmem_init!(REQUESTS = Requests::EMPTY);
    pg_shmem_init!(ACCEPTED_TOKENS_LOCK = ());
    pg_shmem_init!(ACCEPTED_TOKENS = ());
    pg_shmem_init!(PASSWORD_FAILURES = ());
    pg_shmem_init!(SPOOL = SpoolState::EMPTY);
}

/// Reads the signing keys under a shared lock. `look` must be short, and must neither wait nor call PostgreSQL: it
/// copies what is needed.
pub fn keys<R>(look: impl FnOnce(&KeyTable) -> R) -> R {
    look(&KEYS.share())
}

/// Changes the signing keys under an exclusive lock; otherwise like [`keys`].
pub fn change_keys<R>(change: impl FnOnce(&mut KeyTable) -> R) -> R {
    change(&mut KEYS.exclusive())
}

/// Reads the queries to the directory; otherwise like [`keys`].
pub fn queries<R>(look: impl FnOnce(&QueryTable) -> R) -> R {
    look(&QUERIES.share())
}

/// Changes the queries to the directory; otherwise like [`change_keys`].
pub fn change_queries<R>(change: impl FnOnce(&mut QueryTable) -> R) -> R {
    change(&mut QUERIES.exclusive())
}

/// Reads the group cache; otherwise like [`keys`].
pub fn groups<R>(look: impl FnOnce(&GroupCache) -> R) -> R {
    let _lock = GROUPS_LOCK.share();
    // SAFETY: the shared lock is held until the end of this function, and no reference is made without
    // it, so that no exclusive reference exists. The memory was filled when the server started.
    look(unsafe { &*GROUPS.place() })
}

/// Changes the group cache; otherwise like [`change_keys`].
pub fn change_groups<R>(change: impl FnOnce(&mut GroupCache) -> R) -> R {
    let _lock = GROUPS_LOCK.exclusive();
    // SAFETY: as above; the exclusive lock keeps out every other reference, and this process has no
    // second one: the functions that are passed here do not call this function.
    change(unsafe { &mut *GROUPS.place() })
}

/// Reads the sessions; otherwise like [`keys`].
pub fn sessions<R>(look: impl FnOnce(&[Place]) -> R) -> R {
    let _lock = SESSIONS_LOCK.share();
    // SAFETY: as in `groups`.
    look(unsafe { &*SESSIONS.places() })
}

/// Changes the sessions; otherwise like [`change_keys`].
pub fn change_sessions<R>(change: impl FnOnce(&mut [Place]) -> R) -> R {
    let _lock = SESSIONS_LOCK.exclusive();
    // SAFETY: as in `change_groups`.
    change(unsafe { &mut *SESSIONS.places() })
}

/// Why we are terminating this backend, if we are. Takes no lock and does not panic.
pub fn own_termination() -> Option<TerminationReason> {
    termination_of(Process::own()?)
}

/// Why we are terminating that process's session, if we are. Takes no lock and does not panic.
pub fn termination_of(process: Process) -> Option<TerminationReason> {
    TerminationReason::from_number(
        TERMINATIONS
            .atomic(process.number())?
            .load(Ordering::Relaxed),
    )
}

/// Sets what [`termination_of`] returns. Call it under the lock of the sessions.
pub fn set_termination(process: Process, reason: Option<TerminationReason>) {
    if let Some(place) = TERMINATIONS.atomic(process.number()) {
        place.store(reason.map_or(0, |reason| reason as u8), Ordering::Relaxed);
    }
}

/// Reads the revocations; otherwise like [`keys`].
pub fn revocations<R>(look: impl FnOnce(&RevocationList) -> R) -> R {
    let _lock = REVOCATIONS_LOCK.share();
    // SAFETY: as in `groups`.
    look(unsafe { &*REVOCATIONS.place() })
}

/// Changes the revocations; otherwise like [`change_keys`].
pub fn change_revocations<R>(change: impl FnOnce(&mut RevocationList) -> R) -> R {
    let _lock = REVOCATIONS_LOCK.exclusive();
    // SAFETY: as in `change_groups`.
    change(unsafe { &mut *REVOCATIONS.place() })
}

/// Changes the requests to revoke and restore; otherwise like [`change_keys`].
pub fn change_requests<R>(change: impl FnOnce(&mut Requests) -> R) -> R {
    change(&mut REQUESTS.exclusive())
}

/// Reads the tokens that poolers' clients signed in with; otherwise like [`keys`].
pub fn accepted_tokens<R>(look: impl FnOnce(&AcceptedTokens) -> R) -> R {
    let _lock = ACCEPTED_TOKENS_LOCK.share();
    // SAFETY: as in `groups`.
    look(unsafe { &*ACCEPTED_TOKENS.place() })
}

/// Changes them; otherwise like [`change_keys`].
pub fn change_accepted_tokens<R>(change: impl FnOnce(&mut AcceptedTokens) -> R) -> R {
    let _lock = ACCEPTED_TOKENS_LOCK.exclusive();
    // SAFETY: as in `change_groups`.
    change(unsafe { &mut *ACCEPTED_TOKENS.place() })
}

/// How many passwords poolers' clients had wrong.
pub fn password_failures() -> &'static PasswordFailures {
    // SAFETY: as in `counters`.
    unsafe { &*PASSWORD_FAILURES.place() }
}

/// The counters.
pub fn counters() -> &'static Counters {
    // SAFETY: the memory was filled when the server started and stays mapped for as long as this process
    // lives. No exclusive reference exists: it is only changed through its atomics.
    unsafe { &*COUNTERS.place() }
}

/// What the server log has had of refused sign-ins.
pub fn log_lines() -> &'static LogLines {
    // SAFETY: as in `counters`.
    unsafe { &*LOG_LINES.place() }
}

/// The worker's entry.
pub fn worker(worker: Worker) -> &'static WorkerEntry {
    // SAFETY: as in `counters`. The array has an entry for each of them.
    let [session, network, audit, group_sync] = unsafe { &*WORKERS.place() };
    match worker {
        Worker::Session => session,
        Worker::Network => network,
        Worker::Audit => audit,
        Worker::GroupSync => group_sync,
    }
}

/// Reads the state of the spool; otherwise like [`keys`].
pub fn spool<R>(look: impl FnOnce(&SpoolState) -> R) -> R {
    look(&SPOOL.share())
}

/// Changes the state of the spool; otherwise like [`change_keys`].
pub fn change_spool<R>(change: impl FnOnce(&mut SpoolState) -> R) -> R {
    change(&mut SPOOL.exclusive())
}

/// Reads the state of group sync; otherwise like [`keys`].
pub fn sync<R>(look: impl FnOnce(&SyncState) -> R) -> R {
    look(&SYNC.share())
}

/// Changes the state of group sync; otherwise like [`change_keys`].
pub fn change_sync<R>(change: impl FnOnce(&mut SyncState) -> R) -> R {
    change(&mut SYNC.exclusive())
}
