//! What all processes of the server share: plain values in shared memory, and the locks on them.
//!
//! The values know nothing of locks, of time or of settings' changes: [`shmem`] takes the locks, and the rest are
//! arguments.

pub mod bytes;
pub mod counters;
pub mod directory;
pub mod group_sync;
pub mod keys;
pub mod outcome;
pub mod problem;
pub mod sessions;
pub mod shmem;
pub mod spool;
