//! The aggregate table: a file of slots in which attempts are counted.
//!
//! It is allocated at its full length when the server starts, so that counting needs no space on a full disk. It is a
//! file, so that counts survive killed processes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::class::KEYED;
use super::slot::{self, Slot};

/// No process holds the lock for longer than it takes to write a few kilobytes, unless it is stopped.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// The table; the lock is held while this exists.
pub struct Table {
    file: File,
    /// Slots after those that are found by their key.
    reserved: usize,
}

/// What happens to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It gets an event of its own.
    Individual,
    Counted,
}

/// A slot that is in use: its index, and its bytes as they were read.
pub struct Entry {
    index: usize,
    bytes: Vec<u8>,
    pub slot: Slot,
}

impl Table {
    /// Opens the table; creates or extends it if it does not exist or is too short. `reserved` is the number of slots
    /// for [`Table::count_at`].
    ///
    /// # Errors
    /// There is no space for it, it cannot be opened, or another process holds the lock for too long.
    pub fn open(path: &Path, reserved: usize) -> io::Result<Table> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        lock(&file)?;
        let table = Table { file, reserved };
        table.allocate()?;
        Ok(table)
    }

    /// Opens a table of another start, of whatever length.
    ///
    /// # Errors
    /// As [`Table::open`].
    pub fn open_existing(path: &Path) -> io::Result<Table> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        lock(&file)?;
        let slots = usize::try_from(file.metadata()?.len()).unwrap_or(0) / slot::SIZE;
        let reserved = slots.saturating_sub(KEYED);
        Ok(Table { file, reserved })
    }

    /// Allocates all the space that the table ever needs.
    fn allocate(&self) -> io::Result<()> {
        let full = (KEYED + self.reserved) * slot::SIZE;
        let length = usize::try_from(self.file.metadata()?.len()).unwrap_or(usize::MAX);
        if length >= full {
            return Ok(());
        }
        let rest = vec![0; full - length];
        self.file.write_all_at(&rest, length as u64)
    }

    /// Counts an attempt by its key in one of the slots `candidates`, unless it is among the first `burst` of its minute.
    /// `None` if there is no slot for the key.
    ///
    /// `new_event` makes the event that represents them. `evict` writes the event of an earlier minute to the spool, so
    /// that its slot can be reused; if that fails, counting continues in that slot.
    ///
    /// # Errors
    /// The file cannot be read or written: the attempt is not counted.
    pub fn admit(
        &self,
        candidates: impl Iterator<Item = usize>,
        key: &[u8],
        minute: i64,
        burst: u32,
        new_event: impl FnOnce() -> Vec<u8>,
        mut evict: impl FnMut(&Slot) -> io::Result<()>,
    ) -> io::Result<Option<Admission>> {
        let mut free = None;
        let mut expired = None;
        for index in candidates {
            match self.slot(index)? {
                None => free = free.or(Some(index)),
                Some(slot) if slot.key == key => {
                    if slot.minute >= minute || (slot.count > 0 && evict(&slot).is_err()) {
                        return self.count(index, slot, burst).map(Some);
                    }
                    return self.insert(index, key, minute, burst, new_event).map(Some);
                }
                Some(slot) if slot.minute < minute => {
                    expired = expired.or(Some((index, slot)));
                }
                Some(_) => {}
            }
        }
        if free.is_none()
            && let Some((index, slot)) = expired
            && (slot.count == 0 || evict(&slot).is_ok())
        {
            free = Some(index);
        }
        match free {
            Some(index) => self.insert(index, key, minute, burst, new_event).map(Some),
            None => Ok(None),
        }
    }

    /// Counts attempts in the reserved slot of that number; otherwise as [`Table::admit`].
    ///
    /// # Errors
    /// As [`Table::admit`].
    pub fn count_at(
        &self,
        number: usize,
        attempts: u64,
        minute: i64,
        new_event: impl FnOnce() -> Vec<u8>,
        evict: impl FnOnce(&Slot) -> io::Result<()>,
    ) -> io::Result<()> {
        let index = KEYED + number.min(self.reserved.saturating_sub(1));
        let mut slot = match self.slot(index)? {
            Some(slot) if slot.minute >= minute || (slot.count > 0 && evict(&slot).is_err()) => {
                slot
            }
            _ => Slot {
                minute,
                individual: 0,
                count: 0,
                key: Vec::new(),
                event: new_event(),
            },
        };
        slot.count = slot.count.saturating_add(attempts);
        self.put(index, &slot)
    }

    fn insert(
        &self,
        index: usize,
        key: &[u8],
        minute: i64,
        burst: u32,
        new_event: impl FnOnce() -> Vec<u8>,
    ) -> io::Result<Admission> {
        let slot = Slot {
            minute,
            individual: 0,
            count: 0,
            key: key.to_vec(),
            event: new_event(),
        };
        self.count(index, slot, burst)
    }

    fn count(&self, index: usize, mut slot: Slot, burst: u32) -> io::Result<Admission> {
        let is_individual = slot.individual < burst;
        if is_individual {
            slot.individual += 1;
        } else {
            slot.count = slot.count.saturating_add(1);
        }
        self.put(index, &slot)?;
        Ok(if is_individual {
            Admission::Individual
        } else {
            Admission::Counted
        })
    }

    /// All slots that are in use.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for index in 0..KEYED + self.reserved {
            let bytes = match self.read(index) {
                // An incomplete copy.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                bytes => bytes?,
            };
            if let Some(slot) = Slot::parse(&bytes) {
                entries.push(Entry { index, bytes, slot });
            }
        }
        Ok(entries)
    }

    /// Frees those of the slots whose minute is over and that have not changed since they were read.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn free(&self, entries: &[Entry], minute: i64) -> io::Result<()> {
        for entry in entries.iter().filter(|entry| entry.slot.minute < minute) {
            if self.read(entry.index)? == entry.bytes {
                self.write(entry.index, &[0; slot::SIZE])?;
            }
        }
        Ok(())
    }

    fn slot(&self, index: usize) -> io::Result<Option<Slot>> {
        Ok(Slot::parse(&self.read(index)?))
    }

    fn put(&self, index: usize, slot: &Slot) -> io::Result<()> {
        let too_long = || io::Error::new(ErrorKind::InvalidInput, "the event is too long");
        self.write(index, &slot.bytes().ok_or_else(too_long)?)
    }

    fn read(&self, index: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; slot::SIZE];
        let offset = index * slot::SIZE;
        self.file.read_exact_at(&mut bytes, offset as u64)?;
        Ok(bytes)
    }

    fn write(&self, index: usize, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, (index * slot::SIZE) as u64)
    }
}

/// The lock belongs to the file descriptor, so that a killed process does not keep it.
fn lock(file: &File) -> io::Result<()> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if began.elapsed() > LOCK_TIMEOUT => {
                return Err(ErrorKind::TimedOut.into());
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_micros(200)),
        }
    }
}

#[cfg(test)]
mod tests;
