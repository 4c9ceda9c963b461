//! Errors of revoking and restoring principals, as PostgreSQL reports them.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use thiserror::Error;
use uuid::Uuid;

use crate::principals::PrincipalError;
use crate::shared::sessions::revocations::MAX_REVOCATIONS;

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
    #[error("cannot revoke or restore principals during recovery")]
    Standby,
    #[error("principals are revoked and restored in database \"{0}\"")]
    OtherDatabase(String),
    /// The extension is missing in the database, or a role that is not a superuser owns a part of it.
    #[error("cannot store revocations in this database: {0}")]
    Unfit(String, Option<&'static str>),
    #[error("{0} must not be null")]
    Null(&'static str),
    #[error("the end of the revocation is in the past")]
    Past,
    #[error("cannot revoke principals at an isolation level other than read committed")]
    Isolation,
    #[error("cannot revoke more than {MAX_REVOCATIONS} principals")]
    TooMany,
    #[error("object id {0} is not revoked")]
    NotRevoked(Uuid),
    #[error("could not change the revocations: {0}")]
    Statement(#[from] spi::Error),
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
            Self::AdminPrincipal(_) => "Only a superuser can revoke or restore an administrator.",
            Self::OwnPrincipal => "Another administrator can do it.",
            Self::Standby => {
                "Call the function on the primary server; standbys replicate the change."
            }
            Self::OtherDatabase(_) => {
                "Connect to that database, which aadauth.database names. Revocations apply to the whole server."
            }
            Self::Unfit(_, hint) => return hint.map(str::to_owned),
            Self::Past => "Omit it to revoke the principal permanently.",
            Self::TooMany => {
                "Drop the roles of principals that will not return and restore their object ids, or revoke a group."
            }
            Self::NotRevoked(_) => "The view aadauth.revocations lists the revoked principals.",
            Self::Isolation => "Call it in a transaction of its own.",
            Self::Denied(_) | Self::Null(_) | Self::Statement(_) => return None,
        };
        Some(hint.to_owned())
    }
}
