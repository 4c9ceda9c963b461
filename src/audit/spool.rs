//! The spool: files of one JSON object per line, to which backends append and which the audit worker
//! reads.
//!
//! Each file is named by a random id, so that an offset into one cannot be mistaken for an offset into another (a base
//! backup copies both files and offsets). Shared memory names the current file: a new one whenever shared memory is
//! initialized, and when the audit worker has read a megabyte. A process that appends takes a shared lock on the file
//! (`flock`) before it checks that the file is the current one, and holds it until the line is written. So if a file is
//! not the current one and an exclusive lock on it can be taken, nothing is appended to it any more.

mod file;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use uuid::Uuid;

use super::event::new_id;
use crate::pg::log::{self, Level};
use crate::pg::server;
use crate::settings;
use crate::shared::shmem;

use crate::shared::spool::{Quota, SpoolState};
pub use file::Chunk;

/// The length at which the next file is started, unless the limit is far smaller.
const FILE_LENGTH: u64 = 1024 * 1024;

/// Creates the directories. Called in `_PG_init`, in the postmaster.
pub fn init() {
    if server::is_binary_upgrade() {
        return;
    }
    if let Err(error) = create(&directory()) {
        let path = directory();
        log::line(
            Level::Warning,
            &format!("could not create the directory {path:?}: {error}"),
            Some("Until it exists, sign-ins cannot be recorded."),
            Some("The data directory must be writable by the server's operating-system user."),
        );
    }
}

/// Starts a file. Called in the postmaster, once shared memory exists. `start` identifies this start of the server;
/// without it, nothing is recorded.
pub fn begin(start: Option<Uuid>) {
    // If the directory cannot be read, appending fails as well, and logs the reason.
    let older = length_of_all_but(None).unwrap_or_default();
    let current = start.map(|_| new_id());
    shmem::change_spool(|state| {
        *state = SpoolState {
            start,
            current,
            older,
            ..SpoolState::EMPTY
        };
    });
}

/// The id of the file that this server appends to.
pub fn current() -> Option<Uuid> {
    shmem::spool(|state| state.current)
}

/// Bytes of events that the audit worker has not moved to the table yet.
pub fn backlog() -> u64 {
    let state = shmem::spool(|state| *state);
    let length = state.current.map_or(0, length);
    state.older + length.saturating_sub(state.read_to)
}

/// Bytes of all spool files, which `aadauth.audit_spool_limit` bounds.
pub fn used() -> u64 {
    let state = shmem::spool(|state| *state);
    state.older + state.current.map_or(0, length)
}

/// Appends an event as one line.
///
/// # Errors
/// The event is not in the spool: there is no room, or the file cannot be opened or written.
pub fn append(event: &impl Serialize, quota: Quota) -> io::Result<Written> {
    let directory = directory();
    let current = || shmem::spool(|state| state.current.map(|id| (id, state.older)));
    let limit = quota.limit(settings::audit_spool_limit());
    append_line(&directory, &line(event)?, limit, current)
}

/// An event that is in the spool, but not yet on disk.
pub struct Written {
    file: File,
    id: Uuid,
}

impl Written {
    /// Waits until it is on disk.
    ///
    /// # Errors
    /// It may never be on disk.
    pub fn sync(self) -> io::Result<()> {
        self.file.sync_data()?;
        sync_name(&directory(), self.id)
    }
}

/// Writes with a single `write`, which `O_APPEND` keeps apart from other processes' lines. `current` returns the current
/// file and the length of all others.
///
/// Concurrent processes may exceed `limit`, by one line each.
fn append_line(
    directory: &Path,
    line: &[u8],
    limit: u64,
    current: impl Fn() -> Option<(Uuid, u64)>,
) -> io::Result<Written> {
    // The current file changes once per megabyte.
    const ATTEMPTS: u32 = 10;
    for _ in 0..ATTEMPTS {
        let (id, older) =
            current().ok_or_else(|| io::Error::other("the spool has no current file"))?;
        let mut file = open_to_append(directory, id)?;
        file.lock_shared()?;
        if current().is_none_or(|(current, _)| current != id) {
            continue;
        }
        let length = older + file.metadata()?.len() + line.len() as u64;
        if length > limit {
            return Err(io::Error::new(
                ErrorKind::QuotaExceeded,
                format!("the spool would have {} kB", length / 1024),
            ));
        }
        // Only the final newline may be missing: the next line begins with one.
        if file.write(line)? + 1 < line.len() {
            return Err(io::Error::new(
                ErrorKind::StorageFull,
                "only a part of the event was written",
            ));
        }
        return Ok(Written { file, id });
    }
    Err(io::Error::other(
        "the current file of the spool kept changing",
    ))
}

/// The line also begins with a newline: if a full disk has cut an earlier line short, only that one is lost.
fn line(event: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = vec![b'\n'];
    serde_json::to_writer(&mut line, event)?;
    line.push(b'\n');
    Ok(line)
}

fn open_to_append(directory: &Path, id: Uuid) -> io::Result<File> {
    let open = || {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path(directory, id))
    };
    match open() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // The directory has been removed.
            create(directory)?;
            open()
        }
        result => result,
    }
}

/// Makes sure that a new file's name is on disk as well as its content.
fn sync_name(directory: &Path, id: Uuid) -> io::Result<()> {
    if shmem::spool(|state| state.is_name_synced && state.current == Some(id)) {
        return Ok(());
    }
    File::open(directory)?.sync_all()?;
    shmem::change_spool(|state| state.is_name_synced |= state.current == Some(id));
    Ok(())
}

