//! Which slots of the aggregate table an attempt may take.
//!
//! Each class has slots of its own, so that attempts whose keys a client can invent do not take the slots of others.
//! Within a class, the secret of this start of the server decides where a key goes, so that a client cannot compute
//! keys that go to the same slots.

use std::hash::Hasher;
use std::ops::Range;

use siphasher::sip::SipHasher13;

use crate::audit::event::Event;

/// The number of slots that are found by key.
pub const KEYED: usize = 1088;
/// In how many of them a key may be.
const PROBES: u64 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Without a verified token, as a role that may log in.
    LoginRole,
    /// Without a verified token, as any other.
    OtherRole,
    /// With a verified token.
    Verified,
    /// Attempts without a verified token that found no slot, whatever their role.
    Address,
    /// Attempts with a verified token that found no slot, whatever their role.
    Principal,
}

impl Class {
    /// The attempt's class, and then the one for when that has no slot, where its role is left out.
    pub fn of(event: &Event) -> [Class; 2] {
        match (&event.token, event.role_can_login) {
            (Some(_), _) => [Class::Verified, Class::Principal],
            (None, true) => [Class::LoginRole, Class::Address],
            (None, false) => [Class::OtherRole, Class::Address],
        }
    }

    /// As many as a power of two, so that each odd step leads to all of them.
    fn slots(self) -> Range<usize> {
        match self {
            Class::LoginRole => 0..512,
            Class::OtherRole => 512..640,
            Class::Verified => 640..768,
            Class::Address => 768..1024,
            Class::Principal => 1024..KEYED,
        }
    }

    /// The slots that the key may be in, in the order in which to try them.
    pub fn candidates(self, key: &[u8], secret: &[u8; 16]) -> impl Iterator<Item = usize> {
        let slots = self.slots();
        let mut hasher = SipHasher13::new_with_key(secret);
        hasher.write(key);
        let hash = hasher.finish();
        let step = (hash >> 32) | 1;
        (0..PROBES).map(move |probe| {
            let place = hash.wrapping_add(probe.wrapping_mul(step)) % slots.len() as u64;
            slots.start + usize::try_from(place).unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ALL: [Class; 5] = [
        Class::LoginRole,
        Class::OtherRole,
        Class::Verified,
        Class::Address,
        Class::Principal,
    ];

    #[test]
    fn no_slot_belongs_to_two_classes_or_to_none() {
        let mut slots: Vec<usize> = ALL.into_iter().flat_map(Class::slots).collect();
        slots.sort_unstable();
        assert_eq!(slots, (0..KEYED).collect::<Vec<_>>());
        for class in ALL {
            for key in 0..1000_u32 {
                let candidates: BTreeSet<usize> =
                    class.candidates(&key.to_be_bytes(), &[7; 16]).collect();
                assert_eq!(candidates.len() as u64, PROBES);
                assert!(candidates.iter().all(|slot| class.slots().contains(slot)));
            }
        }
    }

    #[test]
    fn keys_are_spread_over_the_slots_of_their_class() {
        for class in ALL {
            let homes = (0..20_000_u32)
                .filter_map(|key| class.candidates(&key.to_be_bytes(), &[7; 16]).next());
            let homes: BTreeSet<usize> = homes.collect();
            assert_eq!(homes.len(), class.slots().len(), "{class:?}");
        }
    }

    #[test]
    fn the_secret_decides_where_a_key_goes() {
        let homes = |secret: &[u8; 16]| -> Vec<usize> {
            let keys = 0..100_u32;
            keys.filter_map(|key| {
                Class::LoginRole
                    .candidates(&key.to_be_bytes(), secret)
                    .next()
            })
            .collect()
        };
        let (one, other) = (homes(&[7; 16]), homes(&[8; 16]));
        let alike = one.iter().zip(&other).filter(|(one, other)| one == other);
        assert!(alike.count() < 10);
    }
}
