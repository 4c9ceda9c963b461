//! What the background workers share.

pub mod database;
pub mod notifier;
pub mod schedule;
