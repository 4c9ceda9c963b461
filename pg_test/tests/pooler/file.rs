//! The module's configuration file and PAM's: read when they change, and refused if they are wrong.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::process::checked;
use pg_test::rig::{Rig, ensure};

use crate::Test;
use crate::pgbouncer::{Pooled, SESSION};

pub const TESTS: &[Test] = &[
    ("a_wrong_file_refuses_and_a_right_one_is_read_again", read),
    ("another_module_alone_lets_nobody_in", other_module),
];

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
            "line 4: \"deadline\" must be a number of milliseconds",
        ),
        (
            "sever = x",
            "line 4: the settings are \"server\", \"deadline\" and \"wake\"",
        ),
        (
            "server = host=x user=y",
            "line 4: \"server\" must name \"dbname\"",
        ),
    ] {
        pooled.configure(lines)?;
        refuses(message)?;
    }
    pooled.configure("deadline = 2000")?;
    let file = pooled.configuration();
    fs::set_permissions(&file, Permissions::from_mode(0o666))?;
    refuses("must not be writable by group or others")?;
    let long = format!("deadline = 2000\n{}", "# long\n".repeat(10_000));
    pooled.configure(&long)?;
    refuses("it is longer than 65536 bytes")?;
    fs::remove_file(&file)?;
    refuses("No such file")?;
    // Nobody writes to it.
    checked(Command::new("mkfifo").args(["-m", "644"]).arg(&file))?;
    let began = Instant::now();
    refuses("it is not a regular file")?;
    ensure(began.elapsed() < Duration::from_secs(10), || {
        format!("refused after {:?}", began.elapsed())
    })?;
    fs::remove_file(&file)?;
    pooled.configure("deadline = 2000")?;
    ensure(is_in()?, || "the file is not read again".to_owned())
}

/// The account line succeeds only after this module has accepted the credential in the same login.
fn other_module(rig: &Rig) -> Result<()> {
    let pooled = Pooled::start(rig, "pooled-other-module", |plan| plan)?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let token = rig.token_of(&person)?;
    pooled.query(SESSION, &person.role, &token, "SELECT 1")?;
    pooled.set_service("pam_permit.so", &pooled.module())?;
    for secret in [token.as_str(), "password"] {
        let outcome = pooled.sign_in(SESSION, &person.role, secret)?.outcome;
        ensure(!outcome.is_in(), || {
            format!("let in by pam_permit with {secret:.8}")
        })?;
    }
    // The test can tell: with pam_permit on both lines, everybody gets in.
    pooled.set_service("pam_permit.so", "pam_permit.so")?;
    pooled.query(SESSION, &person.role, "password", "SELECT 1")?;
    pooled.set_service(&format!("{} port=1", pooled.module()), &pooled.module())?;
    let outcome = pooled.sign_in(SESSION, &person.role, &token)?.outcome;
    ensure(!outcome.is_in(), || {
        "let in with an unknown argument".to_owned()
    })?;
    pooled.set_service(&pooled.module(), &pooled.module())?;
    pooled
        .query(SESSION, &person.role, &token, "SELECT 1")
        .map(drop)
}
