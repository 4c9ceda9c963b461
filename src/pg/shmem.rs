//! The extension's shared memory, made when the server starts and again after a crash.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgAtomic, PgLwLock, pg_shmem_init};

use super::latch::Process;
use crate::keys::table::KeyTable;

// SAFETY: a KeyTable holds no pointer, reference or handle and has no Drop. All processes are forked from
// the one postmaster that loaded this build, so that its layout is the same in all.
unsafe impl PGRXSharedMemory for KeyTable {}

// SAFETY: no other structure of this server bears the name; `init` is its only use before start-up.
static KEYS: PgLwLock<KeyTable> = unsafe { PgLwLock::new(c"aadauth_signing_keys") };
// SAFETY: as above.
static AUDIT_WORKER: PgAtomic<AtomicI32> = unsafe { PgAtomic::new(c"aadauth_audit_worker") };
// SAFETY: as above.
static AUDIT_CONNECT_FAILURES: PgAtomic<AtomicU32> =
    unsafe { PgAtomic::new(c"aadauth_audit_connect_failures") };

/// Asks for the memory. Called in `_PG_init`, in the postmaster.
#[allow(
    unexpected_cfgs,
    reason = "pgrx's macro asks for versions that we have no feature for"
)]
pub fn init() {
    pg_shmem_init!(KEYS = KeyTable::EMPTY);
    pg_shmem_init!(AUDIT_WORKER = AtomicI32::new(-1));
    pg_shmem_init!(AUDIT_CONNECT_FAILURES);
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

/// How often in a row the audit worker has ended while it connected to its database.
pub fn audit_connect_failures() -> u32 {
    AUDIT_CONNECT_FAILURES.get().load(Ordering::Relaxed)
}

/// Sets what [`audit_connect_failures`] returns.
pub fn set_audit_connect_failures(count: u32) {
    AUDIT_CONNECT_FAILURES.get().store(count, Ordering::Relaxed);
}
