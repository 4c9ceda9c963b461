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
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use pg_test::Result;
use pg_test::rig::Rig;
use pg_test::timing::{conclude, trial};

/// One test: a name that says what must hold, and what tries it.
type Test = (&'static str, fn(&Rig) -> Result<()>);

const MODULES: &[(&str, &[Test])] = &[
    ("standby", standby::TESTS),
    ("subscription", subscription::TESTS),
    ("dumps", dumps::TESTS),
    ("revoked", revoked::TESTS),
    ("page", page::TESTS),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They wait, each for minutes.
    arguments.test_threads.get_or_insert(8);
    if arguments.list {
        libtest_mimic::run(&arguments, trials(&None)).exit();
    }
    let rig = match Rig::start() {
        Ok(rig) => Some(Arc::new(rig)),
        Err(error) => {
            eprintln!("the tests could not be set up: {error}");
            return ExitCode::FAILURE;
        }
    };
    let conclusion = libtest_mimic::run(&arguments, trials(&rig));
    // `exit` would leave servers behind: everything is dropped first.
    drop(rig);
    conclude("replication", &conclusion)
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
