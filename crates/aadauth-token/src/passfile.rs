//! A password file of libpq that always has a token which is good for a while: for standbys, subscriptions and other
//! clients that run for longer than a token lives, and read the file whenever they connect.
//! <https://www.postgresql.org/docs/current/libpq-pgpass.html>

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use entra_client::access_token::AccessToken;
use tempfile::NamedTempFile;

use crate::source::Source;

const FIRST_LINE: &[u8] = b"# aadauth-token replaces this file.\n";
/// After a failure, twice as long after each further one, up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// Between two renewals, at least.
const SHORTEST: Duration = Duration::from_secs(1);

/// The first four fields of a line: host, port, database and user, as libpq reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry(String);

impl FromStr for Entry {
    type Err = String;

    fn from_str(text: &str) -> Result<Entry, String> {
        let mut fields = vec![0_usize];
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                ':' => fields.push(0),
                '\n' | '\r' | '\0' => return Err("it has a line break in it".to_owned()),
                '\\' if characters.next().is_none() => {
                    return Err("it ends with a backslash".to_owned());
                }
                _ => fields.iter_mut().last().map_or((), |length| *length += 1),
            }
        }
        match fields.as_slice() {
            [_, _, _, _] if !fields.contains(&0) => Ok(Entry(text.to_owned())),
            _ => Err(
                "write HOST:PORT:DATABASE:USER, with * for any, and \\: for a colon in a name"
                    .to_owned(),
            ),
        }
    }
}

/// Writes the file; with `every`, goes on and replaces it before the token expires.
///
/// # Errors
///
/// There is no first token, or the file is another program's or cannot be written. Later failures are reported, and
/// tried again.
pub fn keep(
    path: &Path,
    entry: &Entry,
    every: Option<Duration>,
    source: &Source,
) -> Result<(), String> {
    check_ours(path)?;
    let mut pause = renew(path, entry, source)?;
    let Some(every) = every else { return Ok(()) };
    let mut retry = FIRST_RETRY;
    loop {
        thread::sleep(pause.min(every));
        pause = match renew(path, entry, source) {
            Ok(pause) => {
                retry = FIRST_RETRY;
                pause
            }
            Err(problem) => {
                eprintln!(
                    "aadauth-token: {problem}; trying again in {} s",
                    retry.as_secs()
                );
                let pause = retry;
                retry = (retry * 2).min(LONGEST_RETRY);
                pause
            }
        };
    }
}

/// Returns after how long the token is to be renewed.
fn renew(path: &Path, entry: &Entry, source: &Source) -> Result<Duration, String> {
    let token = source.token()?;
    write(path, entry, &token).map_err(|error| format!("{}: {error}", path.display()))?;
    eprintln!(
        "aadauth-token: {} has a token that expires in {} s",
        path.display(),
        token.lifetime.as_secs()
    );
    Ok((token.lifetime / 4 * 3).max(SHORTEST))
}

/// A file with other passwords in it must not be lost.
fn check_ours(path: &Path) -> Result<(), String> {
    let problem = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => error.to_string(),
        Ok(metadata) if !metadata.is_file() => "it is not a regular file".to_owned(),
        Ok(metadata) if metadata.len() == 0 => return Ok(()),
        Ok(_) => match fs::read(path) {
            Ok(content) if content.starts_with(FIRST_LINE) => return Ok(()),
            Ok(_) => {
                "it was not written by aadauth-token, which would replace it: choose another file"
                    .to_owned()
            }
            Err(error) => error.to_string(),
        },
    };
    Err(format!("{}: {problem}", path.display()))
}

/// Readers see the file before or after, never a part of it. Its mode is 0600, which libpq demands.
fn write(path: &Path, entry: &Entry, token: &AccessToken) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(FIRST_LINE)?;
    file.write_all(entry.0.as_bytes())?;
    file.write_all(b":")?;
    for byte in token.text.iter() {
        if matches!(byte, b':' | b'\\') {
            file.write_all(b"\\")?;
        }
        file.write_all(&[*byte])?;
    }
    file.write_all(b"\n")?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Entry;

    #[test]
    fn connections_have_four_fields() {
        for good in [
            "db:5432:*:alice@contoso.com",
            "*:*:*:*",
            r"fe80\:\:1:5432:a\\b:vm",
        ] {
            assert_eq!(good.parse::<Entry>(), Ok(Entry(good.to_owned())));
        }
        for bad in [
            "",
            "db",
            "db:5432:*",
            "db:5432:*:a:b",
            "db::*:a",
            "a:b:c:",
            "a:b:c:d\\",
            "a:b:c:d\ne",
        ] {
            assert!(bad.parse::<Entry>().is_err(), "{bad:?}");
        }
    }
}
