//! The extension's shared memory, made when the server starts and again after a crash.
#![allow(
    unsafe_code,
    reason = "says that the tables may be shared, and refers to them under their locks"
)]

use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};

use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgAtomic, PgLwLock, pg_shmem_init};

use super::counters::Counters;
use super::directory::groups::GroupCache;
use super::directory::table::QuestionTable;
use super::group_sync::SyncState;
use super::keys::table::KeyTable;
use super::problem::ProblemKind;
use super::sessions::revocations::RevocationList;
use super::sessions::table::Place;
use super::sessions::termination::Ending;
use super::spool::SpoolState;
use crate::pg::latch::Process;
use crate::pg::memory::{BeginsAsZeros, PerProcess, Vacant, Zeroed};

// SAFETY: a KeyTable holds no pointer, reference or handle and has no Drop. All processes are forked from
// the one postmaster that loaded this build, so that its layout is the same in all.
unsafe impl PGRXSharedMemory for KeyTable {}
// SAFETY: as above.
unsafe impl PGRXSharedMemory for SyncState {}

// SAFETY: as above.
unsafe impl PGRXSharedMemory for QuestionTable {}
// SAFETY: as above.
unsafe impl PGRXSharedMemory for GroupCache {}
// SAFETY: as above.
unsafe impl PGRXSharedMemory for RevocationList {}
// SAFETY: as above.
unsafe impl PGRXSharedMemory for Place {}
// SAFETY: as above.
unsafe impl PGRXSharedMemory for SpoolState {}
// SAFETY: as above.
unsafe impl PGRXSharedMemory for Counters {}

// SAFETY: no other structure of this server bears the name; `init` is its only use before start-up.
static KEYS: PgLwLock<KeyTable> = unsafe { PgLwLock::new(c"aadauth_signing_keys") };
// SAFETY: as above.
static QUESTIONS: PgLwLock<QuestionTable> = unsafe { PgLwLock::new(c"aadauth_directory") };
// SAFETY: as above.
static GROUPS_LOCK: PgLwLock<()> = unsafe { PgLwLock::new(c"aadauth_groups") };
static GROUPS: Zeroed<GroupCache> = Zeroed::new(c"aadauth_group_cache");
static COUNTERS: Zeroed<Counters> = Zeroed::new(c"aadauth_statistics");
// SAFETY: as above.
static AUDIT_WORKER: PgAtomic<AtomicI32> = unsafe { PgAtomic::new(c"aadauth_audit_worker") };
// SAFETY: as above.
static AUDIT_CONNECT_FAILURES: PgAtomic<AtomicU32> =
    unsafe { PgAtomic::new(c"aadauth_audit_connect_failures") };
// SAFETY: as above.
static SYNC: PgLwLock<SyncState> = unsafe { PgLwLock::new(c"aadauth_group_sync") };
// SAFETY: as above.
static SYNC_CONNECT_FAILURES: PgAtomic<AtomicU32> =
    unsafe { PgAtomic::new(c"aadauth_group_sync_connect_failures") };
// SAFETY: as above.
static AUDIT_PROBLEM: PgAtomic<AtomicU32> = unsafe { PgAtomic::new(c"aadauth_audit_problem") };
// SAFETY: as above.
static SESSIONS_LOCK: PgLwLock<()> = unsafe { PgLwLock::new(c"aadauth_sessions") };
static SESSIONS: PerProcess<Place> = PerProcess::new(c"aadauth_session_table");
static ENDINGS: PerProcess<AtomicU8> = PerProcess::new(c"aadauth_endings");
// SAFETY: as above.
static REVOCATIONS_LOCK: PgLwLock<()> = unsafe { PgLwLock::new(c"aadauth_revocations") };
static REVOCATIONS: Zeroed<RevocationList> = Zeroed::new(c"aadauth_revocation_list");
// SAFETY: as above.
static REVOCATIONS_ASKED: PgAtomic<AtomicU64> =
    unsafe { PgAtomic::new(c"aadauth_revocations_asked") };
// SAFETY: as above.
static SESSION_WORKER: PgAtomic<AtomicI32> = unsafe { PgAtomic::new(c"aadauth_session_worker") };
// SAFETY: as above.
static SESSION_CONNECT_FAILURES: PgAtomic<AtomicU32> =
    unsafe { PgAtomic::new(c"aadauth_session_connect_failures") };
// SAFETY: as above.
static SESSION_PROBLEM: PgAtomic<AtomicU32> = unsafe { PgAtomic::new(c"aadauth_session_problem") };
// SAFETY: as above.
static SPOOL: PgLwLock<SpoolState> = unsafe { PgLwLock::new(c"aadauth_spool") };

