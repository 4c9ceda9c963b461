//! The emulator as a process: its endpoints, its control interface, its commands.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod assertion;
mod authorization_code;
mod azure_cli;
mod command_line;
mod control;
mod device_code;
mod discovery;
mod emulator;
mod graph;
mod graph_access;
mod managed_identity;
mod members;
mod token_endpoint;
mod users;
