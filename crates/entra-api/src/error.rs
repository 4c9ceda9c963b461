//! Why the directory has no answer.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of thing went wrong. The numbers are fit for shared memory; 0 is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum ErrorKind {
    /// The directory has no such principal (any more).
    NotFound = 1,
    /// More than one principal has the name; the message lists kinds and object ids.
    Ambiguous,
    /// The server's identity lacks a permission for Graph, which the message names.
    PermissionMissing,
    /// The credential can't be read, is readable by others, or is malformed.
    CredentialUnusable,
    /// Entra refuses the credential; the message has its error code.
    CredentialRefused,
    /// No connection, or none that can be trusted.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// Too many requests, and the pause that is asked for is longer than there is time.
    Throttled,
    /// An answer that can't be one of Entra's or Graph's.
    BadAnswer,
    /// The library that asks cannot be loaded, or has failed.
    LibraryUnusable,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [ErrorKind; 10] = [
        ErrorKind::NotFound,
        ErrorKind::Ambiguous,
        ErrorKind::PermissionMissing,
        ErrorKind::CredentialUnusable,
        ErrorKind::CredentialRefused,
        ErrorKind::Unreachable,
        ErrorKind::TimedOut,
        ErrorKind::Throttled,
        ErrorKind::BadAnswer,
        ErrorKind::LibraryUnusable,
    ];

    /// The kind that `kind as u8` gave this number.
    pub fn from_number(number: u8) -> Option<ErrorKind> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// A stable name in kebab-case.
    pub const fn code(self) -> &'static str {
        match self {
            ErrorKind::NotFound => "not-found",
            ErrorKind::Ambiguous => "ambiguous",
            ErrorKind::PermissionMissing => "permission-missing",
            ErrorKind::CredentialUnusable => "credential-unusable",
            ErrorKind::CredentialRefused => "credential-refused",
            ErrorKind::Unreachable => "unreachable",
            ErrorKind::TimedOut => "timed-out",
            ErrorKind::Throttled => "throttled",
            ErrorKind::BadAnswer => "bad-answer",
            ErrorKind::LibraryUnusable => "library-unusable",
        }
    }

    /// What to do about it, in one or two sentences.
    pub const fn hint(self) -> &'static str {
        match self {
            ErrorKind::NotFound => {
                "Users are found by user principal name (guests by the one with #EXT#), groups and service principals by display name; pgaadauth_create_principal_with_oid() takes the object id instead."
            }
            ErrorKind::Ambiguous => {
                "Say which one is meant by its object id, with pgaadauth_create_principal_with_oid()."
            }
            ErrorKind::PermissionMissing => {
                "Grant the server's identity the application permission (not the delegated one) for Microsoft Graph and give admin consent."
            }
            ErrorKind::CredentialUnusable => {
                "The file must be owned by the server's user with mode 0600 or less, or by root with mode 0640 or less, and hold what aadauth.credential says."
            }
            ErrorKind::CredentialRefused => {
                "Check aadauth.credential, aadauth.client_id and aadauth.tenant_id against the app registration, and whether the credential has expired."
            }
            ErrorKind::Unreachable => {
                "Check that this machine can reach Entra and Graph: name resolution, routes, firewall, aadauth.https_proxy; and aadauth.ca_file if their certificates come from a CA of your own."
            }
            ErrorKind::TimedOut => {
                "Try again; if it goes on, check the network to Entra and Graph, and aadauth.directory_timeout."
            }
            ErrorKind::Throttled => "Microsoft Graph asks for a pause; try again in a minute.",
            ErrorKind::BadAnswer => {
                "Check aadauth.authority_host and aadauth.graph_endpoint, and whether something on the way answers in their place."
            }
            ErrorKind::LibraryUnusable => {
                "Install this version of aadauth again, and restart the server."
            }
        }
    }
}

/// Why the directory has no answer. Displays its message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryError {
    /// What kind of thing went wrong.
    pub kind: ErrorKind,
    /// What went wrong, on one line of at most [`DirectoryError::MAX_MESSAGE`] bytes. Holds no
    /// secret, no token, and nothing of an answer but identifiers and error codes.
    pub message: String,
}

impl DirectoryError {
    /// The longest message, in bytes.
    pub const MAX_MESSAGE: usize = 400;

    /// An error whose message is put on one line and cut.
    pub fn new(kind: ErrorKind, message: impl AsRef<str>) -> DirectoryError {
        DirectoryError {
            kind,
            message: one_line(message.as_ref(), Self::MAX_MESSAGE),
        }
    }
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DirectoryError {}

/// The text without control characters, and cut to `limit` bytes (at least 3) where it is longer.
pub fn one_line(text: &str, limit: usize) -> String {
    const CUT: &str = "...";
    let mut line = String::with_capacity(text.len().min(limit));
    for character in text.chars() {
        let character = match character.is_control() {
            true => '?',
            false => character,
        };
        if line.len() + character.len_utf8() > limit {
            while line.len() + CUT.len() > limit {
                line.pop();
            }
            line.push_str(CUT);
            break;
        }
        line.push(character);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_are_one_to_one() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_number(kind as u8), Some(kind));
            let alike = ErrorKind::ALL
                .iter()
                .filter(|other| other.code() == kind.code())
                .count();
            assert_eq!(alike, 1, "{kind:?}");
        }
        assert_eq!(ErrorKind::from_number(0), None);
        assert_eq!(ErrorKind::from_number(11), None);
    }

    #[test]
    fn a_message_is_one_short_line() {
        let error = DirectoryError::new(ErrorKind::BadAnswer, "a\nb\0c\u{85}d");
        assert_eq!(error.message, "a?b?c?d");
        let error = DirectoryError::new(ErrorKind::BadAnswer, "é".repeat(201));
        assert_eq!(error.message, format!("{}...", "é".repeat(198)));
        let whole = "é".repeat(200);
        assert_eq!(
            DirectoryError::new(ErrorKind::BadAnswer, &whole).message,
            whole
        );
    }
}
