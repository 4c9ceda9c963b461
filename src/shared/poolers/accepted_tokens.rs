//! The tokens that trusted poolers asked about while they were valid, and that were accepted: a keyed hash of each, in a
//! table of fixed size that is lost when the server restarts.
//!
//! A plain value: the lock is taken in [`crate::shared::shmem`].

use super::{Secret, hash, place};

/// The tokens of one role and pooler share a bucket, with those of some others.
const BUCKETS: usize = 256;
const PLACES: usize = 16;
/// How many of them one role and pooler may have. A PgBouncer process presents only the last token of a role again.
const PLACES_OF_ONE: usize = 8;

/// The table. All zeros mean an empty one, of a server that could not draw a secret: nothing enters it.
pub struct AcceptedTokens {
    has_secret: bool,
    has_tokens: bool,
    secret: Secret,
    buckets: [[Place; PLACES]; BUCKETS],
}

#[derive(Clone, Copy)]
struct Place {
    /// A hash of the role and the pooler.
    owner: u64,
    digest: [u64; 2],
    /// Since the Unix epoch, in microseconds; 0 if the place is free.
    accepted_at: i64,
    has_grace: bool,
}

/// A token as the table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    bucket: usize,
    owner: u64,
    digest: [u64; 2],
}

impl Digest {
    /// Of a token that `pooler` presents for the role with that OID.
    pub fn new(secret: &Secret, pooler: &str, role: u32, token: &[u8]) -> Digest {
        let (pooler, role) = (pooler.as_bytes(), &role.to_ne_bytes());
        let owner = hash(secret, &[b"owner", pooler, role]);
        Digest {
            bucket: place(owner, BUCKETS),
            owner: owner[1],
            digest: hash(secret, &[b"token", pooler, role, token]),
        }
    }
}

impl AcceptedTokens {
    /// Empties the table, when the server starts.
    pub fn begin(&mut self, secret: Secret) {
        self.buckets = [[Place::FREE; PLACES]; BUCKETS];
        self.secret = secret;
        (self.has_secret, self.has_tokens) = (true, false);
    }

    /// The secret that digests are made with.
    pub fn secret(&self) -> Option<Secret> {
        self.has_secret.then_some(self.secret)
    }

    pub fn is_empty(&self) -> bool {
        !self.has_tokens
    }

    /// Remembers a token that was accepted at `now`, if need be in the place of the one that was accepted longest ago: of
    /// the same role and pooler, if they have enough.
    ///
    /// `has_grace` is whether it is accepted when it has expired.
    pub fn remember(&mut self, token: &Digest, has_grace: bool, now: i64) {
        let Some(bucket) = self.buckets.get_mut(token.bucket) else {
            return;
        };
        let is_own = |place: &Place| place.accepted_at != 0 && place.owner == token.owner;
        let has_enough = bucket.iter().filter(|place| is_own(place)).count() >= PLACES_OF_ONE;
        let place = match bucket.iter().position(|place| place.is_of(token)) {
            Some(known) => bucket.get_mut(known),
            None => bucket
                .iter_mut()
                .filter(|place| !has_enough || is_own(place))
                .min_by_key(|place| place.accepted_at),
        };
        if let Some(place) = place {
            self.has_tokens = true;
            *place = Place {
                owner: token.owner,
                digest: token.digest,
                accepted_at: now,
                has_grace,
            };
        }
    }

    pub fn contains(&self, token: &Digest) -> bool {
        self.find(token).is_some()
    }

    /// Whether the token is accepted when it has expired.
    pub fn has_grace(&self, token: &Digest) -> bool {
        self.find(token).is_some_and(|place| place.has_grace)
    }

    fn find(&self, token: &Digest) -> Option<&Place> {
        let bucket = self.buckets.get(token.bucket)?;
        bucket.iter().find(|place| place.is_of(token))
    }
}

impl Place {
    const FREE: Place = Place {
        owner: 0,
        digest: [0; 2],
        accepted_at: 0,
        has_grace: false,
    };

    fn is_of(&self, token: &Digest) -> bool {
        self.accepted_at != 0 && self.digest == token.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: Secret = *b"a secret of ours";

    fn zeros() -> Box<AcceptedTokens> {
        Box::new(AcceptedTokens {
            has_secret: false,
            has_tokens: false,
            secret: [0; 16],
            buckets: [[Place::FREE; PLACES]; BUCKETS],
        })
    }

    fn table() -> Box<AcceptedTokens> {
        let mut table = zeros();
        table.begin(SECRET);
        table
    }

    fn digest(pooler: &str, role: u32, token: &str) -> Digest {
        Digest::new(&SECRET, pooler, role, token.as_bytes())
    }

    #[test]
    fn without_a_secret_there_are_no_digests() {
        assert_eq!(zeros().secret(), None);
        assert_eq!(table().secret(), Some(SECRET));
    }

    #[test]
    fn a_token_is_known_for_its_own_role_and_pooler_only() {
        let mut table = table();
        let own = digest("pgb1", 16384, "token");
        assert!(table.is_empty() && !table.contains(&own));
        table.remember(&own, false, 1);
        assert!(!table.is_empty() && table.contains(&own) && !table.has_grace(&own));
        table.remember(&own, true, 1);
        assert!(table.has_grace(&own));
        for other in [
            digest("pgb1", 16384, "token2"),
            digest("pgb1", 16385, "token"),
            digest("pgb2", 16384, "token"),
        ] {
            assert!(!table.contains(&other), "{other:?}");
        }
        table.begin([8; 16]);
        assert!(table.is_empty() && !table.contains(&own));
    }

    #[test]
    fn the_tokens_that_were_accepted_last_are_known() {
        let mut table = table();
        let tokens: Vec<_> = (0..40)
            .map(|number| digest("pgb1", 16384, &number.to_string()))
            .collect();
        for (at, token) in (1..).zip(&tokens) {
            table.remember(token, true, at);
            // Accepted again and again, it stays.
            table.remember(&tokens[0], true, at);
        }
        let known: Vec<_> = tokens.iter().map(|token| table.contains(token)).collect();
        let expected: Vec<_> = (0..40).map(|number| number == 0 || number >= 33).collect();
        assert_eq!(known, expected);
    }

    #[test]
    fn busy_roles_displace_no_others() {
        let mut table = table();
        let quiet = digest("pgb1", 1, "token");
        table.remember(&quiet, true, 1);
        let in_its_bucket = |role: &u32| digest("pgb1", *role, "").bucket == quiet.bucket;
        let busy = (2..).find(in_its_bucket).unwrap();
        for at in 2..100 {
            table.remember(&digest("pgb1", busy, &at.to_string()), true, at);
        }
        assert!(table.contains(&quiet));
    }

    #[test]
    fn what_a_free_place_has_is_no_token() {
        let zeros = Digest {
            bucket: 0,
            owner: 0,
            digest: [0; 2],
        };
        assert!(!table().contains(&zeros));
    }
}
