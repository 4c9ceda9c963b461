//! Why `pgaadauth_sync_roles_for_group_members` has no answer, as PostgreSQL reports it.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use thiserror::Error;

/// Display is the primary message.
#[derive(Debug, Error)]
pub enum SyncError {
    #[error("group sync is off")]
    Off,
    #[error("groups can't be synchronised, since no directory is configured")]
    NoDirectory,
    #[error("groups can't be synchronised during recovery")]
    Standby,
    #[error("groups are synchronised in database \"{0}\"")]
    OtherDatabase(String),
    #[error("groups can't be synchronised in a transaction that has changed something")]
    HasChanges,
    /// With what it has said, if anything.
    #[error("the group sync worker is not ready")]
    NotReady(Option<String>),
    #[error("the group sync worker has ended before the run did")]
    Gone,
    #[error("group sync has failed: {0}")]
    Failed(String),
    #[error("the changes can't be read: {0}")]
    Unreadable(#[from] spi::Error),
}

impl SyncError {
    /// Raises the error; the one place from which this module does so.
    pub fn raise(self) -> ! {
        let mut report = ErrorReport::new(self.code(), self.to_string(), "aadauth");
        if let SyncError::NotReady(Some(problem)) = &self {
            report = report.set_detail(format!("It says: {problem}."));
        }
        if let Some(hint) = self.hint() {
            report = report.set_hint(hint);
        }
        report.report(PgLogLevel::ERROR);
        unreachable!("an ERROR unwinds")
    }

    fn code(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Self::Off
            | Self::NoDirectory
            | Self::OtherDatabase(_)
            | Self::Standby
            | Self::NotReady(_) => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::HasChanges => ERRCODE_ACTIVE_SQL_TRANSACTION,
            Self::Gone | Self::Failed(_) => ERRCODE_OPERATOR_INTERVENTION,
            Self::Unreadable(_) => ERRCODE_INTERNAL_ERROR,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Off => {
                "Set pgaadauth.enable_group_sync to on and reload the configuration. While it is off, \
                 members sign in with the name of the group's role."
            }
            Self::NoDirectory => {
                "Set aadauth.credential and what it takes, and aadauth.tenant_id, and reload the configuration."
            }
            Self::Standby => "Call the function on the primary.",
            Self::OtherDatabase(_) => "Connect to that database, which aadauth.database names.",
            Self::HasChanges => {
                "The worker could not see the changes, and might wait for locks of this transaction. Commit first."
            }
            Self::NotReady(_) => {
                "It starts within some seconds of the server, and after group sync is turned on. If it doesn't, \
                 the server log says why; max_worker_processes must leave room for it."
            }
            Self::Gone => "The server log says why. Call the function again.",
            Self::Failed(_) => "The next run goes on where this one ended.",
            Self::Unreadable(_) => return None,
        })
    }
}
