//! What the background workers have in common.

pub mod database;
pub mod notifier;
pub mod schedule;
