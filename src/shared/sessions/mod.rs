//! The sessions that tokens have opened, and who is revoked.

pub mod revocations;
pub mod table;
pub mod termination;
