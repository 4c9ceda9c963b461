//! The sessions that were opened with tokens, and the revoked principals.

pub mod requests;
pub mod revocations;
pub mod table;
pub mod termination;