// SAFETY: numbers, arrays of bytes and `false` are all that it has.
unsafe impl BeginsAsZeros for GroupCache {}
// SAFETY: as above.
unsafe impl BeginsAsZeros for RevocationList {}
// SAFETY: atomic numbers are all that it has.
unsafe impl BeginsAsZeros for Counters {}

impl Vacant for Place {
    fn vacant() -> Place {
        Place::EMPTY
    }
}

/// Asks for the memory. Called in `_PG_init`, in the postmaster.
#[allow(
    unexpected_cfgs,
    reason = "pgrx's macro asks for versions that we have no feature for"
)]
pub fn init() {
    pg_shmem_init!(KEYS = KeyTable::EMPTY);
    pg_shmem_init!(QUESTIONS = QuestionTable::EMPTY);
    pg_shmem_init!(GROUPS_LOCK = ());
    pg_shmem_init!(GROUPS = ());
    pg_shmem_init!(COUNTERS = ());
    pg_shmem_init!(AUDIT_WORKER = AtomicI32::new(-1));
    pg_shmem_init!(AUDIT_CONNECT_FAILURES);
    pg_shmem_init!(SYNC = SyncState::EMPTY);
    pg_shmem_init!(SYNC_CONNECT_FAILURES);
    pg_shmem_init!(AUDIT_PROBLEM);
    pg_shmem_init!(SESSIONS_LOCK = ());
    pg_shmem_init!(SESSIONS = ());
    pg_shmem_init!(ENDINGS = ());
    pg_shmem_init!(REVOCATIONS_LOCK = ());
    pg_shmem_init!(REVOCATIONS = ());
    pg_shmem_init!(REVOCATIONS_ASKED);
    pg_shmem_init!(SESSION_WORKER = AtomicI32::new(-1));
    pg_shmem_init!(SESSION_CONNECT_FAILURES);
    pg_shmem_init!(SESSION_PROBLEM);
    pg_shmem_init!(SPOOL = SpoolState::EMPTY);
}

/// Looks at the signing keys under a shared lock. `look` must be short, and must neither wait nor call
/// PostgreSQL: it copies out what is wanted.
pub fn keys<R>(look: impl FnOnce(&KeyTable) -> R) -> R {
    look(&KEYS.share())
}

/// Changes the signing keys under an exclusive lock; otherwise as [`keys`].
pub fn change_keys<R>(change: impl FnOnce(&mut KeyTable) -> R) -> R {
    change(&mut KEYS.exclusive())
}

/// Looks at the questions to the directory; otherwise as [`keys`].
pub fn questions<R>(look: impl FnOnce(&QuestionTable) -> R) -> R {
    look(&QUESTIONS.share())
}

/// Changes the questions to the directory; otherwise as [`change_keys`].
pub fn change_questions<R>(change: impl FnOnce(&mut QuestionTable) -> R) -> R {
    change(&mut QUESTIONS.exclusive())
}

/// Looks at the group cache; otherwise as [`keys`].
pub fn groups<R>(look: impl FnOnce(&GroupCache) -> R) -> R {
    let _lock = GROUPS_LOCK.share();
    // SAFETY: the shared lock is held until the end of this function, and no reference is made without
    // it, so that nobody has an exclusive one. The memory was filled when the server started.
    look(unsafe { &*GROUPS.place() })
}

/// Changes the group cache; otherwise as [`change_keys`].
pub fn change_groups<R>(change: impl FnOnce(&mut GroupCache) -> R) -> R {
    let _lock = GROUPS_LOCK.exclusive();
    // SAFETY: as above; the exclusive lock keeps out every other reference, and this process has no
    // second one: the functions that are passed here don't come back here.
    change(unsafe { &mut *GROUPS.place() })
}

/// Looks at the sessions; otherwise as [`keys`].
pub fn sessions<R>(look: impl FnOnce(&[Place]) -> R) -> R {
    let _lock = SESSIONS_LOCK.share();
    // SAFETY: as in `groups`.
    look(unsafe { &*SESSIONS.places() })
}

/// Changes the sessions; otherwise as [`change_keys`].
pub fn change_sessions<R>(change: impl FnOnce(&mut [Place]) -> R) -> R {
    let _lock = SESSIONS_LOCK.exclusive();
    // SAFETY: as in `change_groups`.
    change(unsafe { &mut *SESSIONS.places() })
}

/// Why this backend is being ended, if we end it. Takes no lock and doesn't panic.
pub fn own_ending() -> Option<Ending> {
    ending_of(Process::own()?)
}

/// Why that process's session is being ended. Takes no lock and doesn't panic.
pub fn ending_of(process: Process) -> Option<Ending> {
    Ending::from_number(ENDINGS.atomic(process.number())?.load(Ordering::Relaxed))
}

