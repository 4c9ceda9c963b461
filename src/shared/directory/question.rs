//! Questions to the directory and its answers, in the fixed size that shared memory wants.

use entra_api::{DirectoryError, ErrorKind, Principal};
use entra_token::PrincipalKind;
use uuid::Uuid;

use super::lookup_error::Answerless;
use crate::shared::bytes::Bytes;

/// Longer than any name that a role can have.
pub type StoredName = Bytes<256>;
type StoredMessage = Bytes<{ DirectoryError::MAX_MESSAGE }>;

/// What a process wants to know of the directory.
#[allow(clippy::large_enum_variant, reason = "shared memory holds no pointers")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Question {
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

/// What the worker found out, or why not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Found(StoredPrincipal),
    Member(bool),
    Ready,
    Failed {
        kind: ErrorKind,
        message: StoredMessage,
    },
    /// The worker has another directory than the one that was asked for.
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
    /// What the asker makes of it.
    pub fn into_result(self) -> Result<Answer, Answerless> {
        match self {
            Answer::Found(_) | Answer::Member(_) | Answer::Ready => Ok(self),
            Answer::Failed { kind, message } => Err(Answerless::Directory {
                kind,
                message: message.as_str().to_owned(),
            }),
            Answer::OtherSettings => Err(Answerless::SettingsChanged),
            Answer::WorkerStopped => Err(Answerless::WorkerNotRunning),
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
