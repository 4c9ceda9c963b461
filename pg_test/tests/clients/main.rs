//! The clients of docs/clients.md sign in with the code that it shows, and Prometheus's exporter reads the statistics: a
//! real server, an emulated Entra ID.
//!
//! `cargo test --release --workspace --test clients -- python::` runs a part. Run as root, after
//! `.ci/prerequisites all`.

mod go;
mod java;
mod libpq;
mod monitoring;
mod node;
mod odbc;
mod page;
mod pgadmin;
mod python;
mod rust;
mod surroundings;
mod versions;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use pg_test::Result;
use pg_test::rig::Rig;
use pg_test::timing::{conclude, trial};

use crate::surroundings::prepare;

/// One test: a name that says what must hold, and what tries it.
type Test = (&'static str, fn(&Rig) -> Result<()>);

/// A client as the page's table names it, and its version, which it reports itself.
type Installed = (&'static str, fn() -> Result<String>);

const MODULES: &[(&str, &[Test])] = &[
    ("page", page::TESTS),
    ("libpq", libpq::TESTS),
    ("node", node::TESTS),
    ("python", python::TESTS),
    ("java", java::TESTS),
    ("go", go::TESTS),
    ("odbc", odbc::TESTS),
    ("rust", rust::TESTS),
    ("pgadmin", pgadmin::TESTS),
    ("monitoring", monitoring::TESTS),
];

const INSTALLED: &[&[Installed]] = &[
    libpq::INSTALLED,
    node::INSTALLED,
    python::INSTALLED,
    java::INSTALLED,
    go::INSTALLED,
    odbc::INSTALLED,
    rust::INSTALLED,
    pgadmin::INSTALLED,
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(3);
    if arguments.list {
        libtest_mimic::run(&arguments, trials(&None)).exit();
    }
    let rig = match Rig::start().and_then(prepare) {
        Ok(rig) => Some(Arc::new(rig)),
        Err(error) => {
            eprintln!("the tests could not be set up: {error}");
            return ExitCode::FAILURE;
        }
    };
    let conclusion = libtest_mimic::run(&arguments, trials(&rig));
    // `exit` would leave servers behind: everything is dropped first.
    drop(rig);
    conclude("clients", &conclusion)
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
