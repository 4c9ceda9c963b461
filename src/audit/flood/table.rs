//! The flood table: a file of slots in which attempts are counted.
//!
//! It is made at its full length when the server starts, so that counting needs no space on a full disk,
//! and it is a file, so that counts outlive whatever is killed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::slot::{self, Slot};

/// How many slots there are for what is counted by its key.
const KEYED: usize = 256;
/// In how many of them a key may be.
const PROBES: usize = 8;
/// Nobody holds the lock for longer than it takes to write a few kilobytes, unless they are stopped.
const PATIENCE: Duration = Duration::from_millis(500);

/// The table, for as long as this has its lock.
pub struct Table {
    file: File,
    /// Slots after those that are found by their key.
    reserved: usize,
}

/// What is to be done with one more attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It gets an event of its own.
    Single,
    Counted,
}

/// A slot's place, and its bytes as they were read.
pub struct Kept {
    index: usize,
    bytes: Vec<u8>,
    pub slot: Slot,
}

impl Table {
    /// Opens the table, and makes it if it isn't there or not as long as it should be. `reserved` is the
    /// number of slots that [`Table::count_at`] knows.
    ///
    /// # Errors
    /// There is no space for it, it can't be opened, or somebody holds the lock for too long.
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
        table.fill()?;
        Ok(table)
    }

    /// Opens a table of another start, of whatever length.
    ///
    /// # Errors
    /// As [`Table::open`].
    pub fn open_old(path: &Path) -> io::Result<Table> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        lock(&file)?;
        let slots = usize::try_from(file.metadata()?.len()).unwrap_or(0) / slot::SIZE;
        let reserved = slots.saturating_sub(KEYED);
        Ok(Table { file, reserved })
    }

    /// Takes all the space that the table will ever need.
    fn fill(&self) -> io::Result<()> {
        let full = (KEYED + self.reserved) * slot::SIZE;
        let length = usize::try_from(self.file.metadata()?.len()).unwrap_or(usize::MAX);
        if length >= full {
            return Ok(());
        }
        let rest = vec![0; full - length];
        self.file.write_all_at(&rest, length as u64)
    }

    /// Counts an attempt by its key, unless it is among the first `singles` of its minute. `None` when
    /// there is no slot for the key.
    ///
    /// `begin` makes the event that will stand for them. `spill` writes the event of a minute that is
    /// over elsewhere, so that its slot can be used again; where it fails, counting goes on in that slot.
    ///
    /// # Errors
    /// The file can't be read or written: the attempt is not counted.
    pub fn admit(
        &self,
        key: &[u8],
        minute: i64,
        singles: u32,
        begin: impl FnOnce() -> Vec<u8>,
        mut spill: impl FnMut(&Slot) -> io::Result<()>,
    ) -> io::Result<Option<Admission>> {
        let first = slot::place(key, KEYED);
        let mut room = None;
        let mut over = None;
        for probe in 0..PROBES {
            let index = (first + probe) % KEYED;
            match self.slot(index)? {
                None => room = room.or(Some(index)),
                Some(slot) if slot.key == key => {
                    if slot.minute >= minute || (slot.count > 0 && spill(&slot).is_err()) {
                        return self.count(index, slot, singles).map(Some);
                    }
                    return self.enter(index, key, minute, singles, begin).map(Some);
                }
                Some(slot) if slot.minute < minute => {
                    over = over.or(Some((index, slot)));
                }
                Some(_) => {}
            }
        }
        if room.is_none()
            && let Some((index, slot)) = over
            && (slot.count == 0 || spill(&slot).is_ok())
        {
            room = Some(index);
        }
        match room {
            Some(index) => self.enter(index, key, minute, singles, begin).map(Some),
            None => Ok(None),
        }
    }

    /// Counts an attempt in the reserved slot of that number; otherwise as [`Table::admit`].
    ///
    /// # Errors
    /// As there.
    pub fn count_at(
        &self,
        number: usize,
        attempts: u64,
        minute: i64,
        begin: impl FnOnce() -> Vec<u8>,
        spill: impl FnOnce(&Slot) -> io::Result<()>,
    ) -> io::Result<()> {
        let index = KEYED + number.min(self.reserved.saturating_sub(1));
        let mut slot = match self.slot(index)? {
            Some(slot) if slot.minute >= minute || (slot.count > 0 && spill(&slot).is_err()) => {
                slot
            }
            _ => Slot {
                minute,
                singles: 0,
                count: 0,
                key: Vec::new(),
                event: begin(),
            },
        };
        slot.count = slot.count.saturating_add(attempts);
        self.put(index, &slot)
    }

    fn enter(
        &self,
        index: usize,
        key: &[u8],
        minute: i64,
        singles: u32,
        begin: impl FnOnce() -> Vec<u8>,
    ) -> io::Result<Admission> {
        let slot = Slot {
            minute,
            singles: 0,
            count: 0,
            key: key.to_vec(),
            event: begin(),
        };
        self.count(index, slot, singles)
    }

    fn count(&self, index: usize, mut slot: Slot, singles: u32) -> io::Result<Admission> {
        let is_single = slot.singles < singles;
        if is_single {
            slot.singles += 1;
        } else {
            slot.count = slot.count.saturating_add(1);
        }
        self.put(index, &slot)?;
        Ok(if is_single {
            Admission::Single
        } else {
            Admission::Counted
        })
    }

    /// All slots that are in use.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn kept(&self) -> io::Result<Vec<Kept>> {
        let mut kept = Vec::new();
        for index in 0..KEYED + self.reserved {
            let bytes = match self.read(index) {
                // A copy that ends in the middle.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                bytes => bytes?,
            };
            if let Some(slot) = Slot::parse(&bytes) {
                kept.push(Kept { index, bytes, slot });
            }
        }
        Ok(kept)
    }

    /// Frees those of the slots whose minute is over and that have not changed since.
    ///
    /// # Errors
    /// The file can't be read or written.
    pub fn free(&self, kept: &[Kept], minute: i64) -> io::Result<()> {
        for kept in kept.iter().filter(|kept| kept.slot.minute < minute) {
            if self.read(kept.index)? == kept.bytes {
                self.write(kept.index, &[0; slot::SIZE])?;
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
        let place = index * slot::SIZE;
        self.file.read_exact_at(&mut bytes, place as u64)?;
        Ok(bytes)
    }

    fn write(&self, index: usize, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, (index * slot::SIZE) as u64)
    }
}

/// The lock goes with the file's descriptor, so that nobody who is killed keeps it.
fn lock(file: &File) -> io::Result<()> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if began.elapsed() > PATIENCE => {
                return Err(ErrorKind::TimedOut.into());
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_micros(200)),
        }
    }
}

#[cfg(test)]
mod tests;
