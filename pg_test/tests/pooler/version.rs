//! Which PgBouncer is under test: the machine's, or by `AADAUTH_TEST_PGBOUNCER=1.26` one that `.ci/servers` has fetched.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use pg_test::Result;
use pg_test::pam;
use pg_test::place::target;
use pg_test::process::{Owned, checked, postgres_account};
use pg_test::rig::ensure;
use rustix::process::Signal;

static FOUND: OnceLock<Version> = OnceLock::new();

type Version = (u32, u32);

/// From this version on, it passes tokens of more than 2,047 bytes.
pub const LONG_TOKENS: Version = (1, 26);

/// From this version on, SIGTERM lets its clients finish (`SHUTDOWN WAIT_FOR_CLIENTS`).
pub const DRAINS: Version = (1, 23);

/// From this version on, `RELOAD` keeps its connections to the server where TLS is in use.
pub const RELOADS_IN_PLACE: Version = (1, 24);

/// A version without the option `-R`; it may have gone earlier.
pub const NO_TAKEOVER: Version = (1, 26);

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

/// Whether it is of that version or a later one.
pub fn is_at_least(version: Version) -> bool {
    FOUND.get().is_some_and(|found| *found >= version)
}

/// Starts it with everything in its log, and with this directory as `/etc/pam.d`.
pub fn run(pam: &pam::Directory, ini: &Path, options: &str) -> Result<Owned> {
    let (user, group) = postgres_account()?;
    let script = format!(
        "mount --bind '{}' /etc/pam.d && {} && exec setpriv --reuid={user} --regid={group} --clear-groups \
         /usr/sbin/pgbouncer -v -v -v -q {options} '{}'",
        pam.path().display(),
        mount(),
        ini.display()
    );
    let mut command = in_namespace(&script);
    command
        // What libpq takes from the environment must not count.
        .env("PGSSLMODE", "disable")
        .env("PGHOST", "nowhere.invalid")
        .env("PGOPTIONS", "-c nonsense=1")
        .env("PGGSSENCMODE", "require")
        .env("PGAPPNAME", "nobody")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    Owned::start("PgBouncer", &mut command, Signal::TERM)
}

/// A shell command that makes it, with the libraries of its own, the one in `/usr/sbin`; for [`in_namespace`].
fn mount() -> String {
    match usr() {
        Some(usr) => format!("mount --bind '{}' /usr", usr.display()),
        None => "true".to_owned(),
    }
}

/// Runs a script where what it mounts is seen by nobody else.
fn in_namespace(script: &str) -> Command {
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
