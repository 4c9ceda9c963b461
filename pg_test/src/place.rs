//! Where things are: the source tree, what cargo built, and the directory that a run works in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{StatVfsMountFlags, statvfs};
use tempfile::TempDir;

use crate::Result;
use crate::process::{checked, postgres_account};

/// The top of the source tree.
pub fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Where cargo builds, and where `.ci/prerequisites` puts what it installs.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| source().join("target"), PathBuf::from)
}

/// The Python that has the packages of the tests.
pub fn python() -> PathBuf {
    target().join("venv/bin/python")
}

/// The node that the packages of the tests need, where the system's is too old, or else the system's.
pub fn node() -> PathBuf {
    let own = target().join("node/runtime/node_modules/.bin/node");
    if own.exists() {
        own
    } else {
        PathBuf::from("node")
    }
}

/// The `pg_config` of the server under test.
pub fn pg_config() -> PathBuf {
    std::env::var_os("PG_CONFIG").map_or_else(|| PathBuf::from("/usr/bin/pg_config"), PathBuf::from)
}

/// A program of the server under test, such as `pg_dump`.
///
/// # Errors
/// As [`pg_config_says`].
pub fn program(name: &str) -> Result<PathBuf> {
    Ok(PathBuf::from(pg_config_says("--bindir")?).join(name))
}

/// The major version of the server under test.
///
/// # Errors
/// As [`pg_config_says`].
pub fn major() -> Result<String> {
    major_of(&pg_config())
}

/// The major version that a `pg_config` is of.
///
/// # Errors
/// As [`version_of`].
pub fn major_of(pg_config: &Path) -> Result<String> {
    let version = version_of(pg_config)?;
    Ok(version.chars().take_while(char::is_ascii_digit).collect())
}

/// The version that a `pg_config` is of, such as 15.20.
///
/// # Errors
/// There is no such program, or it says something else.
pub fn version_of(pg_config: &Path) -> Result<String> {
    let says = checked(Command::new(pg_config).arg("--version"))?;
    let version = says.split_whitespace().nth(1).unwrap_or_default();
    if !version.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(format!("{} says {says:?}", pg_config.display()).into());
    }
    Ok(version.to_owned())
}

/// What `pg_config` says, such as for `--bindir`.
///
/// # Errors
/// There is no such program, or it knows no such option.
pub fn pg_config_says(option: &str) -> Result<String> {
    Ok(checked(Command::new(pg_config()).arg(option))?
        .trim()
        .to_owned())
}

/// Where runs work if it is large enough. The files of a server are a thousand, and ext4 takes long to create files
/// where as many were just deleted (`recently_deleted` in ialloc.c).
const IN_MEMORY: &str = "/dev/shm";

/// The bytes that must be free there. A run takes one to two GB at most.
const ENOUGH: u64 = 8 << 30;

/// Where a run works. Not in the source tree, which may be closed to the server's account.
fn workplace() -> &'static str {
    let fits = statvfs(IN_MEMORY).is_ok_and(|place| {
        place.f_bavail.saturating_mul(place.f_frsize) >= ENOUGH
            && !place.f_flag.contains(StatVfsMountFlags::NOEXEC)
    });
    if fits { IN_MEMORY } else { "/tmp" }
}

/// A directory for one run. It's removed with all that is in it.
pub struct RunDirectory(TempDir);

impl RunDirectory {
    /// # Errors
    /// Its place is not writable, or there is no account `postgres`.
    pub fn create() -> Result<RunDirectory> {
        let directory = tempfile::Builder::new()
            .prefix("aadauth-test-")
            .tempdir_in(workplace())?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        Ok(RunDirectory(directory))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes a directory in it that belongs to the server's account.
    ///
    /// # Errors
    /// It exists already.
    pub fn for_server(&self, name: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        fs::create_dir(&path)?;
        give_to_server(&path)?;
        Ok(path)
    }

    /// Keeps the directory, for a look at what went wrong.
    pub fn keep(&mut self) -> &Path {
        self.0.disable_cleanup(true);
        self.0.path()
    }
}

/// Hands a file or directory to the account that servers run under.
///
/// # Errors
/// Only root may do that.
pub fn give_to_server(path: &Path) -> Result<()> {
    let (user, group) = postgres_account()?;
    Ok(std::os::unix::fs::chown(path, Some(user), Some(group))?)
}
