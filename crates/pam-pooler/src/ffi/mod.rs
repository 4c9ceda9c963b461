//! All unsafe code: what libpam calls, and what is called of libpam, libpq and the C library.
#![allow(unsafe_code)]

pub mod connection;
mod entry;
pub mod options;
pub mod pam;
pub mod system;
