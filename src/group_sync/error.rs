//! Errors of `pgaadauth_sync_roles_for_group_members`, as PostgreSQL reports them.

use pgrx::prelude::*;
use thiserror::Error;

use crate::pg::log;

/// Display is the primary message.
#[derive(Debug, Error)]
pub enum SyncError {
    #[error("group sync is off")]
    Off,
    #[error("cannot synchronize groups because no directory is configured")]
    NoDirectory,
    #[error("cannot synchronize groups during recovery")]
    Standby,
    #[error("cannot synchronize groups in a transaction that has written data")]
    HasChanges,
    /// With the worker's last problem, if it reported one.
    #[error("group sync worker is not ready")]
    NotReady(Option<String>),
    #[error("group sync worker ended before the run did")]
    Gone,
    #[error("group sync failed: {0}")]
    Failed(String),
    #[error("could not read the changes: {0}")]
    Unreadable(#[from] spi::Error),
}

impl SyncError {
    /// Raises the error.
    pub fn raise(self) -> ! {
        let detail = match &self {
            SyncError::NotReady(Some(problem)) => Some(format!("Worker status: {problem}.")),
            _ => None,
        };
        let message = self.to_string();
        log::error(self.code(), &message, detail.as_deref(), self.hint())
    }

    fn code(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Self::Off | Self::NoDirectory | Self::Standby | Self::NotReady(_) => {
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
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
                "Set aadauth.tenant_id, aadauth.credential and the settings that it requires, and reload the configuration."
            }
            Self::Standby => "Call the function on the primary.",
            Self::HasChanges => {
                "The worker could not see the changes, and might wait for locks of this transaction. Commit it first."
            }
            Self::NotReady(_) => {
                "It starts within seconds of the server start, or after group sync is turned on. If it does not, \
                 see the server log; max_worker_processes must leave room for it."
            }
            Self::Gone => "See the server log, and call the function again.",
            Self::Failed(_) => "The next run continues where this one ended.",
            Self::Unreadable(_) => return None,
        })
    }
}
