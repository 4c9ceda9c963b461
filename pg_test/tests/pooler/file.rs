//! The module's configuration file: read when it changes, and refused if it is wrong.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use pg_test::Result;
use pg_test::rig::{Rig, ensure};

use crate::Test;
use crate::pgbouncer::{Pooled, SESSION};

pub const TESTS: &[Test] = &[("a_wrong_file_refuses_and_a_right_one_is_read_again", read)];

fn read(rig: &Rig) -> Result<()> {
    let pooled = Pooled::start(rig, "pooled-file", |plan| plan)?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let token = rig.token_of(&person)?;
    let is_in = || -> Result<bool> {
        Ok(pooled
            .sign_in(SESSION, &person.role, &token)?
            .outcome
            .is_in())
    };
    let refuses = |message: &str| -> Result<()> {
        let before = pooled.log()?.len();
        ensure(!is_in()?, || format!("let in with {message:?}"))?;
        let log = pooled.log()?;
        ensure(log[before..].contains(message), || {
            format!("{message:?} is not in\n{}", &log[before..])
        })
    };
    pooled.query(SESSION, &person.role, &token, "SELECT 1")?;
    for (lines, message) in [
        (
            "deadline = 1",
            "line 3: \"deadline\" must be a number of milliseconds",
        ),
        (
            "sever = x",
            "line 3: the settings are \"server\", \"deadline\" and \"wake\"",
        ),
        (
            "server = host=x user=y",
            "line 3: \"server\" must name \"dbname\"",
        ),
    ] {
        pooled.configure(lines)?;
        refuses(message)?;
    }
    pooled.configure("deadline = 2000")?;
    let file = pooled.configuration();
    fs::set_permissions(&file, Permissions::from_mode(0o666))?;
    refuses("must not be writable by group or others")?;
    fs::remove_file(&file)?;
    refuses("No such file")?;
    pooled.configure("deadline = 2000")?;
    ensure(is_in()?, || "the file is not read again".to_owned())
}
