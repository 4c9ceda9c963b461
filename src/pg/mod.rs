//! Safe wrappers of what we call in PostgreSQL and libpam.
#![allow(unsafe_code, reason = "wraps what we call in C")]

pub mod condition;
pub mod connection;
pub mod exit;
pub mod fast_path;
#[cfg(feature = "fault-injection")]
pub mod fault;
pub mod guc;
pub mod hba_file;
pub mod json;
pub mod label;
pub mod latch;
pub mod lock_holder;
pub mod log;
pub mod memory;
pub mod name;
pub mod network_library;
pub mod oauth;
pub mod pam;
pub mod panics;
pub mod password;
pub mod peer;
pub mod privileges;
pub mod query;
pub mod role;
pub mod server;
mod shim;
pub mod sign_in_method;
pub mod snapshot;
pub mod termination;
pub mod text;
pub mod uuid;
pub mod worker;
