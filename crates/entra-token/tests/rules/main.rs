//! The rules for tokens, each with what it accepts and what it refuses.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;
mod decision;
mod form;
mod header;
mod issuer;
mod keys;
mod membership;
mod principal;
mod properties;
mod revocation;
mod signature;
mod times;
mod vectors;
