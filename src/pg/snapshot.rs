//! Snapshots other than the transaction's.

use pgrx::pg_sys;

/// Runs queries that see everything committed by now, whatever the isolation level. Only outside of parallel plans
/// (snapmgr.c, GetLatestSnapshot). In a transaction that has written something, pgrx takes the transaction's snapshot.
pub fn with_latest<T>(queries: impl FnOnce() -> T) -> T {
    // SAFETY: called inside a transaction; the snapshot is copied (snapmgr.c). If an ERROR unwinds past
    // this frame, the end of the transaction or subtransaction pops what is left.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot()) };
    let result = queries();
    // SAFETY: it is the one that was pushed: SPI pops its own.
    unsafe { pg_sys::PopActiveSnapshot() };
    result
}