/// Sets what [`ending_of`] returns. To be called under the lock of the sessions.
pub fn set_ending(process: Process, ending: Option<Ending>) {
    if let Some(place) = ENDINGS.atomic(process.number()) {
        place.store(ending.map_or(0, |ending| ending as u8), Ordering::Relaxed);
    }
}

/// Looks at the revocations; otherwise as [`keys`].
pub fn revocations<R>(look: impl FnOnce(&RevocationList) -> R) -> R {
    let _lock = REVOCATIONS_LOCK.share();
    // SAFETY: as in `groups`.
    look(unsafe { &*REVOCATIONS.place() })
}

/// Changes the revocations; otherwise as [`change_keys`].
pub fn change_revocations<R>(change: impl FnOnce(&mut RevocationList) -> R) -> R {
    let _lock = REVOCATIONS_LOCK.exclusive();
    // SAFETY: as in `change_groups`.
    change(unsafe { &mut *REVOCATIONS.place() })
}

/// How often the table of revocations has been changed by our functions since the server started.
pub fn revocation_changes() -> u64 {
    REVOCATIONS_ASKED.get().load(Ordering::Acquire)
}

/// Counts such a change, for the session worker to see.
pub fn count_revocation_change() {
    REVOCATIONS_ASKED.get().fetch_add(1, Ordering::Release);
}

/// The session worker, while it is connected.
pub fn session_worker() -> Option<Process> {
    Process::from_number(SESSION_WORKER.get().load(Ordering::Relaxed))
}

/// Notes that the session worker runs as that process, or not at all.
pub fn set_session_worker(process: Option<Process>) {
    SESSION_WORKER
        .get()
        .store(process.map_or(-1, Process::number), Ordering::Relaxed);
}

/// What kept the session worker from reading the revocations when it last tried.
pub fn session_problem() -> Option<ProblemKind> {
    ProblemKind::from_number(SESSION_PROBLEM.get().load(Ordering::Relaxed))
}

/// Sets what [`session_problem`] returns.
pub fn set_session_problem(problem: Option<ProblemKind>) {
    let number = problem.map_or(0, |problem| problem as u32);
    SESSION_PROBLEM.get().store(number, Ordering::Relaxed);
}

/// What is counted.
pub fn counters() -> &'static Counters {
    // SAFETY: the memory was filled when the server started and stays mapped for as long as this process
    // lives. Nobody has an exclusive reference: it is changed through its atomics alone.
    unsafe { &*COUNTERS.place() }
}

/// The audit worker, while it runs.
pub fn audit_worker() -> Option<Process> {
    Process::from_number(AUDIT_WORKER.get().load(Ordering::Relaxed))
}

/// Notes that the audit worker runs as that process, or not at all.
pub fn set_audit_worker(process: Option<Process>) {
    AUDIT_WORKER
        .get()
        .store(process.map_or(-1, Process::number), Ordering::Relaxed);
}

/// What kept the audit worker from recording sign-ins when it last tried.
pub fn audit_problem() -> Option<ProblemKind> {
    ProblemKind::from_number(AUDIT_PROBLEM.get().load(Ordering::Relaxed))
}

/// Sets what [`audit_problem`] returns.
pub fn set_audit_problem(problem: Option<ProblemKind>) {
    let number = problem.map_or(0, |problem| problem as u32);
    AUDIT_PROBLEM.get().store(number, Ordering::Relaxed);
}

/// Looks at the spool; otherwise as [`keys`].
pub fn spool<R>(look: impl FnOnce(&SpoolState) -> R) -> R {
    look(&SPOOL.share())
}

/// Changes what is known of the spool; otherwise as [`change_keys`].
pub fn change_spool<R>(change: impl FnOnce(&mut SpoolState) -> R) -> R {
    change(&mut SPOOL.exclusive())
}

/// Looks at what group sync says, otherwise as [`keys`].
pub fn sync<R>(look: impl FnOnce(&SyncState) -> R) -> R {
    look(&SYNC.share())
}

/// Changes what group sync says, otherwise as [`change_keys`].
pub fn change_sync<R>(change: impl FnOnce(&mut SyncState) -> R) -> R {
    change(&mut SYNC.exclusive())
}

/// How often in a row a worker has ended while it connected to its database.
pub struct ConnectFailures(&'static PgAtomic<AtomicU32>);

impl ConnectFailures {
    pub const OF_AUDIT: ConnectFailures = ConnectFailures(&AUDIT_CONNECT_FAILURES);
    pub const OF_GROUP_SYNC: ConnectFailures = ConnectFailures(&SYNC_CONNECT_FAILURES);
    pub const OF_SESSIONS: ConnectFailures = ConnectFailures(&SESSION_CONNECT_FAILURES);

    pub fn count(&self) -> u32 {
        self.0.get().load(Ordering::Relaxed)
    }

    pub fn set(&self, count: u32) {
        self.0.get().store(count, Ordering::Relaxed);
    }
}
