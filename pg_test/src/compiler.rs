//! Libraries in C that tests load beside aadauth.

use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::place::{pg_config_says, source};
use crate::process::checked;

/// Compiles a file of `pg_test/tests/sign_in`, against the headers of the server, to the shared library `to`, with
/// these macros: `NAME` or `NAME="value"`.
///
/// # Errors
/// What the compiler said.
pub fn shared_library(file: &str, to: &Path, macros: &[&str]) -> Result<()> {
    let mut compile = Command::new("cc");
    compile
        .args(["-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-I"])
        .arg(pg_config_says("--includedir-server")?)
        .args(macros.iter().map(|name| format!("-D{name}")))
        .arg(source().join("pg_test/tests/sign_in").join(file))
        .arg("-o")
        .arg(to);
    checked(&mut compile).map(drop)
}
