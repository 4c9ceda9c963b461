//! Reads a directory file.

use std::fs;
use std::path::Path;

use super::check::Check;
use super::file::{Fault, File};
use super::model::Directory;

/// The directory file that is used where none is named.
pub const BUILT_IN: &str = include_str!("../../directory.toml");

/// What is wrong with a directory file.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("cannot read the directory file {path}: {source}")]
    Unreadable {
        path: String,
        source: std::io::Error,
    },
    #[error("{origin}: {source}")]
    Syntax {
        origin: String,
        source: Box<toml::de::Error>,
    },
    #[error("{origin}, line {line}: {problem}")]
    Content {
        origin: String,
        line: usize,
        problem: String,
    },
}

impl Directory {
    /// Reads and checks the directory file `path`. Errors name the file, line and field.
    pub fn read(path: &Path) -> Result<Directory, DirectoryError> {
        read(path)
    }

    /// The same for text; `origin` is the file's name in errors.
    pub fn parse(text: &str, origin: &str) -> Result<Directory, DirectoryError> {
        parse(text, origin, None)
    }

    /// The directory that ships with the emulator: tenant Contoso.
    pub fn built_in() -> Result<Directory, DirectoryError> {
        parse(BUILT_IN, "the built-in directory", None)
    }
}

fn read(path: &Path) -> Result<Directory, DirectoryError> {
    let origin = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| DirectoryError::Unreadable {
        path: origin.clone(),
        source,
    })?;
    parse(&text, &origin, path.parent())
}

/// `beside` is the directory that names of other files are seen from.
fn parse(text: &str, origin: &str, beside: Option<&Path>) -> Result<Directory, DirectoryError> {
    let file: File = toml::from_str(text).map_err(|source| DirectoryError::Syntax {
        origin: origin.to_owned(),
        source: Box::new(source),
    })?;
    Check::new(beside)
        .directory(file)
        .map_err(|Fault { at, problem }| DirectoryError::Content {
            origin: origin.to_owned(),
            line: text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1,
            problem,
        })
}
