//! The program, run against the emulator in this process.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod device_code;
mod emulator;
mod identities;
mod passfile;
mod usage;
