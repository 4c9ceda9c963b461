//! A program of tests that share one rig.

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

use crate::Result;
use crate::rig::Rig;
use crate::timing::{conclude, trial};

/// One test: a name that says what must hold, and what tries it.
pub type Test = (&'static str, fn(&Rig) -> Result<()>);

/// The tests of a module, by its name.
pub type Module = (&'static str, &'static [Test]);

/// Runs the tests that the command line chooses, `threads` at once if it does not say how many; `start` makes the rig.
pub fn run(
    name: &str,
    threads: usize,
    start: impl FnOnce() -> Result<Rig>,
    modules: &[Module],
) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(threads);
    if arguments.list {
        libtest_mimic::run(&arguments, trials(modules, None)).exit();
    }
    let rig = match start() {
        Ok(rig) => Arc::new(rig),
        Err(error) => {
            eprintln!("the tests could not be set up: {error}");
            return ExitCode::FAILURE;
        }
    };
    let conclusion = libtest_mimic::run(&arguments, trials(modules, Some(&rig)));
    // `exit` would leave servers behind: everything is dropped first.
    drop(rig);
    conclude(name, &conclusion)
}

/// Every test as libtest-mimic wants it; without a rig they can be listed, not run.
fn trials(modules: &[Module], rig: Option<&Arc<Rig>>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (module, tests) in modules {
        for (name, test) in *tests {
            let rig = rig.cloned();
            trials.push(trial(format!("{module}::{name}"), move || {
                test(rig.as_deref().ok_or("there is no rig")?)
            }));
        }
    }
    trials
}
