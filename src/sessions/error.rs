//! Why a principal was not revoked or restored, as PostgreSQL reports it.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use thiserror::Error;
use uuid::Uuid;

use crate::principals::PrincipalError;
use crate::shared::sessions::revocations::MOST;

/// Display is the primary message.
#[derive(Debug, Error)]
pub enum RevocationError {
    #[error(transparent)]
    Denied(#[from] PrincipalError),
    #[error(
        "must be superuser to revoke or restore the principal of admin or privileged role \"{0}\""
    )]
    AdminPrincipal(String),
    #[error("must be superuser to revoke or restore the principal of one's own session")]
    OwnPrincipal,
    #[error("principals are revoked and restored on the primary server")]
    Standby,
    #[error("principals are revoked and restored in database \"{0}\"")]
    OtherDatabase(String),
    /// The database, or a part of the extension in it, could be another's.
    #[error("revocations can't be kept here: {0}")]
    Unfit(String, Option<&'static str>),
    #[error("{0} must not be null")]
    Null(&'static str),
    #[error("the time until which the principal is to be revoked has passed")]
    Past,
    #[error("principals can only be revoked in a transaction with isolation level read committed")]
    Isolation,
    #[error("{MOST} principals are revoked, which is the most that there may be")]
    TooMany,
    #[error("object id {0} is not revoked")]
    NotRevoked(Uuid),
    #[error("the revocations could not be changed: {0}")]
    Statement(#[from] spi::Error),
}

impl RevocationError {
    /// Raises the error; the one place from which this module does so.
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
            Self::Denied(_) | Self::AdminPrincipal(_) | Self::OwnPrincipal => {
                ERRCODE_INSUFFICIENT_PRIVILEGE
            }
            Self::Standby => ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::OtherDatabase(_) | Self::Unfit(..) => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::Isolation => ERRCODE_INVALID_TRANSACTION_STATE,
            Self::Null(_) => ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::Past => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::TooMany => ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Self::NotRevoked(_) => ERRCODE_UNDEFINED_OBJECT,
            Self::Statement(_) => ERRCODE_INTERNAL_ERROR,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::AdminPrincipal(_) => "Admins don't shut out each other, nor superusers.",
            Self::OwnPrincipal => "Another administrator can do it.",
            Self::Standby => "It gets to the standbys by replication.",
            Self::OtherDatabase(_) => {
                "Connect to that database, which aadauth.database names. It counts for the whole server."
            }
            Self::Unfit(_, hint) => return hint.map(str::to_owned),
            Self::Past => "Leave it out to revoke the principal for good.",
            Self::TooMany => {
                "Drop the roles of principals who won't come back and restore their object ids; or revoke a group."
            }
            Self::NotRevoked(_) => "The view aadauth.revocations has all that are.",
            Self::Isolation => "Call it in a transaction of its own.",
            Self::Denied(_) | Self::Null(_) | Self::Statement(_) => return None,
        };
        Some(hint.to_owned())
    }
}
