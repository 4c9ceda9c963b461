//! The spool: files of one JSON object per line, to which backends append and which the audit worker
//! reads.
//!
//! Each start of the postmaster has a file of its own, named by a random id, so that an offset into a
//! file can't be mistaken for one into another (a base backup copies files and offsets alike). The id
//! is made before any process is forked and so outlives a crash restart.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use uuid::Uuid;

use super::event::{self, Event};
use crate::pg::log::{self, Level};
use crate::pg::server;

/// The id of this start of the postmaster.
static CURRENT: OnceLock<Uuid> = OnceLock::new();

/// How much is read at a time; the longest line is far shorter.
const CHUNK: u64 = 512 * 1024;

/// Makes the directories, and the id of this start. Called in `_PG_init`, in the postmaster.
pub fn init() {
    if server::is_binary_upgrade() {
        return;
    }
    CURRENT.get_or_init(event::new_id);
    if let Err(error) = make_directories() {
        let path = directory();
        log::line(
            Level::Warning,
            &format!("could not create the directory {path:?}: {error}"),
            Some("Until it is there, sign-ins can't be recorded."),
            Some("The data directory must be writable by the server's operating-system user."),
        );
    }
}

/// The id of the file that this server appends to.
pub fn current() -> Option<Uuid> {
    CURRENT.get().copied()
}

/// Appends one line with a single `write`, which O_APPEND keeps whole among other writers.
///
/// The line begins with a newline as well: should an earlier one have been cut short by a full disk, it
/// spoils only itself.
///
/// # Errors
/// The file can't be opened, or took only a part.
pub fn append(event: &Event) -> io::Result<()> {
    let id = current().ok_or_else(|| io::Error::other("the spool has no id"))?;
    let line = line(event)?;
    let written = open_to_append(&path(id))?.write(&line)?;
    if written < line.len() {
        return Err(io::Error::new(
            ErrorKind::StorageFull,
            "the event was written in part only",
        ));
    }
    Ok(())
}

fn line(event: &Event) -> serde_json::Result<Vec<u8>> {
    let mut line = vec![b'\n'];
    serde_json::to_writer(&mut line, event)?;
    line.push(b'\n');
    Ok(line)
}

fn open_to_append(path: &Path) -> io::Result<File> {
    let open = || {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
    };
    match open() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Somebody has removed the directory.
            make_directories()?;
            open()
        }
        result => result,
    }
}

/// What one look at a file has brought.
pub struct Chunk {
    /// Whole lines, without empty ones, each with the offset behind it.
    pub lines: Vec<(Vec<u8>, u64)>,
    /// Where the next look begins.
    pub end: u64,
    /// Nothing more will come: the end of the file is reached, and nobody appends to it any more.
    pub is_last: bool,
}

/// Reads whole lines from `start` on.
///
/// A file that is shorter than `start` has been replaced by an empty one (the current one) or was copied
/// by a base backup before its offset (an older one): the former is read from its beginning, the latter
/// not at all.
///
/// # Errors
/// The file can't be read; `NotFound` when it is not there.
pub fn read(id: Uuid, start: u64) -> io::Result<Chunk> {
    read_file(&path(id), start, current() == Some(id))
}

fn read_file(path: &Path, start: u64, is_current: bool) -> io::Result<Chunk> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length < start && !is_current {
        return Ok(Chunk {
            lines: Vec::new(),
            end: start,
            is_last: true,
        });
    }
    let start = if length < start { 0 } else { start };
    file.seek(SeekFrom::Start(start))?;
    let mut content = Vec::new();
    file.take(CHUNK).read_to_end(&mut content)?;
    let reached_end = start + content.len() as u64 >= length;
    let whole = match content.iter().rposition(|byte| *byte == b'\n') {
        Some(newline) => newline + 1,
        // Not a line of ours; and of a file that is not written any more, a torn one.
        None if content.len() as u64 == CHUNK || !is_current => content.len(),
        None => 0,
    };
    let is_last = !is_current && reached_end && whole == content.len();
    content.truncate(whole);
    let mut end = start;
    let mut lines = Vec::new();
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        end += line.len() as u64;
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        if !text.is_empty() {
            lines.push((text.to_vec(), end));
        }
    }
    Ok(Chunk {
        lines,
        end,
        is_last,
    })
}

/// The ids of all files there are, oldest first; the ids begin with the time.
///
/// # Errors
/// The directory can't be read.
pub fn list() -> io::Result<Vec<Uuid>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(directory())? {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
        ids.extend(id.and_then(|id| Uuid::try_parse(id).ok()));
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Removes a file that has been read to its last line.
///
/// # Errors
/// It is there still.
pub fn remove(id: Uuid) -> io::Result<()> {
    fs::remove_file(path(id))
}

fn path(id: Uuid) -> PathBuf {
    directory().join(format!("{id}.jsonl"))
}

fn directory() -> PathBuf {
    server::own_directory().join("spool")
}

fn make_directories() -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory())
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;

    /// A file with that content, gone when dropped.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(content: &[u8]) -> Scratch {
            let name = format!(
                "aadauth-spool-{}-{:?}",
                std::process::id(),
                std::thread::current().id()
            );
            let path = std::env::temp_dir().join(name);
            fs::write(&path, content).unwrap();
            Scratch(path)
        }

        fn read(&self, start: u64, is_current: bool) -> (Vec<String>, u64, bool) {
            let chunk = read_file(&self.0, start, is_current).unwrap();
            let text = |(line, _): &(Vec<u8>, u64)| String::from_utf8_lossy(line).into_owned();
            (
                chunk.lines.iter().map(text).collect(),
                chunk.end,
                chunk.is_last,
            )
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn a_file_being_written_is_read_to_its_last_whole_line() {
        let file = Scratch::new(b"\nfirst\n\nsecond\n\nthi");
        assert_eq!(file.read(0, true), (lines(&["first", "second"]), 16, false));
        assert_eq!(file.read(7, true), (lines(&["second"]), 16, false));
        assert_eq!(file.read(16, true), (lines(&[]), 16, false));
        let chunk = read_file(&file.0, 0, true).unwrap();
        assert_eq!(
            chunk.lines.iter().map(|(_, end)| *end).collect::<Vec<_>>(),
            [7, 15]
        );
    }

    #[test]
    fn an_older_file_is_read_to_its_end() {
        let file = Scratch::new(b"\nfirst\n\nto");
        assert_eq!(file.read(0, false), (lines(&["first"]), 8, false));
        assert_eq!(file.read(8, false), (lines(&["to"]), 10, true));
        assert_eq!(file.read(10, false), (lines(&[]), 10, true));
        // A base backup copied it before the offset.
        assert_eq!(file.read(99, false), (lines(&[]), 99, true));
    }

    #[test]
    fn a_current_file_that_was_emptied_is_read_anew() {
        let file = Scratch::new(b"\nfirst\n");
        assert_eq!(file.read(99, true), (lines(&["first"]), 7, false));
    }

    #[test]
    fn a_torn_line_spoils_only_itself() {
        let file = Scratch::new(b"\n{\"id\":\n{\"good\"}\n");
        assert_eq!(file.read(0, true).0, lines(&["{\"id\":", "{\"good\"}"]));
    }

    #[test]
    fn what_has_no_end_is_passed_over() {
        let file = Scratch::new(&vec![b'x'; CHUNK as usize + 10]);
        let (found, end, is_last) = file.read(0, true);
        assert_eq!((found.len(), end, is_last), (1, CHUNK, false));
        assert_eq!(file.read(end, true), (lines(&[]), end, false));
    }
}
