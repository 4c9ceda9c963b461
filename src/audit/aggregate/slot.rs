//! One slot of the aggregate table: bytes with a checksum, so that incomplete ones are recognized.

use std::hash::Hasher;

/// The size of a slot in bytes; four of them fill a page, so that none crosses a page boundary.
pub const SIZE: usize = 1024;

const HEADER: usize = 32;

/// Equal attempts within one minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Minutes since the Unix epoch.
    pub minute: i64,
    /// How many of them have events of their own.
    pub individual: u32,
    /// How many are only counted.
    pub count: u64,
    /// What they have in common.
    pub key: Vec<u8>,
    /// The event that represents those that are counted: a line of the spool without the final count.
    pub event: Vec<u8>,
}

impl Slot {
    /// `None` for a slot that is free, or that a power failure or a backup left incomplete.
    pub fn parse(bytes: &[u8]) -> Option<Slot> {
        let (checksum, rest) = bytes.split_first_chunk::<8>()?;
        let (minute, rest) = rest.split_first_chunk::<8>()?;
        let (count, rest) = rest.split_first_chunk::<8>()?;
        let (individual, rest) = rest.split_first_chunk::<4>()?;
        let (key, rest) = rest.split_first_chunk::<2>()?;
        let (event, rest) = rest.split_first_chunk::<2>()?;
        let (key, rest) = rest.split_at_checked(u16::from_be_bytes(*key).into())?;
        let event = rest.get(..u16::from_be_bytes(*event).into())?;
        if event.is_empty() || checksum_of(bytes.get(8..)?) != u64::from_be_bytes(*checksum) {
            return None;
        }
        Some(Slot {
            minute: i64::from_be_bytes(*minute),
            individual: u32::from_be_bytes(*individual),
            count: u64::from_be_bytes(*count),
            key: key.to_vec(),
            event: event.to_vec(),
        })
    }

    /// `None` when it is too long for a slot, or has no event.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        if self.event.is_empty() || HEADER + self.key.len() + self.event.len() > SIZE {
            return None;
        }
        let mut bytes = vec![0; 8];
        bytes.extend(self.minute.to_be_bytes());
        bytes.extend(self.count.to_be_bytes());
        bytes.extend(self.individual.to_be_bytes());
        bytes.extend(u16::try_from(self.key.len()).ok()?.to_be_bytes());
        bytes.extend(u16::try_from(self.event.len()).ok()?.to_be_bytes());
        bytes.extend(&self.key);
        bytes.extend(&self.event);
        bytes.resize(SIZE, 0);
        let checksum = checksum_of(bytes.get(8..)?);
        bytes.get_mut(..8)?.copy_from_slice(&checksum.to_be_bytes());
        Some(bytes)
    }
}

/// FNV-1a: protects against accidents, not against attackers, who cannot write here.
fn checksum_of(bytes: &[u8]) -> u64 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    hasher.write(bytes);
    hasher.finish()
}

/// <https://datatracker.ietf.org/doc/html/draft-eastlake-fnv> with 64 bits.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        Slot {
            minute: 28_000_000,
            individual: 5,
            count: 1 << 40,
            key: b"key".to_vec(),
            event: b"{}".to_vec(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = slot().bytes().unwrap();
        assert_eq!(bytes.len(), SIZE);
        assert_eq!(Slot::parse(&bytes), Some(slot()));
        assert_eq!(Slot::parse(&[0; SIZE]), None);
    }

    #[test]
    fn an_incomplete_slot_is_free() {
        let bytes = slot().bytes().unwrap();
        for place in 0..HEADER + 5 {
            let mut torn = bytes.clone();
            torn[place] ^= 1;
            assert_eq!(Slot::parse(&torn), None, "{place}");
        }
        assert_eq!(Slot::parse(&bytes[..SIZE - 1]), None);
    }

    #[test]
    fn what_is_too_long_is_not_written() {
        let mut slot = slot();
        slot.event = vec![b'x'; SIZE - HEADER - slot.key.len()];
        assert!(slot.bytes().is_some());
        slot.event.push(b'x');
        assert!(slot.bytes().is_none());
        slot.event.clear();
        assert!(slot.bytes().is_none());
    }
}
