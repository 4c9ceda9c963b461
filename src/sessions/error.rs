//! Errors of revoking and restoring principals, as PostgreSQL reports them.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use thiserror::Error;
use uuid::Uuid;

use crate::principals::PrincipalError;
use crate::shared::sessions::requests::MAX_REASON;
use crate::shared::sessions::revocations::{MAX_OF_ONE_ADMIN, MAX_REVOCATIONS};

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
    OfSuperuser,
    #[error("cannot revoke or restore principals during recovery")]
    Standby,
    #[error("{0} must not be null")]
    Null(&'static str),
    #[error("the end of the revocation is in the past")]
    Past,
    #[error("reason is {0} bytes long, but the maximum is {MAX_REASON}")]
    ReasonTooLong(usize),
    #[error("cannot revoke more than {MAX_REVOCATIONS} principals")]
    TooMany,
    #[error("cannot revoke more than {MAX_OF_ONE_ADMIN} principals as one admin")]
    TooManyOfOne,
    #[error("object id {0} is not revoked")]
    NotRevoked(Uuid),
    #[error("too many principals are being revoked or restored at the same time")]
    Busy,
    #[error("could not change the revocations because the aadauth session worker did not answer")]
    Unanswered,
    #[error("could not determine whether the revocations were changed")]
    Unknown,
    #[error("could not change the revocations: {0}")]
    Failed(String, Option<String>),
}

impl RevocationError {
    /// Raises the error.
    pub fn raise(self) -> ! {
        let hint = self.hint();
        let mut report = match self {
            Self::Denied(error) => error.raise(),
            _ => ErrorReport::new(self.code(), self.to_string(), "aadauth"),
        };
        if let Some(hint) = hint {
            report = report.set_hint(hint);
        }
        report.report(PgLogLevel::ERROR);
        unreachable!("an ERROR unwinds")
    }

    fn code(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Self::Denied(_) | Self::AdminPrincipal(_) | Self::OwnPrincipal | Self::OfSuperuser => {
                ERRCODE_INSUFFICIENT_PRIVILEGE
            }
            Self::Standby => ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::Null(_) => ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::Past => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::ReasonTooLong(_) => ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
            Self::TooMany | Self::TooManyOfOne => ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Self::NotRevoked(_) => ERRCODE_UNDEFINED_OBJECT,
            Self::Busy => ERRCODE_INSUFFICIENT_RESOURCES,
            Self::Unanswered | Self::Failed(..) => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::Unknown => ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::AdminPrincipal(_) => "Only a superuser can revoke or restore an administrator.",
            Self::OwnPrincipal => "Another administrator can do it.",
            Self::Standby => {
                "Call the function on the primary server; standbys replicate the change."
            }
            Self::Failed(_, hint) => return hint.clone(),
            Self::Past => "Omit it to revoke the principal permanently.",
            Self::TooMany => {
                "Drop the roles of principals that will not return and restore their object ids, or revoke a group. The last tenth is for superusers."
            }
            Self::TooManyOfOne => "Revoke a group, or ask a superuser.",
            Self::NotRevoked(_) => "The view aadauth.revocations lists the revoked principals.",
            Self::Busy => "Try again.",
            Self::Unanswered => {
                "Nothing was changed. Run SELECT * FROM aadauth.check_configuration() to find the cause."
            }
            Self::Unknown => "The view aadauth.revocations lists the revoked principals.",
            Self::Denied(_) | Self::Null(_) | Self::ReasonTooLong(_) | Self::OfSuperuser => {
                return None;
            }
        };
        Some(hint.to_owned())
    }
}
