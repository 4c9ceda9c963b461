//! How the directory has fared, for those who look after the server.

use entra_client::{DirectoryError, ErrorKind};

use crate::keys::bytes::Bytes;

/// Counts since the server started, and the last outcomes. Times are microseconds since the Unix epoch.
pub struct History {
    asked: u64,
    failed: u64,
    answered_at: Option<i64>,
    failed_at: i64,
    failure: Option<(ErrorKind, Bytes<{ DirectoryError::MAX_MESSAGE }>)>,
}

/// A copy of the [`History`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Questions that were put to the directory; those that the cache answered, or that joined one under
    /// way, don't count.
    pub asked: u64,
    /// How many of them it did not answer. That it has no such principal is an answer.
    pub failed: u64,
    pub answered_at: Option<i64>,
    pub last_failure: Option<Failure>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub at: i64,
    pub error: DirectoryError,
}

impl History {
    pub const EMPTY: History = History {
        asked: 0,
        failed: 0,
        answered_at: None,
        failed_at: 0,
        failure: None,
    };

    /// Counts a question that the directory answered at `now`.
    pub fn answered(&mut self, now: i64) {
        self.asked += 1;
        self.answered_at = Some(now);
    }

    /// Counts one that it did not.
    pub fn failed(&mut self, now: i64, error: &DirectoryError) {
        self.asked += 1;
        self.failed += 1;
        self.failed_at = now;
        self.failure = Some((error.kind, Bytes::cut(&error.message)));
    }

    pub fn state(&self) -> State {
        State {
            asked: self.asked,
            failed: self.failed,
            answered_at: self.answered_at,
            last_failure: self.failure.map(|(kind, message)| Failure {
                at: self.failed_at,
                error: DirectoryError {
                    kind,
                    message: message.as_str().to_owned(),
                },
            }),
        }
    }
}
