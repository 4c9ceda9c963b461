//! The fingerprint of RSA keys that a faulty library made guessable (CVE-2017-15361, "ROCA").
//!
//! Moduli of that library lie, modulo every small prime, in the group that 65537 generates. A sound
//! modulus passes that by chance once in about 2^27. Nemec, Sys, Svenda, Klinec and Matyas, "The
//! Return of Coppersmith's Attack", CCS 2017, section 4.

/// The odd primes up to 167, whose product divides the library's primorial for keys of 512 to 960
/// bits and, as divisors, for all longer ones.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
    101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether `modulus`, big-endian, has the fingerprint.
pub(crate) fn has_fingerprint(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| {
        let remainder = modulus.iter().fold(0, |remainder, byte| {
            (remainder * 256 + u32::from(*byte)) % prime
        });
        is_power_of_65537(remainder, *prime)
    })
}

fn is_power_of_65537(number: u32, prime: u32) -> bool {
    let mut power = 1;
    loop {
        if power == number {
            return true;
        }
        power = power * 65537 % prime;
        if power == 1 {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_told_from_other_numbers() {
        let powers = |prime| (0..prime).filter(move |n| is_power_of_65537(*n, prime));
        // 65537 is 3 modulo 7, which generates everything but zero; -1 modulo 11; 2 modulo 17.
        assert_eq!(powers(7).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(powers(11).collect::<Vec<_>>(), [1, 10]);
        assert_eq!(powers(17).collect::<Vec<_>>(), [1, 2, 4, 8, 9, 13, 15, 16]);
    }

    #[test]
    fn powers_themselves_have_the_fingerprint() {
        assert!(has_fingerprint(&[1]));
        assert!(has_fingerprint(&[1, 0, 1]));
        assert!(!has_fingerprint(&[3]));
        assert!(!has_fingerprint(&[0]));
    }
}
