//! Proof Key for Code Exchange (RFC 7636): who redeems a code shows what only who asked for it knows.

use std::ops::RangeInclusive;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::objection::Objection;

const LENGTH: RangeInclusive<usize> = 43..=128;

/// What a client sends ahead of its verifier.
pub(super) enum Challenge {
    S256(String),
    Plain(String),
}

impl Challenge {
    /// Entra recommends a challenge, and requires one of single-page applications only.
    pub(super) fn read(
        challenge: Option<&str>,
        method: Option<&str>,
    ) -> Result<Option<Challenge>, Objection> {
        let Some(challenge) = challenge else {
            return match method {
                Some(_) => Err(Objection::ChallengeMissing),
                None => Ok(None),
            };
        };
        if !LENGTH.contains(&challenge.len()) {
            return Err(Objection::ChallengeSize);
        }
        match method {
            Some("S256") => Ok(Some(Challenge::S256(challenge.to_owned()))),
            None | Some("plain") => Ok(Some(Challenge::Plain(challenge.to_owned()))),
            Some(_) => Err(Objection::ChallengeMethod),
        }
    }

    pub(super) fn is_met_by(&self, verifier: &str) -> bool {
        match self {
            Challenge::S256(challenge) => {
                let hash = digest::digest(&digest::SHA256, verifier.as_bytes());
                *challenge == URL_SAFE_NO_PAD.encode(hash)
            }
            Challenge::Plain(challenge) => challenge == verifier,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        let read = |method| Challenge::read(Some(CHALLENGE), method).unwrap().unwrap();
        assert!(read(Some("S256")).is_met_by(VERIFIER));
        assert!(!read(Some("S256")).is_met_by(CHALLENGE));
        assert!(read(None).is_met_by(CHALLENGE));
        assert!(!read(Some("plain")).is_met_by(VERIFIER));
    }
}
