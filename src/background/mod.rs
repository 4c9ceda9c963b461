//! What the background workers share.

pub mod database;
pub mod network;
pub mod notifier;
mod replicated;
pub mod schedule;
