//! Why a session is terminated, and the error that its client gets.

use std::ffi::CStr;

/// Why a session is terminated. The numbers are for shared memory; 0 means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TerminationReason {
    Expired = 1,
    Revoked = 2,
    /// Its role has been mapped to another principal, or made again.
    Remapped = 3,
}

/// The FATAL error instead of PostgreSQL's own, whose SQLSTATE 57P01 would make drivers assume a shutdown.
pub struct ErrorText {
    /// Of class 57 (operator intervention), by which drivers recognize terminated connections.
    pub sqlstate: &'static CStr,
    pub message: &'static CStr,
    pub hint: &'static CStr,
}

impl TerminationReason {
    const ALL: [TerminationReason; 3] = [
        TerminationReason::Expired,
        TerminationReason::Revoked,
        TerminationReason::Remapped,
    ];

    pub fn from_number(number: u8) -> Option<TerminationReason> {
        TerminationReason::ALL
            .into_iter()
            .find(|reason| *reason as u8 == number)
    }

    pub fn error_text(self) -> ErrorText {
        match self {
            TerminationReason::Expired => ErrorText {
                sqlstate: c"57E01",
                message: c"terminating connection because the access token has expired",
                hint: c"Acquire a new token and connect again.",
            },
            TerminationReason::Revoked => ErrorText {
                sqlstate: c"57E02",
                message: c"terminating connection because the access of this principal was revoked",
                hint: c"A new token does not help. Ask the administrators of this server.",
            },
            TerminationReason::Remapped => ErrorText {
                sqlstate: c"57E03",
                message:
                    c"terminating connection because its role belongs to another principal now",
                hint: c"Connect again.",
            },
        }
    }

    /// For the log message about the session's end.
    pub fn cause(self) -> &'static str {
        match self {
            TerminationReason::Expired => "token expired",
            TerminationReason::Revoked => "principal revoked",
            TerminationReason::Remapped => "role mapped to another principal",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_reason_has_its_own_number_and_text() {
        assert_eq!(TerminationReason::from_number(0), None);
        assert_eq!(TerminationReason::from_number(4), None);
        let mut seen = HashSet::new();
        for reason in TerminationReason::ALL {
            assert_eq!(TerminationReason::from_number(reason as u8), Some(reason));
            let sqlstate = reason.error_text().sqlstate.to_bytes();
            assert_eq!((sqlstate.len(), sqlstate.get(..3)), (5, Some(&b"57E"[..])));
            assert!(seen.insert(sqlstate), "{reason:?}");
        }
    }
}
