//! A password file of libpq that always has a token which is good for a while: for standbys, subscriptions and other
//! clients that run for longer than a token lives, and read the file whenever they connect.
//! <https://www.postgresql.org/docs/current/libpq-pgpass.html>

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use entra_client::access_token::AccessToken;
use rustix::fs::OFlags;
use rustix::thread::{ClockId, NanosleepRelativeResult, Timespec, clock_nanosleep_relative};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

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
        if text.starts_with('#') {
            return Err("libpq takes a line that begins with # for a comment".to_owned());
        }
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

/// Writes the file; with `every`, keeps running and replaces it before the token expires.
///
/// # Errors
///
/// The file is another program's. Without `every`, also: there is no token, or the file cannot be written; with it,
/// that is reported and tried again.
pub fn keep(
    path: &Path,
    entry: &Entry,
    every: Option<Duration>,
    source: &Source,
) -> Result<(), String> {
    check_ours(path)?;
    let Some(every) = every else {
        return renew(path, entry, source.first_token()?).map(drop);
    };
    let (mut signed_in, mut retry) = (false, FIRST_RETRY);
    loop {
        let token = match signed_in {
            true => source.next_token(),
            false => source.first_token(),
        };
        signed_in |= token.is_ok();
        match token.and_then(|token| renew(path, entry, token)) {
            Ok(pause) => {
                retry = FIRST_RETRY;
                sleep(pause.min(every));
            }
            Err(problem) => {
                eprintln!(
                    "aadauth-token: {problem}; trying again in {} s",
                    retry.as_secs()
                );
                sleep(retry);
                retry = (retry * 2).min(LONGEST_RETRY);
            }
        }
    }
}

/// Sleeps for that long by a clock that goes on while the machine is suspended, as the token's life does.
fn sleep(length: Duration) {
    let seconds = i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
    let mut left = Timespec {
        tv_sec: seconds,
        tv_nsec: length.subsec_nanos().into(),
    };
    while let NanosleepRelativeResult::Interrupted(rest) =
        clock_nanosleep_relative(ClockId::Boottime, &left)
    {
        left = rest;
    }
}

/// Returns after how long the token is to be renewed.
fn renew(path: &Path, entry: &Entry, token: AccessToken) -> Result<Duration, String> {
    write(path, entry, &token)?;
    eprintln!(
        "aadauth-token: {} has a token that expires in {} s",
        path.display(),
        token.lifetime().as_secs()
    );
    Ok((token.lifetime() / 4 * 3).max(SHORTEST))
}

/// Whether there is a file. One with other passwords in it must not be lost.
fn check_ours(path: &Path) -> Result<bool, String> {
    let named = |problem: &dyn Display| format!("{}: {problem}", path.display());
    // Opening a pipe would wait for a writer.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(named(&error)),
    };
    let metadata = file.metadata().map_err(|error| named(&error))?;
    if !metadata.is_file() {
        return Err(named(&"it is not a regular file"));
    }
    let mut beginning = Vec::new();
    file.take(FIRST_LINE.len() as u64)
        .read_to_end(&mut beginning)
        .map_err(|error| named(&error))?;
    match beginning.is_empty() || beginning == FIRST_LINE {
        true => Ok(true),
        false => Err(named(
            &"it was not written by aadauth-token, which would replace it: choose another file",
        )),
    }
}

/// Readers see the file before or after, never a part of it. Its mode is 0600, which libpq demands.
fn write(path: &Path, entry: &Entry, token: &AccessToken) -> Result<(), String> {
    let named = |error: io::Error| format!("{}: {error}", path.display());
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = NamedTempFile::new_in(directory).map_err(named)?;
    file.write_all(&content(entry, token)).map_err(named)?;
    // Not earlier: another program may have written it meanwhile.
    match check_ours(path)? {
        true => file.persist(path),
        false => file.persist_noclobber(path),
    }
    .map(drop)
    .map_err(|error| named(error.error))
}

fn content(entry: &Entry, token: &AccessToken) -> Zeroizing<Vec<u8>> {
    // Room for all of it at once: a buffer that grows leaves copies.
    let room = FIRST_LINE.len() + entry.0.len() + 2 * token.text().len() + 2;
    let mut content = Zeroizing::new(Vec::with_capacity(room));
    content.extend_from_slice(FIRST_LINE);
    content.extend_from_slice(entry.0.as_bytes());
    content.push(b':');
    for byte in token.text() {
        if matches!(byte, b':' | b'\\') {
            content.push(b'\\');
        }
        content.push(*byte);
    }
    content.push(b'\n');
    content
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Entry, sleep};

    #[test]
    fn a_sleep_is_as_long_as_it_should_be() {
        let began = Instant::now();
        sleep(Duration::from_millis(50));
        assert!(began.elapsed() >= Duration::from_millis(50));
    }

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
            "#db:5432:*:a",
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
