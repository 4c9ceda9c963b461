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
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use pg_test::Result;
use pg_test::rig::Rig;
use pg_test::timing::{conclude, trial};

/// One test: a name that says what must hold, and what tries it.
type Test = (&'static str, fn(&Rig) -> Result<()>);

const MODULES: &[(&str, &[Test])] = &[
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
    let mut arguments = Arguments::from_args();
    // Each starts servers of its own, and some measure times.
    arguments.test_threads.get_or_insert(2);
    if arguments.list {
        libtest_mimic::run(&arguments, trials(&None)).exit();
    }
    let rig = match version::find().and_then(|()| Rig::start()) {
        Ok(rig) => Some(Arc::new(rig)),
        Err(error) => {
            eprintln!("the tests could not be set up: {error}");
            return ExitCode::FAILURE;
        }
    };
    let conclusion = libtest_mimic::run(&arguments, trials(&rig));
    // `exit` would leave servers behind: everything is dropped first.
    drop(rig);
    conclude("pooler", &conclusion)
}

/// Every test as libtest-mimic wants it; without a rig they can be listed, not run.
fn trials(rig: &Option<Arc<Rig>>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (module, tests) in MODULES {
        for (name, test) in *tests {
            let rig = rig.clone();
            trials.push(trial(format!("{module}::{name}"), move || {
                test(rig.as_deref().ok_or("there is no rig")?)
            }));
        }
    }
    trials
}
