//! Reading a spool file.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// How much is read at a time; lines are far shorter.
const CHUNK: u64 = 512 * 1024;

/// What was read from a file at one time.
pub struct Chunk {
    /// Complete lines, without empty ones, each with the offset behind it.
    pub lines: Vec<(Vec<u8>, u64)>,
    /// Where to continue.
    pub end: u64,
    /// The end of the file is reached, and no process appends to it any more.
    pub is_last: bool,
}

/// Reads complete lines from `start` on.
///
/// A file that is shorter than `start` has been replaced by an empty one (the current file) or was copied by a base
/// backup before its offset (an older file): the former is read from its beginning, the latter not at all.
///
/// `is_current` is whether processes may start to write to it. Another file is read as if it were current while processes
/// that started to write earlier hold its lock.
///
/// # Errors
/// The file cannot be read; `NotFound` if it does not exist.
pub fn read(path: &Path, start: u64, is_current: bool) -> io::Result<Chunk> {
    let mut file = File::open(path)?;
    let is_current = is_current || has_writers(&file)?;
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
    let complete = match content.iter().rposition(|byte| *byte == b'\n') {
        Some(newline) => newline + 1,
        // Not an event; or, in a file that is no longer written, an incomplete line.
        None if content.len() as u64 == CHUNK || !is_current => content.len(),
        None => 0,
    };
    let is_last = !is_current && reached_end && complete == content.len();
    content.truncate(complete);
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

/// Whether processes are still writing to a file that is no longer the current one. Those that open it from now on see
/// under the lock that it is not current, before they write.
fn has_writers(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => file.unlock().map(|()| false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

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
            let chunk = read(&self.0, start, is_current).unwrap();
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
    fn a_file_being_written_is_read_to_its_last_complete_line() {
        let file = Scratch::new(b"\nfirst\n\nsecond\n\nthi");
        assert_eq!(file.read(0, true), (lines(&["first", "second"]), 16, false));
        assert_eq!(file.read(7, true), (lines(&["second"]), 16, false));
        assert_eq!(file.read(16, true), (lines(&[]), 16, false));
        let chunk = read(&file.0, 0, true).unwrap();
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
    fn a_current_file_that_was_emptied_is_read_from_its_beginning() {
        let file = Scratch::new(b"\nfirst\n");
        assert_eq!(file.read(99, true), (lines(&["first"]), 7, false));
    }

    #[test]
    fn an_incomplete_line_does_not_affect_others() {
        let file = Scratch::new(b"\n{\"id\":\n{\"good\"}\n");
        assert_eq!(file.read(0, true).0, lines(&["{\"id\":", "{\"good\"}"]));
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped() {
        let file = Scratch::new(&vec![b'x'; CHUNK as usize + 10]);
        let (found, end, is_last) = file.read(0, true);
        assert_eq!((found.len(), end, is_last), (1, CHUNK, false));
        assert_eq!(file.read(end, true), (lines(&[]), end, false));
    }

    #[test]
    fn a_file_is_not_finished_while_a_process_writes() {
        let file = Scratch::new(b"\nfirst\n\nsec");
        let writer = File::open(&file.0).unwrap();
        writer.lock_shared().unwrap();
        assert_eq!(file.read(0, false), (lines(&["first"]), 8, false));
        assert_eq!(file.read(8, false), (lines(&[]), 8, false));
        drop(writer);
        assert_eq!(file.read(8, false), (lines(&["sec"]), 11, true));
    }
}
