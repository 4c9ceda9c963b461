//! All steps of `packaging/Dockerfile`, to the image and to the one for tests of applications.

use std::fs;

use pg_test::Result;
use pg_test::emulator::program;
use pg_test::machine::Network;
use pg_test::place::{RunDirectory, major, source};
use pg_test::rig::ensure;

use crate::build::{Build, Place};
use crate::ci::sign_in_as_applications;
use crate::container::{Container, DOCKERFILE, STAGE};
use crate::instructions::read;
use crate::prepared::{PACKAGES, Server};

/// One test, and whether it runs only on request.
type Test = (&'static str, bool, fn() -> Result<()>);

pub const TESTS: &[Test] = &[
    ("what_is_built_is_left_out", false, context),
    ("its_steps_lead_to_a_server", true, steps),
];

/// Docker sends everything that it isn't told to leave out.
fn context() -> Result<()> {
    let left_out = fs::read_to_string(source().join(format!("{DOCKERFILE}.dockerignore")))?;
    for name in [".git", "target", "results"] {
        ensure(left_out.lines().any(|line| line == name), || {
            format!("{name} would be sent")
        })?;
    }
    Ok(())
}

fn steps() -> Result<()> {
    let run = RunDirectory::create()?;
    let instructions = read(&fs::read_to_string(source().join(DOCKERFILE))?)?;
    let mut build = Build::new(&run)?;
    for instruction in &instructions {
        build
            .follow(instruction)
            .map_err(|error| format!("{instruction:?}: {error}"))?;
    }
    let for_tests = build.take(Some(STAGE))?;
    let Place::Machine(machine) = build.take(None)?.place else {
        return Err("no last stage".into());
    };
    // From here on nothing may come from elsewhere.
    fs::copy(program(), machine.path("/usr/local/bin/entra-emulator"))?;
    // Where the document's commands are run; the image has no package left there.
    fs::create_dir_all(machine.path(PACKAGES))?;
    let machine = machine
        .stop()?
        .start(run.path().join("image"), Network::Own)?;
    let server = Server {
        machine,
        major: major()?,
    };
    server.set_up(false)?;
    let alice = "alice@contoso.com";
    server.lets_in(alice, &server.token(alice)?)?;
    server.refuses(alice, &server.token("mallory@contoso.com")?)?;

    let container = Container::of(for_tests, &run)?;
    container.start("")?;
    sign_in_as_applications(&container)
}
