//! What the client asks, and what it makes of answers: of the emulator's, and of those of a server
//! that plays any part it is given.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod again;
mod credentials;
mod emulator;
mod hostile;
mod https;
mod managed_identity;
mod members;
mod proxy;
mod questions;
mod rig;
mod server;
mod tokens;
