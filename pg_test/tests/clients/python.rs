//! Python's clients.

use std::process::Command;

use pg_test::Result;
use pg_test::place::target;
use pg_test::process::checked;
use pg_test::rig::{Rig, ensure};

use crate::page::block;
use crate::surroundings::{ALICE, IDENTITY, Who, prints, run, signs_in};
use crate::{Installed, Test};

pub const TESTS: &[Test] = &[("psycopg", |rig| client(rig, "psycopg", PSYCOPG_POOL))];

pub const INSTALLED: &[Installed] = &[("psycopg", || version("psycopg"))];

/// Prints how many connections the pool can have at once.
const PSYCOPG_POOL: &str = "
with pool.connection() as one, pool.connection() as two:
    print(len({connection.info.backend_pid for connection in (one, two)}))
";

/// The page's code signs in; with `pool` after it, a second connection gets a token of its own.
fn client(rig: &Rig, name: &str, pool: &str) -> Result<()> {
    let code = block(&format!("python {name}"))?;
    signs_in(rig, || python(&code))?;
    prints(rig, python(&code)?, Who::Identity(IDENTITY), IDENTITY)?;
    let two = run(rig, python(&format!("{code}{pool}"))?, Who::User(ALICE))?;
    ensure(
        two.printed.output == format!("{ALICE}\n2") && two.az_calls >= 2,
        || format!("{two:?}"),
    )
}

fn python(code: &str) -> Result<Command> {
    let mut command = Command::new(target().join("venv/bin/python"));
    command.args(["-c", code]);
    Ok(command)
}

fn version(package: &str) -> Result<String> {
    let code = format!("import importlib.metadata as m; print(m.version('{package}'))");
    let mut python = Command::new(target().join("venv/bin/python"));
    Ok(checked(python.args(["-c", &code]))?.trim().to_owned())
}
