//! How many passwords of local roles were wrong within a minute, by pooler and role and by pooler. Each costs the server
//! thousands of hashes, and the pooler's other clients wait meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Secret, hash, place};

/// How many wrong passwords there may be within a minute, for one role by one pooler, and by one pooler.
const MAX_OF_ROLE: u64 = 10;
const MAX_OF_POOLER: u64 = 100;

/// The counts of the current minute: each number has the minute, and in its lower half the count. All zeros are valid.
pub struct PasswordFailures {
    by_role: [AtomicU64; 1024],
    by_pooler: [AtomicU64; 64],
}

/// The counts that a role and a pooler have. Others may have the same ones: then they are limited together.
pub struct Counts<'a> {
    of_role: &'a AtomicU64,
    of_pooler: &'a AtomicU64,
}

impl PasswordFailures {
    pub fn counts(&self, secret: &Secret, pooler: &str, role: &str) -> Option<Counts<'_>> {
        let (pooler, role) = (pooler.as_bytes(), role.as_bytes());
        let of_role = place(hash(secret, &[b"role", pooler, role]), self.by_role.len());
        let of_pooler = place(hash(secret, &[b"pooler", pooler]), self.by_pooler.len());
        Some(Counts {
            of_role: self.by_role.get(of_role)?,
            of_pooler: self.by_pooler.get(of_pooler)?,
        })
    }
}

impl Counts<'_> {
    /// Whether no password may be tried at `now`, in seconds since the Unix epoch.
    pub fn are_full(&self, now: i64) -> bool {
        let count = |number: &AtomicU64| at(number.load(Ordering::Relaxed), now) & COUNT;
        count(self.of_role) >= MAX_OF_ROLE || count(self.of_pooler) >= MAX_OF_POOLER
    }

    /// Counts a wrong password.
    pub fn add(&self, now: i64) {
        for number in [self.of_role, self.of_pooler] {
            let more = |number| Some(at(number, now) + 1);
            let _ = number.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }
}

const COUNT: u64 = u32::MAX as u64;

/// The number as it is in the minute of `now`.
fn at(number: u64, now: i64) -> u64 {
    let minute = u64::try_from(now / 60).unwrap_or_default() & COUNT;
    if number >> 32 == minute {
        number
    } else {
        minute << 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: Secret = *b"a secret of ours";

    fn none() -> PasswordFailures {
        PasswordFailures {
            by_role: [const { AtomicU64::new(0) }; 1024],
            by_pooler: [const { AtomicU64::new(0) }; 64],
        }
    }

    #[test]
    fn ten_wrong_passwords_a_minute_end_the_tries_of_a_role() {
        let failures = none();
        let own = failures.counts(&SECRET, "pgb1", "alice").unwrap();
        let other = failures.counts(&SECRET, "pgb1", "bob").unwrap();
        for second in 0..10 {
            assert!(!own.are_full(second));
            own.add(second);
        }
        assert!(own.are_full(59));
        assert!(!other.are_full(59));
        assert!(!own.are_full(60));
    }

    #[test]
    fn a_hundred_a_minute_end_those_of_a_pooler() {
        let failures = none();
        let counts = |pooler, role: usize| {
            let role = role.to_string();
            failures.counts(&SECRET, pooler, &role).unwrap()
        };
        for role in 0..100 {
            counts("pgb1", role).add(0);
        }
        assert!(counts("pgb1", 1000).are_full(0));
        assert!(!counts("pgb2", 1000).are_full(0));
    }
}
