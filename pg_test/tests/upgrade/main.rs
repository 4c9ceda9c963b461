//! What an administrator does to a server with mapped roles: a new version of the extension, a new major
//! version of PostgreSQL, a dump and its restoration.
//!
//! Two servers take part: the one of `PG_CONFIG`, and a newer one of `NEWER_PG_CONFIG` (`target/servers/17`). The
//! library is installed for both. Where the newer one has no PAM, its lines are in the alternate HBA file, and the
//! tests that need PAM on it are ignored.

mod catalog;
mod cluster;
mod dump;
mod extension;
mod fixture;
mod mappings;
mod newer;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use pg_test::Result;
use pg_test::rig::Rig;
use pg_test::timing::{self, conclude};

use newer::Newer;

/// The servers of a run.
struct Servers {
    rig: Rig,
    newer: Newer,
}

type Test = (&'static str, fn(&Servers) -> Result<()>);

const MODULES: &[(&str, &[Test])] = &[
    ("extension", extension::TESTS),
    ("dump", dump::TESTS),
    ("cluster", cluster::TESTS),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(2);
    if arguments.list {
        libtest_mimic::run(&arguments, trials(&None)).exit();
    }
    let servers = match start() {
        Ok(servers) => Some(Arc::new(servers)),
        Err(error) => {
            eprintln!("the tests could not be set up: {error}");
            return ExitCode::FAILURE;
        }
    };
    let conclusion = libtest_mimic::run(&arguments, trials(&servers));
    // `exit` would leave servers behind.
    drop(servers);
    conclude("upgrade", &conclusion)
}

/// The newer server's library first: what is left in the build directory is the other's.
fn start() -> Result<Servers> {
    let newer = Newer::install()?;
    let rig = Rig::start()?;
    Ok(Servers { rig, newer })
}

fn trials(servers: &Option<Arc<Servers>>) -> Vec<Trial> {
    let without_pam = servers
        .as_ref()
        .is_some_and(|servers| !servers.newer.has_pam());
    let trial = |module: &str, (name, test): Test| {
        let servers = servers.clone();
        timing::trial(format!("{module}::{name}"), move || {
            test(servers.as_deref().ok_or("there are no servers")?)
        })
    };
    let mut trials = Vec::new();
    for (module, tests) in MODULES {
        trials.extend(tests.iter().map(|test| trial(module, *test)));
    }
    let with_pam = cluster::PAM_TESTS.iter();
    trials.extend(with_pam.map(|test| trial("cluster", *test).with_ignored_flag(without_pam)));
    trials
}
