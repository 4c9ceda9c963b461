//! Queries to the directory and its answers in a fixed size, for shared memory.

use entra_api::{DirectoryError, ErrorKind, Principal};
use entra_token::PrincipalKind;
use uuid::Uuid;

use super::lookup_error::LookupError;
use crate::shared::bytes::Bytes;

/// Longer than any name that a role can have.
pub type StoredName = Bytes<256>;
type StoredMessage = Bytes<{ DirectoryError::MAX_MESSAGE }>;

/// What a process asks the directory.
#[allow(clippy::large_enum_variant, reason = "shared memory holds no pointers")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Query {
    ByName(StoredName),
    ByObjectId(Uuid),
    ByAppId(Uuid),
    /// Whether the principal is in the group, directly or through other groups.
    Membership {
        kind: PrincipalKind,
        member: Uuid,
        group: Uuid,
    },
    /// Whether the directory answers all of these.
    Probe,
}

/// The worker's answer, or why there is none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Found(StoredPrincipal),
    Member(bool),
    Ready,
    Failed {
        kind: ErrorKind,
        message: StoredMessage,
    },
    /// The worker's settings name another directory than the asker's.
    OtherSettings,
    WorkerStopped,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StoredPrincipal {
    kind: PrincipalKind,
    object_id: Uuid,
    name: StoredName,
    app_id: Option<Uuid>,
    enabled: bool,
}

impl Answer {
    /// The answer as the asker's result.
    pub fn into_result(self) -> Result<Answer, LookupError> {
        match self {
            Answer::Found(_) | Answer::Member(_) | Answer::Ready => Ok(self),
            Answer::Failed { kind, message } => Err(LookupError::Directory {
                kind,
                message: message.as_str().to_owned(),
            }),
            Answer::OtherSettings => Err(LookupError::SettingsChanged),
            Answer::WorkerStopped => Err(LookupError::WorkerNotRunning),
        }
    }
}

impl From<&DirectoryError> for Answer {
    fn from(error: &DirectoryError) -> Answer {
        Answer::Failed {
            kind: error.kind,
            message: Bytes::cut(&error.message),
        }
    }
}

impl From<&Principal> for StoredPrincipal {
    fn from(principal: &Principal) -> StoredPrincipal {
        StoredPrincipal {
            kind: principal.kind,
            object_id: principal.object_id,
            name: Bytes::cut(&principal.name),
            app_id: principal.app_id,
            enabled: principal.enabled,
        }
    }
}

impl From<StoredPrincipal> for Principal {
    fn from(stored: StoredPrincipal) -> Principal {
        Principal {
            kind: stored.kind,
            object_id: stored.object_id,
            name: stored.name.as_str().to_owned(),
            app_id: stored.app_id,
            enabled: stored.enabled,
        }
    }
}
