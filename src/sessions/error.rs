//! Errors of revoking and restoring principals, as PostgreSQL reports them.

use pgrx::prelude::*;
use thiserror::Error;
use uuid::Uuid;

use crate::pg::log;
use crate::principals::PrincipalError;
use crate::shared::sessions::requests::MAX_REASON;
use crate::shared::sessions::revocations::{MAX_OF_ADMINS, MAX_OF_ONE_ADMIN, MAX_REVOCATIONS};

/// Display is the primary message.
#[derive(Debug, Error)]
pub enum RevocationError {
    #[error(transparent)]
    Denied(#[from] PrincipalError),
    #[error(
        "must be superuser to revoke or restore the principal of admin or privileged role \"{0}\""
    )]
    AdminPrincipal(String),
    #[error("must be superuser to revoke or restore the principal of the current session")]
    OwnPrincipal,
    #[error(
        "must be superuser to restore a principal that a superuser revoked, or to shorten the revocation"
    )]
    RevokedBySuperuser,
    #[error("cannot revoke or restore principals in a transaction that has made changes")]
    HasChanges,
    #[error("{0} must not be null")]
    Null(&'static str),
    #[error("the end of the revocation is in the past")]
    Past,
    #[error("reason is {0} bytes long, but the maximum is {MAX_REASON}")]
    ReasonTooLong(usize),
    #[error("cannot revoke more than {MAX_REVOCATIONS} principals")]
    TooMany,
    #[error("cannot revoke more than {MAX_OF_ADMINS} principals as an admin")]
    TooManyByAdmins,
    #[error("cannot revoke more than {MAX_OF_ONE_ADMIN} principals as one admin")]
    TooManyByOneAdmin,
    #[error("object id {0} is not revoked")]
    NotRevoked(Uuid),
    #[error("too many principals are being revoked or restored at the same time")]
    Busy,
    #[error("could not change the revocations because the aadauth session worker did not answer")]
    Unanswered,
    #[error("could not determine whether the revocations were changed")]
    Unknown,
    #[error("could not change the revocations: {message}")]
    Failed {
        is_locked: bool,
        message: String,
        hint: Option<String>,
    },
}

impl RevocationError {
    /// Raises the error.
    pub fn raise(self) -> ! {
        if let Self::Denied(error) = self {
            error.raise()
        }
        let (message, hint) = (self.to_string(), self.hint());
        log::error(self.code(), &message, self.detail(), hint.as_deref())
    }

    fn code(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Self::Denied(_)
            | Self::AdminPrincipal(_)
            | Self::OwnPrincipal
            | Self::RevokedBySuperuser => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::HasChanges => ERRCODE_ACTIVE_SQL_TRANSACTION,
            Self::Null(_) => ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::Past => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::ReasonTooLong(_) => ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
            Self::TooMany | Self::TooManyByAdmins | Self::TooManyByOneAdmin => {
                ERRCODE_PROGRAM_LIMIT_EXCEEDED
            }
            Self::NotRevoked(_) => ERRCODE_UNDEFINED_OBJECT,
            Self::Busy => ERRCODE_INSUFFICIENT_RESOURCES,
            Self::Failed {
                is_locked: true, ..
            } => ERRCODE_LOCK_NOT_AVAILABLE,
            Self::Unanswered | Self::Failed { .. } => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::Unknown => ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN,
        }
    }

    fn detail(&self) -> Option<&'static str> {
        match self {
            Self::TooManyByAdmins => Some("The rest of the list is reserved for superusers."),
            Self::HasChanges => Some(
                "Whether it is allowed must not depend on changes that the transaction may take back.",
            ),
            Self::Unanswered => Some("Nothing was changed."),
            Self::Unknown => Some(
                "The aadauth session worker ended, or did not answer, while it committed the change.",
            ),
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::AdminPrincipal(_) => "Only a superuser can revoke or restore an administrator.",
            Self::OwnPrincipal => "Another administrator can do it.",
            Self::Failed { hint, .. } => return hint.clone(),
            Self::Past => "Omit it to revoke the principal permanently.",
            Self::HasChanges => "Call it in a transaction of its own.",
            Self::TooMany | Self::TooManyByAdmins => {
                "Drop the roles of principals that will not return and restore their object ids, or revoke a group."
            }
            Self::TooManyByOneAdmin => "Revoke a group, or ask a superuser.",
            Self::NotRevoked(_) => "The view aadauth.revocations lists the revoked principals.",
            Self::Busy => "Try again.",
            Self::Unanswered => {
                "Run SELECT * FROM aadauth.check_configuration() to find the cause."
            }
            Self::Unknown => "The view aadauth.revocations lists the revoked principals.",
            Self::Denied(_) | Self::Null(_) | Self::ReasonTooLong(_) | Self::RevokedBySuperuser => {
                return None;
            }
        };
        Some(hint.to_owned())
    }
}
