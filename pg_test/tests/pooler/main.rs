//! Sign-ins through PgBouncer, which asks the server with `pam_aadauth.so`: a real PgBouncer, a real server, an
//! emulated Entra ID.
//!
//! `cargo test --release --workspace --test pooler -- failures::` runs a part. Run as root: PgBouncer and the servers
//! are started as `postgres`. `AADAUTH_TEST_PGBOUNCER=1.26` in the environment chooses another PgBouncer than the
//! machine's.

mod audit;
mod failures;
mod file;
mod grace;
mod group_roles;
mod hosts;
mod installed;
mod killed;
mod lengths;
mod local_roles;
mod modes;
mod pgbouncer;
mod processes;
mod relay;
mod remapped;
mod secrecy;
mod sign_ins;
mod storm;
mod trusted;
mod unknown_keys;
mod version;

use std::process::ExitCode;

use pg_test::rig::Rig;
use pg_test::suite::{Module, Test, run};

const MODULES: &[Module] = &[
    ("sign_ins", sign_ins::TESTS),
    ("failures", failures::TESTS),
    ("file", file::TESTS),
    ("hosts", hosts::TESTS),
    ("installed", installed::TESTS),
    ("lengths", lengths::TESTS),
    ("modes", modes::TESTS),
    ("processes", processes::TESTS),
    ("secrecy", secrecy::TESTS),
    ("audit", audit::TESTS),
    ("grace", grace::TESTS),
    ("local_roles", local_roles::TESTS),
    ("group_roles", group_roles::TESTS),
    ("remapped", remapped::TESTS),
    ("unknown_keys", unknown_keys::TESTS),
    ("storm", storm::TESTS),
    ("killed", killed::TESTS),
];

fn main() -> ExitCode {
    // Each starts servers of its own, and some measure times.
    run(
        "pooler",
        2,
        || version::find().and_then(|()| Rig::start()),
        MODULES,
    )
}
