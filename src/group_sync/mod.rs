//! Group sync: a role for every member of a mapped group, which has the group's role for as long as the
//! directory says so.
//!
//! A worker of its own ([`crate::group_sync::worker`]) does all of it, as the bootstrap superuser, who
//! may create roles, label them and grant any role; nobody else's statement gets rights by it. What
//! decides are object ids; names, which the directory's people choose, only name new roles, and PostgreSQL
//! quotes them.
//!
//! | module | what it is for |
//! |---|---|
//! | [`worker`] | the background worker |
//! | [`run`] | one run over all groups |
//! | [`groups`] | which groups are synchronized |
//! | [`fetch`] | the thread that asks the directory for members |
//! | [`members`], [`eligibility`] | who is to have the group role |
//! | [`apply`] | the transactions that grant and revoke |
//! | [`history`] | what is written down |
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

use crate::pg::worker::Failure;
use crate::principals::PrincipalError;

/// The tables that the worker writes.
pub const TABLES: [&str; 2] = ["group_sync_groups", "group_sync_changes"];

extension_sql_file!(
    "../../sql/group_sync.sql",
    name = "group_sync",
    requires = [
        functions::group_sync_worker,
        functions::pg_catalog::pgaadauth_list_principals
    ]
);

impl From<PrincipalError> for Failure {
    fn from(error: PrincipalError) -> Failure {
        Failure {
            message: error.to_string(),
            is_data: false,
        }
    }
}