/// Reads whole lines from `start` on; see [`file::read`].
///
/// # Errors
/// The file cannot be read; `NotFound` if it does not exist.
pub fn read(id: Uuid, start: u64) -> io::Result<Chunk> {
    file::read(&path(&directory(), id), start, current() == Some(id))
}

/// Records that the file has been read up to there, and starts another one if it is the current one and long enough.
/// Only for the audit worker.
pub fn mark_read(id: Uuid, read_to: u64) {
    if current() != Some(id) {
        return;
    }
    // With a small limit, there must be room for lines in the next file.
    if read_to >= FILE_LENGTH.min(settings::audit_spool_limit() / 8) {
        let next = new_id();
        shmem::change_spool(|state| state.rotate(next, read_to));
    } else {
        shmem::change_spool(|state| state.read_to = read_to);
    }
}

/// Updates the total length of older files. Only for the audit worker, the only process that changes it.
///
/// # Errors
/// The directory cannot be read.
pub fn update_size() -> io::Result<()> {
    let older = length_of_all_but(current())?;
    shmem::change_spool(|state| state.older = older);
    Ok(())
}

/// The ids of all files, oldest first; ids begin with the time.
///
/// # Errors
/// The directory cannot be read.
pub fn list() -> io::Result<Vec<Uuid>> {
    ids_of("jsonl")
}

/// The ids in the names of all files with that extension, sorted.
pub(super) fn ids_of(extension: &str) -> io::Result<Vec<Uuid>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(directory())? {
        let name = entry?.file_name();
        let parts = name.to_str().and_then(|name| name.split_once('.'));
        let id = parts.filter(|(_, found)| *found == extension);
        ids.extend(id.and_then(|(id, _)| Uuid::try_parse(id).ok()));
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Removes a file that has been read to its last line.
///
/// # Errors
/// It still exists.
pub fn remove(id: Uuid) -> io::Result<()> {
    fs::remove_file(path(&directory(), id))
}

fn length_of_all_but(current: Option<Uuid>) -> io::Result<u64> {
    let ids = list()?;
    let others = ids.into_iter().filter(|id| Some(*id) != current);
    Ok(others.map(length).sum())
}

fn length(id: Uuid) -> u64 {
    fs::metadata(path(&directory(), id)).map_or(0, |file| file.len())
}

fn path(directory: &Path, id: Uuid) -> PathBuf {
    directory.join(format!("{id}.jsonl"))
}

pub(super) fn directory() -> PathBuf {
    server::own_directory().join("spool")
}

fn create(directory: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    /// These tests run without a server, so the ids come from here.
    fn new_id() -> Uuid {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Uuid::from_u64_pair(std::process::id().into(), count)
    }

    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Scratch {
            let place = std::env::temp_dir().join(format!("aadauth-spool-{}", new_id()));
            fs::create_dir(&place).unwrap();
            Scratch(place)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// What the worker does: reads, starts another file, removes finished ones.
    fn drain(
        place: &Path,
        current: &Mutex<Uuid>,
        offsets: &mut BTreeMap<Uuid, u64>,
        found: &mut Vec<Vec<u8>>,
    ) {
        let files: Vec<PathBuf> = fs::read_dir(place)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        for path in files {
            let id = Uuid::try_parse(path.file_stem().unwrap().to_str().unwrap()).unwrap();
            let is_current = *current.lock().unwrap() == id;
            let start = offsets.get(&id).copied().unwrap_or_default();
            let chunk = file::read(&path, start, is_current).unwrap();
            found.extend(chunk.lines.into_iter().map(|(line, _)| line));
            offsets.insert(id, chunk.end);
            if chunk.is_last {
                fs::remove_file(&path).unwrap();
            } else if is_current && chunk.end > 2_000 {
                *current.lock().unwrap() = new_id();
            }
        }
    }

    #[test]
    fn each_line_is_read_once_while_files_change() {
        const WRITERS: usize = 4;
        const LINES: usize = 2_000;
        let place = Scratch::new();
        let current = Mutex::new(new_id());
        let (mut offsets, mut found) = (BTreeMap::new(), Vec::new());
        thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (place, current) = (&place.0, &current);
                    scope.spawn(move || {
                        for number in 0..LINES {
                            let line = format!("\n{writer} {number}\n");
                            let current = || Some((*current.lock().unwrap(), 0));
                            append_line(place, line.as_bytes(), u64::MAX, current).unwrap();
                        }
                    })
                })
                .collect();
            while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
                drain(&place.0, &current, &mut offsets, &mut found);
            }
        });
        drain(&place.0, &current, &mut offsets, &mut found);
        // How many depends on when the threads run.
        assert!(offsets.len() > 1, "{} files", offsets.len());
        let mut lines: Vec<String> = found
            .into_iter()
            .map(|line| String::from_utf8(line).unwrap())
            .collect();
        lines.sort();
        let mut expected: Vec<String> = (0..WRITERS * LINES)
            .map(|n| format!("{} {}", n / LINES, n % LINES))
            .collect();
        expected.sort();
        assert_eq!(lines, expected);
    }

    #[test]
    fn no_more_than_the_limit_is_written() {
        let place = Scratch::new();
        let id = new_id();
        let write = |limit, older| {
            append_line(&place.0, b"\n1234567\n", limit, || Some((id, older))).map(drop)
        };
        assert!(write(9, 0).is_ok());
        assert_eq!(write(17, 0).unwrap_err().kind(), ErrorKind::QuotaExceeded);
        assert!(write(18, 0).is_ok());
        assert!(write(100, 74).is_err());
        assert!(write(100, 73).is_ok());
        assert_eq!(fs::metadata(path(&place.0, id)).unwrap().len(), 27);
        assert_eq!(Quota::Half.limit(9), 4);
    }
}
