//! Standbys, subscriptions, dumps and restores that sign in as a managed identity, with tokens of a minute: the blocks of
//! docs/replication.md.
//!
//! `cargo test --release --workspace --test replication -- dumps::` runs a part. Run as root: the servers are started as
//! `postgres`. Each test that waits for tokens to expire takes minutes.

mod dumps;
mod page;
mod revoked;
mod site;
mod standby;
mod subscription;

use std::process::ExitCode;

use pg_test::rig::Rig;
use pg_test::suite::{Module, Test, run};

const MODULES: &[Module] = &[
    ("standby", standby::TESTS),
    ("subscription", subscription::TESTS),
    ("dumps", dumps::TESTS),
    ("revoked", revoked::TESTS),
    ("page", page::TESTS),
];

fn main() -> ExitCode {
    // They wait, each for minutes.
    run("replication", 8, Rig::start, MODULES)
}
