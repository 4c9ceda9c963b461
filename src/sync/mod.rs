//! Group sync: a role for every member of a mapped group, which has the group's role for as long as the
//! directory says so.
//!
//! A worker of its own ([`crate::worker::group_sync`]) does all of it, as the bootstrap superuser, who
//! may create roles, label them and grant any role; nobody else's statement gets rights by it. What
//! decides are object ids; names, which the directory's people choose, only name new roles, and PostgreSQL
//! quotes them.
//!
//! | module | what it is for |
//! |---|---|
//! | [`run`] | one run over all groups |
//! | [`group`] | which groups are synchronised |
//! | [`listing`] | the thread that asks the directory |
//! | [`members`], [`entitlement`] | who is to have what |
//! | [`settle`] | the transactions that see to it |
//! | [`record`] | what is written down |
//! | [`state`] | who asks for a run, in shared memory |
//! | [`function`] | the SQL functions |

mod entitlement;
mod error;
mod function;
mod group;
mod listing;
mod members;
mod record;
pub mod run;
mod settle;
pub mod state;

use pgrx::prelude::*;

use crate::pg::worker::Failure;
use crate::principals::PrincipalError;

pub use entitlement::Terms;

/// The tables that the worker writes.
pub const TABLES: [&str; 2] = ["group_sync_groups", "group_sync_changes"];

extension_sql_file!(
    "../../sql/group_sync.sql",
    name = "group_sync",
    requires = [
        function::group_sync_worker,
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
