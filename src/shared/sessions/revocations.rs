//! The list of revoked principals in shared memory, which sign-ins read.
//!
//! A plain value: the lock is taken in [`crate::shared::shmem`].

use uuid::Uuid;

/// How many revocations may be in force. `aadauth.revoke` refuses more.
pub const MAX_REVOCATIONS: usize = 10_000;
/// How many of them by others than superusers.
pub const MAX_OF_ADMINS: usize = MAX_REVOCATIONS - MAX_REVOCATIONS / 10;
/// How many of them by one admin.
pub const MAX_OF_ONE_ADMIN: usize = 1_000;
/// The list has additional room for what a restored dump adds.
pub const CAPACITY: usize = MAX_REVOCATIONS + 240;

/// One revoked principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub object_id: Uuid,
    /// Microseconds since the Unix epoch; `i64::MAX` for no end.
    pub until: i64,
}

/// The list, ordered by object id. All zeros mean a list that was never loaded.
pub struct RevocationList {
    is_loaded: bool,
    count: usize,
    entries: [Revocation; CAPACITY],
}

/// There are more revocations than the list can hold.
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

    /// Whether the list was ever loaded. Until then it is not known who is revoked.
    pub fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether this principal is revoked at that time.
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
    use super::*;

    fn empty() -> Box<RevocationList> {
        Box::new(RevocationList {
            is_loaded: false,
            count: 0,
            entries: [Revocation {
                object_id: Uuid::nil(),
                until: 0,
            }; CAPACITY],
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
        let many = (0..=CAPACITY as u128).map(|id| revocation(id + 100, i64::MAX));
        assert_eq!(list.load(many.collect()), Err(TooMany));
        assert!(list.contains(Uuid::from_u128(3), 1_000));
        assert!(!list.contains(Uuid::from_u128(100), 1_000));
        let full = (0..CAPACITY as u128).map(|id| revocation(id + 100, i64::MAX));
        list.load(full.collect()).unwrap();
        assert!(list.contains(Uuid::from_u128(100 + CAPACITY as u128 - 1), 1_000));
    }
}
