//! What we call: PostgreSQL and libpam, made safe.
#![allow(unsafe_code, reason = "this is the one place that calls C")]

pub mod connection;
pub mod ending;
pub mod exit;
#[cfg(feature = "fault-injection")]
pub mod fault;
pub mod guarded;
pub mod hba_file;
pub mod label;
pub mod latch;
pub mod log;
pub mod memory;
pub mod name;
pub mod oauth;
pub mod pam;
pub mod rights;
pub mod role;
pub mod route;
pub mod server;
pub mod setting;
mod shim;
pub mod snapshot;
pub mod worker;
