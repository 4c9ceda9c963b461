//! Rules on the project's own source, for development only: nothing of this is shipped.
//!
//! | module | what it checks |
//! |---|---|
//! | [`imports`] | the direction of imports between rooms, circles of files, unsafe code, text that is not converted |
//! | [`words`] | words that are not used here, by the table in `words.txt` |
//! | [`count`] | lines of code, findings, files and tests |
#![forbid(unsafe_code)]

pub mod count;
pub mod imports;
mod modules;
mod picture;
mod source;
mod text;
pub mod words;

use std::error::Error;
use std::path::Path;

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The root of the repository that this crate is part of.
pub fn repository() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .ok_or_else(|| "the crate is not in crates/".into())
}
