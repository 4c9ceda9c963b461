//! The trigger that keeps rows of other servers out of the extension's tables: a publication for all tables has their
//! revocations and sign-ins, too.

use std::convert::Infallible;

use pgrx::WhoAllocated;
use pgrx::prelude::*;

use crate::pg::server;

/// Leaves out what a subscription brings, and nothing else: a dump may be restored with
/// session_replication_role = replica.
#[pg_trigger(sql = r"
CREATE FUNCTION aadauth.skip_replicated() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'skip_replicated_wrapper';
")]
fn skip_replicated<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, impl WhoAllocated>>, Infallible> {
    // A row that is deleted has no new version.
    let row = trigger.new().or_else(|| trigger.old());
    Ok(row.filter(|_| !server::is_logical_worker()))
}
