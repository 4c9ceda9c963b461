//! The versions of clients that do not report their own.

use std::fs;
use std::process::Command;

use pg_test::Result;
use pg_test::place::source;
use pg_test::process::checked;

/// The upstream version of one of Debian's packages.
pub fn of_debian(package: &str) -> Result<String> {
    let mut query = Command::new("dpkg-query");
    let version = checked(query.args(["-W", "-f", "${source:Upstream-Version}", package]))?;
    Ok(version)
}

/// The newest version of a crate that the Rust clients are built with.
pub fn of_crate(name: &str) -> Result<String> {
    let lock = fs::read_to_string(source().join("pg_test/clients/rust/Cargo.lock"))?;
    let begin = format!("name = \"{name}\"\nversion = \"");
    lock.split(&begin)
        .skip(1)
        .last()
        .and_then(|rest| rest.split('"').next())
        .map(str::to_owned)
        .ok_or_else(|| format!("the lock file has no {name}").into())
}
