//! The background workers.

mod age;
pub mod audit;
mod directory_log;
mod doorbell;
mod fetch;
mod key_file;
pub mod network;
mod questions;
mod schedule;
mod signing_keys;
