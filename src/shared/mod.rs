//! Shared memory: plain values that all processes of the server share, and the locks on them.
//!
//! The values do not depend on locks or the time: [`shmem`] takes the locks, and the time is an argument.

pub mod bytes;
pub mod counters;
pub mod directory;
pub mod group_sync;
pub mod keys;
pub mod log_lines;
pub mod outcome;
pub mod poolers;
pub mod problem;
pub mod request_counter;
pub mod sessions;
pub mod shmem;
pub mod spool;
pub mod workers;
