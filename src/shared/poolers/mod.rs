//! What is remembered of trusted poolers: the tokens that they asked about and that were accepted, and how many passwords
//! were wrong.

pub mod accepted_tokens;
pub mod password_failures;

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

/// A secret of this start of the server.
pub type Secret = [u8; 16];

/// A keyed hash of the parts, each with its length, so that no two lists of parts are hashed alike.
fn hash(secret: &Secret, parts: &[&[u8]]) -> [u64; 2] {
    let mut hasher = SipHasher24::new_with_key(secret);
    for part in parts {
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    let hash = hasher.finish128();
    [hash.h1, hash.h2]
}

/// The place of a hash among that many.
fn place(hash: [u64; 2], count: usize) -> usize {
    usize::try_from(hash[0] % count as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_parts_and_other_secrets_hash_differently() {
        let secret = [7; 16];
        let own = hash(&secret, &[b"ab", b"c"]);
        assert_eq!(own, hash(&secret, &[b"ab", b"c"]));
        assert_ne!(own, hash(&secret, &[b"a", b"bc"]));
        assert_ne!(own, hash(&secret, &[b"abc"]));
        assert_ne!(own, hash(&[8; 16], &[b"ab", b"c"]));
    }
}
