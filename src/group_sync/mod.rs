//! Group sync: a role for every member of a mapped group, with the group's role granted to it while the
//! directory lists the member.
//!
//! A dedicated worker ([`crate::group_sync::worker`]) does all of it as the bootstrap superuser, which may
//! create roles, label them and grant any role; no other session gains privileges by it. Object ids decide.
//! Names, which users of the directory choose, only name new roles, and are quoted.
//!
//! | module | purpose |
//! |---|---|
//! | [`worker`] | the background worker |
//! | [`run`] | one run over all groups |
//! | [`groups`] | which groups are synchronized |
//! | [`fetch`] | the thread that fetches members from the directory |
//! | [`members`], [`eligibility`] | which roles get the group role |
//! | [`apply`] | the transactions that grant and revoke |
//! | [`history`] | the records of progress and changes |
//! | [`functions`] | the SQL functions |

mod apply;
mod eligibility;
mod error;
mod fetch;
mod functions;
mod groups;
mod history;
mod members;
mod run;
pub mod worker;

use pgrx::prelude::*;

use crate::pg::worker::{Failure, FailureKind};
use crate::principals::PrincipalError;

/// The tables that the worker writes.
pub const TABLES: [&str; 2] = ["group_sync_groups", "group_sync_changes"];

extension_sql_file!(
    "../../sql/group_sync.sql",
    name = "group_sync",
    requires = [
        background::database::is_recorded_here,
        functions::group_sync_worker,
        functions::pg_catalog::pgaadauth_list_principals
    ]
);

impl From<PrincipalError> for Failure {
    fn from(error: PrincipalError) -> Failure {
        Failure {
            message: error.to_string(),
            kind: FailureKind::Other,
        }
    }
}
