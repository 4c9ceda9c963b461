//! The list of revoked principals as sign-ins see it, in shared memory.
//!
//! A plain value: the lock is taken in [`crate::shared::shmem`].

use uuid::Uuid;

/// How many revocations may be in force. `aadauth.revoke` refuses more.
pub const MOST: usize = 10_000;
/// The list has room for those that are made at the same moment.
const ROOM: usize = MOST + 240;

/// One principal who is shut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub object_id: Uuid,
    /// Microseconds since the Unix epoch; the largest number for ever.
    pub until: i64,
}

/// The list, in the order of its object ids. All zeros are a list that was never loaded.
pub struct RevocationList {
    is_loaded: bool,
    count: usize,
    entries: [Revocation; ROOM],
}

/// More revocations than there is room for.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

impl RevocationList {
    /// Replaces the whole list.
    ///
    /// # Errors
    /// There are too many; the list stays as it was.
    pub fn load(&mut self, mut revocations: Vec<Revocation>) -> Result<(), TooMany> {
        revocations.sort_unstable_by_key(|revocation| revocation.object_id);
        let places = self.entries.get_mut(..revocations.len()).ok_or(TooMany)?;
        places.copy_from_slice(&revocations);
        self.count = revocations.len();
        self.is_loaded = true;
        Ok(())
    }

    /// Whether it was ever loaded. Until then nobody knows who is revoked.
    pub fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether this principal is shut out at that time.
    pub fn contains(&self, object_id: Uuid, now: i64) -> bool {
        let entries = self.entries.get(..self.count).unwrap_or_default();
        entries
            .binary_search_by_key(&object_id, |revocation| revocation.object_id)
            .ok()
            .and_then(|found| entries.get(found))
            .is_some_and(|revocation| now < revocation.until)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn empty() -> Box<RevocationList> {
        Box::new(RevocationList {
            is_loaded: false,
            count: 0,
            entries: [Revocation {
                object_id: Uuid::nil(),
                until: 0,
            }; ROOM],
        })
    }

    fn revocation(id: u128, until: i64) -> Revocation {
        Revocation {
            object_id: Uuid::from_u128(id),
            until,
        }
    }

    #[test]
    fn a_list_that_was_not_loaded_says_so() {
        let mut list = empty();
        assert!(!list.is_loaded());
        list.load(Vec::new()).unwrap();
        assert!(list.is_loaded());
        assert!(!list.contains(Uuid::nil(), 1));
    }

    #[test]
    fn the_last_list_counts_in_whatever_order_it_came() {
        let mut list = empty();
        let ids = [7, 3, 9, 1, 5];
        list.load(ids.map(|id| revocation(id, i64::MAX)).to_vec())
            .unwrap();
        for id in 0..11 {
            let is_revoked = list.contains(Uuid::from_u128(id), 1_000);
            assert_eq!(is_revoked, ids.contains(&id), "{id}");
        }
        list.load(vec![revocation(3, i64::MAX)]).unwrap();
        assert!(list.contains(Uuid::from_u128(3), 1_000));
        assert!(!list.contains(Uuid::from_u128(7), 1_000));
    }

    #[test]
    fn a_revocation_ends_when_its_time_is_over() {
        let mut list = empty();
        list.load(vec![revocation(3, 1_000)]).unwrap();
        assert!(list.contains(Uuid::from_u128(3), 999));
        assert!(!list.contains(Uuid::from_u128(3), 1_000));
    }

    #[test]
    fn a_list_that_is_too_long_changes_nothing() {
        let mut list = empty();
        list.load(vec![revocation(3, i64::MAX)]).unwrap();
        let many = (0..=ROOM as u128).map(|id| revocation(id + 100, i64::MAX));
        assert_eq!(list.load(many.collect()), Err(TooMany));
        assert!(list.contains(Uuid::from_u128(3), 1_000));
        assert!(!list.contains(Uuid::from_u128(100), 1_000));
        let full = (0..ROOM as u128).map(|id| revocation(id + 100, i64::MAX));
        list.load(full.collect()).unwrap();
        assert!(list.contains(Uuid::from_u128(100 + ROOM as u128 - 1), 1_000));
    }
}
