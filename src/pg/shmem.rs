//! The extension's shared memory, made when the server starts and again after a crash.

use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgAtomic, PgLwLock, PgSharedMemoryInitialization, pg_shmem_init};

use super::latch::Process;
use crate::directory::groups::GroupCache;
use crate::directory::table::QuestionTable;
use crate::keys::table::KeyTable;
use crate::sync::state::SyncState;
use crate::worker::ProblemKind;

// SAFETY: a KeyTable holds no pointer, reference or handle and has no Drop. All processes are forked from
// the one postmaster that loaded this build, so that its layout is the same in all.
unsafe impl PGRXSharedMemory for KeyTable {}
// SAFETY: as above.
unsafe impl PGRXSharedMemory for SyncState {}

// SAFETY: as above.
unsafe impl PGRXSharedMemory for QuestionTable {}
// SAFETY: as above.
unsafe impl PGRXSharedMemory for GroupCache {}

// SAFETY: no other structure of this server bears the name; `init` is its only use before start-up.
static KEYS: PgLwLock<KeyTable> = unsafe { PgLwLock::new(c"aadauth_signing_keys") };
// SAFETY: as above.
static QUESTIONS: PgLwLock<QuestionTable> = unsafe { PgLwLock::new(c"aadauth_directory") };
// SAFETY: as above.
static GROUPS_LOCK: PgLwLock<()> = unsafe { PgLwLock::new(c"aadauth_groups") };
static GROUPS: Zeroed<GroupCache> = Zeroed::new(c"aadauth_group_cache");
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
    pg_shmem_init!(AUDIT_WORKER = AtomicI32::new(-1));
    pg_shmem_init!(AUDIT_CONNECT_FAILURES);
    pg_shmem_init!(SYNC = SyncState::EMPTY);
    pg_shmem_init!(SYNC_CONNECT_FAILURES);
    pg_shmem_init!(AUDIT_PROBLEM);
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

    pub fn count(&self) -> u32 {
        self.0.get().load(Ordering::Relaxed)
    }

    pub fn set(&self, count: u32) {
        self.0.get().store(count, Ordering::Relaxed);
    }
}

/// A table that begins as zeros and is made where it lies: a [`PgLwLock`] would move it there through the
/// stack, for which it is too large.
struct Zeroed<T> {
    name: &'static CStr,
    place: AtomicPtr<T>,
}

/// # Safety
/// All zeros must be a valid value.
unsafe trait BeginsAsZeros: PGRXSharedMemory {}

// SAFETY: numbers, arrays of bytes and `false` are all that it has.
unsafe impl BeginsAsZeros for GroupCache {}

impl<T> Zeroed<T> {
    const fn new(name: &'static CStr) -> Zeroed<T> {
        Zeroed {
            name,
            place: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// # Panics
    /// Where the server has not made its shared memory.
    fn place(&self) -> *mut T {
        let place = self.place.load(Ordering::Relaxed);
        assert!(!place.is_null(), "there is no shared memory");
        place
    }
}

impl<T: BeginsAsZeros> PgSharedMemoryInitialization for Zeroed<T> {
    type Value = ();

    unsafe fn on_shmem_request(&'static self) {
        // SAFETY: called in shmem_request_hook, as the trait demands.
        unsafe { pg_sys::RequestAddinShmemSpace(size_of::<T>()) };
    }

    unsafe fn on_shmem_startup(&'static self, _: ()) {
        let mut found = false;
        // SAFETY: called in shmem_startup_hook, in the postmaster, which is alone then: where processes
        // are forked, no other one runs that hook. ShmemInitStruct raises an ERROR or returns that much
        // memory, aligned to a cache line; zeros are a valid T.
        unsafe {
            let place = pg_sys::ShmemInitStruct(self.name.as_ptr(), size_of::<T>(), &mut found);
            if !found {
                ptr::write_bytes(place.cast::<u8>(), 0, size_of::<T>());
            }
            self.place.store(place.cast(), Ordering::Relaxed);
        }
    }
}
