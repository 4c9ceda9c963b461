//! Why a session is terminated, and the error that its client gets.

use std::ffi::CStr;

/// Why the session worker terminates a session. The numbers are for shared memory; 0 means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TerminationReason {
    Expired = 1,
    Revoked = 2,
}

/// The FATAL error instead of PostgreSQL's own, whose SQLSTATE 57P01 would make drivers assume a shutdown.
pub struct ErrorText {
    /// Of class 57 (operator intervention), by which drivers recognize terminated connections.
    pub sqlstate: &'static CStr,
    pub message: &'static CStr,
    pub hint: &'static CStr,
}

impl TerminationReason {
    pub fn from_number(number: u8) -> Option<TerminationReason> {
        [TerminationReason::Expired, TerminationReason::Revoked]
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
        }
    }

    /// For the log message about the session's end.
    pub fn cause(self) -> &'static str {
        match self {
            TerminationReason::Expired => "token expired",
            TerminationReason::Revoked => "principal revoked",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_number_and_text() {
        assert_eq!(TerminationReason::from_number(0), None);
        assert_eq!(TerminationReason::from_number(3), None);
        for reason in [TerminationReason::Expired, TerminationReason::Revoked] {
            assert_eq!(TerminationReason::from_number(reason as u8), Some(reason));
            let sqlstate = reason.error_text().sqlstate.to_bytes();
            assert_eq!((sqlstate.len(), sqlstate.get(..3)), (5, Some(&b"57E"[..])));
        }
        assert_ne!(
            TerminationReason::Expired.error_text().sqlstate,
            TerminationReason::Revoked.error_text().sqlstate
        );
    }
}
