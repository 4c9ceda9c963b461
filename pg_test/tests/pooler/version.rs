//! Which PgBouncer is under test: the machine's, or by `AADAUTH_TEST_PGBOUNCER=1.26` one that `.ci/servers` has fetched.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use pg_test::Result;
use pg_test::place::target;
use pg_test::process::checked;
use pg_test::rig::ensure;

static FOUND: OnceLock<(u32, u32)> = OnceLock::new();

/// The first version that passes tokens of more than 2,047 bytes.
const LONG_TOKENS: (u32, u32) = (1, 26);

/// A version without the option `-R`.
const NO_TAKEOVER: (u32, u32) = (1, 26);

/// The first version whose SIGTERM means `SHUTDOWN WAIT_FOR_CLIENTS`.
const DRAINS: (u32, u32) = (1, 23);

/// Asks PgBouncer for its version, which must be the one that the environment names.
pub fn find() -> Result<()> {
    let script = format!("{} && exec pgbouncer --version", mount());
    let said = checked(&mut in_namespace(&script))?;
    let version = said.lines().next().unwrap_or_default();
    println!("{version}");
    if let Some(wanted) = wanted() {
        ensure(version.starts_with(&format!("PgBouncer {wanted}.")), || {
            format!("PgBouncer {wanted} is to be tested, and this is {version:?}")
        })?;
    }
    let mut numbers = version.trim_start_matches("PgBouncer ").split('.');
    let mut number = || -> Result<u32> { Ok(numbers.next().ok_or("no version")?.parse()?) };
    let found = (number()?, number()?);
    ensure(*FOUND.get_or_init(|| found) == found, || {
        "two versions in one run".to_owned()
    })
}

/// Whether it passes tokens of more than 2,047 bytes.
pub fn passes_long_tokens() -> bool {
    is_at_least(LONG_TOKENS)
}

/// Whether SIGTERM lets its clients finish.
pub fn drains() -> bool {
    is_at_least(DRAINS)
}

/// Whether it has the option `-R`.
pub fn takes_over() -> bool {
    !is_at_least(NO_TAKEOVER)
}

fn is_at_least(version: (u32, u32)) -> bool {
    FOUND.get().is_some_and(|found| *found >= version)
}

/// A shell command that makes it, with the libraries of its own, the one in `/usr/sbin`; for [`in_namespace`].
pub fn mount() -> String {
    match usr() {
        Some(usr) => format!("mount --bind '{}' /usr", usr.display()),
        None => "true".to_owned(),
    }
}

/// Runs a script where what it mounts is seen by nobody else.
pub fn in_namespace(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-ec", script])
        .current_dir("/");
    command
}

fn wanted() -> Option<String> {
    env::var("AADAUTH_TEST_PGBOUNCER").ok()
}

fn usr() -> Option<PathBuf> {
    let place = format!("servers/pgbouncer-{}/usr", wanted()?);
    Some(target().join(place))
}
