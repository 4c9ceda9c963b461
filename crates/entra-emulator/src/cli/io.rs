//! What several commands read and print.

use std::io::Write as _;
use std::path::Path;

use super::error::CommandError;
use crate::directory::{Directory, DirectoryError};

pub(super) fn directory(path: Option<&Path>) -> Result<Directory, DirectoryError> {
    match path {
        Some(path) => Directory::read(path),
        None => Directory::built_in(),
    }
}

pub(super) fn print(text: &str) -> Result<(), CommandError> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}
