//! Requests that failed: which are worth another try, and what they are called.

use std::time::Duration;

use entra_api::{DirectoryError, ErrorKind};
use serde::Deserialize;

use crate::http::{HttpError, Response};

/// Why a request failed, and whether the next one may do better.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) error: DirectoryError,
    pub(crate) again: Again,
    /// Graph's own code for it.
    pub(crate) code: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    Never,
    /// After a while, or after the pause that was asked for.
    After(Option<Duration>),
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, message: impl AsRef<str>) -> Failure {
        DirectoryError::new(kind, message).into()
    }

    pub(crate) fn passing(kind: ErrorKind, message: String, pause: Option<Duration>) -> Failure {
        Failure {
            error: DirectoryError::new(kind, message),
            again: Again::After(pause),
            code: None,
        }
    }

    /// There was no answer of `who`.
    pub(crate) fn unanswered(who: &str, problem: &HttpError) -> Failure {
        let message = format!("{who}: {problem}");
        match problem {
            HttpError::Slow(_) | HttpError::SlowConnection => {
                Failure::passing(ErrorKind::TimedOut, message, None)
            }
            HttpError::Transport(_) => Failure::passing(ErrorKind::Unreachable, message, None),
            HttpError::TooLarge(_) => Failure::new(ErrorKind::BadAnswer, message),
            _ => Failure::new(ErrorKind::Unreachable, message),
        }
    }

    /// The answer of `who` means that it can't answer now.
    pub(crate) fn busy(who: &str, response: &Response) -> Option<Failure> {
        let status = response.status;
        let kind = match status {
            429 => ErrorKind::Throttled,
            500..=599 => ErrorKind::Unreachable,
            _ => return None,
        };
        let message = format!("{who} answered with status {status}");
        Some(Failure::passing(kind, message, response.retry_after))
    }

    pub(crate) fn malformed(who: &str, what: &str) -> Failure {
        Failure::new(
            ErrorKind::BadAnswer,
            format!("{who} sent an answer that {what}"),
        )
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Failure {
        Failure {
            error,
            again: Again::Never,
            code: None,
        }
    }
}

impl From<Failure> for DirectoryError {
    fn from(failure: Failure) -> DirectoryError {
        failure.error
    }
}

/// A code out of an answer, fit to be shown: letters, digits, `_` and `.` only, not too many.
pub(crate) fn shown_code(code: &str) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    (!code.is_empty() && code.len() <= 64 && code.bytes().all(is_plain)).then_some(code)
}

/// The code in an error of Graph's, `{"error": {"code": …}}`.
/// <https://learn.microsoft.com/graph/errors>
pub(crate) fn graph_code(response: &Response) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        error: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        code: String,
    }
    let answer: Answer = serde_json::from_slice(&response.body).ok()?;
    shown_code(&answer.error.code).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_shown_only_if_it_is_one() {
        for good in ["Request_ResourceNotFound", "invalid_client", "A.b_1"] {
            assert_eq!(shown_code(good), Some(good));
        }
        for bad in ["", "two words", "a\nb", "eyJ0eXAi-", "é", &"x".repeat(65)] {
            assert_eq!(shown_code(bad), None, "{bad:?}");
        }
    }
}
