//! The Debian packages, on a bare machine: nothing there but Debian, PostgreSQL, the package, and the
//! emulator in place of Entra ID. What META.json and the Dockerfile say is tried as well.
//!
//! The package is for the major version of `PG_CONFIG`; the machine has Debian's own server of that
//! version, so there are two: 15 on bookworm and 17 on trixie. The machines are made once, which takes a
//! minute and Debian's archive, and kept below `target/machines`.
//!
//! 1. Installing: nothing is missing, nothing is started, the three lines are named.
//! 2. Signing in, after the steps that the message names: token, password, stranger.
//! 3. Removing: the running server goes on; restarted, it doesn't start before the setting is taken out;
//!    then everyone on the line is refused, whatever `/etc/pam.d/other` would say.
//! 4. Purging leaves the PAM service file; installing again brings everything back.
//! 5. A service file that was changed stays as it is, and one that was deleted comes back.
//! 6. PgBouncer's package: logins through PgBouncer, the checker, the service file, removing.
//! 7. lintian finds nothing in the packages, and a newer release of Debian has newer ones.
//! 8. The image for tests of applications, by the last steps of the Dockerfile: applications for Azure sign in.
//! 9. `META.json` is what PGXN asks for and agrees with the rest; the Dockerfile's steps lead to a
//!    server that people sign in to (on request: it builds the library from nothing).

mod build;
mod ci;
mod compose;
mod container;
mod dockerfile;
mod installed;
mod instructions;
mod lintian;
mod meta;
mod pooler;
mod prepared;
mod removed;
mod service_file;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use pg_test::Result;
use pg_test::timing::{conclude, trial};

use prepared::Prepared;

/// One test: a name that says what must hold, and what tries it.
type Test = (&'static str, fn(&Prepared) -> Result<()>);

const MODULES: &[(&str, &[Test])] = &[
    ("installed", installed::TESTS),
    ("removed", removed::TESTS),
    ("service_file", service_file::TESTS),
    ("pooler", pooler::TESTS),
    ("lintian", lintian::TESTS),
    ("ci", ci::TESTS),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each starts a machine of its own.
    arguments.test_threads.get_or_insert(2);
    if arguments.list {
        libtest_mimic::run(&arguments, trials(&None)).exit();
    }
    let prepared = match Prepared::prepare() {
        Ok(prepared) => Some(Arc::new(prepared)),
        Err(error) => {
            eprintln!("the tests could not be set up: {error}");
            return ExitCode::FAILURE;
        }
    };
    let conclusion = libtest_mimic::run(&arguments, trials(&prepared));
    // `exit` would leave the machines' files behind.
    drop(prepared);
    conclude("package", &conclusion)
}

/// Every test as libtest-mimic wants it; without what is prepared they can be listed, not run.
fn trials(prepared: &Option<Arc<Prepared>>) -> Vec<Trial> {
    let mut trials: Vec<Trial> = meta::TESTS
        .iter()
        .map(|(name, test)| trial(format!("meta::{name}"), test))
        .collect();
    for (name, on_request, test) in dockerfile::TESTS {
        if *on_request {
            eprintln!(
                "skipped: dockerfile::{name}: it compiles everything again, so `make nightly` runs it"
            );
        }
        let trial = trial(format!("dockerfile::{name}"), test);
        trials.push(trial.with_ignored_flag(*on_request));
    }
    for (module, tests) in MODULES {
        for (name, test) in *tests {
            let prepared = prepared.clone();
            trials.push(trial(format!("{module}::{name}"), move || {
                test(prepared.as_deref().ok_or("nothing is prepared")?)
            }));
        }
    }
    trials
}
