//! Why a session is ended, and what its client is told.

use std::ffi::CStr;

/// Why the session worker ends a session. The numbers are for shared memory; 0 is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ending {
    Expired = 1,
    Revoked = 2,
}

/// What stands in the FATAL message in place of PostgreSQL's own, whose SQLSTATE 57P01 would have drivers
/// take it for a shutdown.
pub struct Words {
    /// Of class 57, operator intervention, where drivers look for connections that were ended.
    pub sqlstate: &'static CStr,
    pub message: &'static CStr,
    pub hint: &'static CStr,
}

impl Ending {
    pub fn from_number(number: u8) -> Option<Ending> {
        [Ending::Expired, Ending::Revoked]
            .into_iter()
            .find(|ending| *ending as u8 == number)
    }

    pub fn words(self) -> Words {
        match self {
            Ending::Expired => Words {
                sqlstate: c"57E01",
                message: c"terminating connection because the access token has expired",
                hint: c"Acquire a new token and connect again.",
            },
            Ending::Revoked => Words {
                sqlstate: c"57E02",
                message: c"terminating connection because the access of this principal was revoked",
                hint: c"A new token does not help. Ask the administrators of this server.",
            },
        }
    }

    /// For the line about the session's end.
    pub fn cause(self) -> &'static str {
        match self {
            Ending::Expired => "token expired",
            Ending::Revoked => "principal revoked",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ending_has_a_number_and_words_of_its_own() {
        assert_eq!(Ending::from_number(0), None);
        assert_eq!(Ending::from_number(3), None);
        for ending in [Ending::Expired, Ending::Revoked] {
            assert_eq!(Ending::from_number(ending as u8), Some(ending));
            let sqlstate = ending.words().sqlstate.to_bytes();
            assert_eq!((sqlstate.len(), sqlstate.get(..3)), (5, Some(&b"57E"[..])));
        }
        assert_ne!(
            Ending::Expired.words().sqlstate,
            Ending::Revoked.words().sqlstate
        );
    }
}
