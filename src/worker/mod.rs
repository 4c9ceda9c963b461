//! The background workers.

mod age;
pub mod audit;
mod database;
mod directory_log;
pub mod doorbell;
mod fetch;
pub mod group_sync;
mod key_file;
pub mod network;
mod questions;
mod schedule;
mod signing_keys;

pub use age::OLD as OLD_KEYS;
pub use database::ProblemKind;
