//! The background workers.

mod age;
pub mod audit;
pub mod database;
mod directory_log;
pub mod doorbell;
mod fetch;
pub mod group_sync;
mod key_file;
pub mod network;
mod questions;
mod schedule;
pub mod sessions;
mod signing_keys;

pub use age::OLD as OLD_KEYS;
pub use database::ProblemKind;
