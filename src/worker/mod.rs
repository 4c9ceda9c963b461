//! The background workers.

mod age;
pub mod audit;
mod fetch;
mod key_file;
pub mod network;
mod schedule;
