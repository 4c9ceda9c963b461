//! The configuration file, `/etc/aadauth/pooler.conf`: lines of `name = value`.
//!
//! ```text
//! # a comment
//! server = host=db.example.com user=aadauth_pooler dbname=postgres sslrootcert=... sslcert=... sslkey=...
//! deadline = 100
//! wake = on
//! ```

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::conninfo;

pub const FILE: &str = "/etc/aadauth/pooler.conf";

/// The longest file that is accepted, in bytes.
const LONGEST: u64 = 65_536;

/// Milliseconds that a login may wait for the server.
const DEADLINES: std::ops::RangeInclusive<u64> = 10..=5_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// A complete connection string for libpq.
    pub server: String,
    pub deadline: Duration,
    pub wake: Wake,
}

/// Whether and how PgBouncer's wait is ended after a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    Off,
    /// By a connection to its own Unix socket.
    Socket,
    /// By a signal as well, which also ends the sleep of a PgBouncer whose queue of logins is full.
    SocketAndSignal,
}

/// The settings in the file; it is read again when it has changed.
///
/// # Errors
/// The file cannot be read, others may write it, or a line is not accepted; for the log.
pub fn current(file: &Path) -> Result<Arc<Settings>, String> {
    static READ: Mutex<Option<(PathBuf, Version, Arc<Settings>)>> = Mutex::new(None);
    let fail = |what: String| format!("configuration file \"{}\": {what}", file.display());
    let open = open(file).map_err(|error| fail(error.to_string()))?;
    let metadata = open.metadata().map_err(|error| fail(error.to_string()))?;
    check_owner(&metadata, rustix::process::geteuid().as_raw()).map_err(fail)?;
    let version = Version::of(&metadata);
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((path, of, settings)) = &*read
        && path == file
        && *of == version
    {
        return Ok(Arc::clone(settings));
    }
    let settings = text(open).and_then(|text| parse(&text)).map_err(fail)?;
    let settings = Arc::new(settings);
    *read = Some((file.to_owned(), version, Arc::clone(&settings)));
    Ok(settings)
}

/// The settings in a file, as PgBouncer reads them when it runs as the user `own`.
///
/// # Errors
/// As [`current`].
pub fn read(file: &Path, own: u32) -> Result<Settings, String> {
    let open = open(file).map_err(|error| error.to_string())?;
    let metadata = open.metadata().map_err(|error| error.to_string())?;
    check_owner(&metadata, own)?;
    text(open).and_then(|text| parse(&text))
}

/// Opens a file without waiting: a FIFO would otherwise keep PgBouncer's PAM thread until somebody writes to it.
fn open(file: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(file)
}

/// The whole text of a file: one that is cut could end in the middle of a setting.
fn text(file: File) -> Result<String, String> {
    let mut bytes = Vec::new();
    file.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

/// What changes when a file is written or replaced.
#[derive(PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Version {
    fn of(file: &Metadata) -> Version {
        Version {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
        }
    }
}

/// As libpq has it for key files (`initialize_SSL` in fe-secure-openssl.c), with writing instead of reading: the file
/// contains no secret.
fn check_owner(file: &Metadata, own: u32) -> Result<(), String> {
    if !file.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if file.uid() != 0 && file.uid() != own {
        return Err("it must be owned by root or by the user that PgBouncer runs as".to_owned());
    }
    if file.mode() & 0o022 != 0 {
        return Err("it must not be writable by group or others (chmod 0644)".to_owned());
    }
    Ok(())
}

fn parse(text: &str) -> Result<Settings, String> {
    let mut server = None;
    let mut deadline = None;
    let mut wake = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fail = |what: &str| format!("line {number}: {what}");
        let (name, value) = line
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()))
            .ok_or_else(|| fail("must be \"name = value\""))?;
        let is_first = match name {
            "server" => server
                .replace(conninfo::complete(value).map_err(|what| fail(&what))?)
                .is_none(),
            "deadline" => deadline
                .replace(milliseconds(value).map_err(|what| fail(&what))?)
                .is_none(),
            "wake" => wake
                .replace(means(value).map_err(|what| fail(&what))?)
                .is_none(),
            _ => {
                return Err(fail(
                    "the settings are \"server\", \"deadline\" and \"wake\"",
                ));
            }
        };
        if !is_first {
            return Err(fail(&format!("\"{name}\" is set twice")));
        }
    }
    Ok(Settings {
        server: server.ok_or("\"server\" must be set to a connection string")?,
        deadline: deadline.unwrap_or(Duration::from_millis(100)),
        wake: wake.unwrap_or(Wake::Socket),
    })
}

fn milliseconds(value: &str) -> Result<Duration, String> {
    let number = value.strip_suffix("ms").unwrap_or(value).trim().parse();
    number
        .ok()
        .filter(|number| DEADLINES.contains(number))
        .map(Duration::from_millis)
        .ok_or_else(|| {
            format!(
                "\"deadline\" must be a number of milliseconds from {} to {}",
                DEADLINES.start(),
                DEADLINES.end()
            )
        })
}

fn means(value: &str) -> Result<Wake, String> {
    match value {
        "on" => Ok(Wake::Socket),
        "off" => Ok(Wake::Off),
        "signal" => Ok(Wake::SocketAndSignal),
        _ => Err("\"wake\" must be on, off or signal".to_owned()),
    }
}

#[cfg(test)]
mod tests;
