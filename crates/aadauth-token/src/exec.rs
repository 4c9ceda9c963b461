//! Runs a client with the token as its password.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use entra_client::access_token::AccessToken;

use crate::problem::Problem;

/// Replaces this process by the program; returns only if that fails, and then why.
///
/// The token is in the program's environment, which other users of the machine cannot read.
/// <https://www.postgresql.org/docs/current/libpq-envars.html>
pub fn run(program: &OsStr, arguments: &[OsString], token: &AccessToken) -> Problem {
    let error = Command::new(program)
        .args(arguments)
        .env("PGPASSWORD", OsStr::from_bytes(token.text()))
        .exec();
    Problem {
        // As a shell ends.
        status: match error.kind() {
            io::ErrorKind::NotFound => 127,
            _ => 126,
        },
        text: format!("{}: {error}", program.display()),
    }
}
