//! The trigger that keeps rows of other servers out of the extension's tables: a publication for all tables has their
//! revocations and sign-ins, too.

use std::convert::Infallible;

use pgrx::AllocatedByPostgres;
use pgrx::prelude::*;

use crate::pg::log;

/// Leaves out the row. The triggers call this only in sessions with a replication origin (sql/finalize.sql): a dump may be
/// restored with session_replication_role = replica. TRUNCATE cannot be left out; it stops the subscription.
#[pg_trigger(sql = r"
CREATE FUNCTION aadauth.skip_replicated() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'skip_replicated_wrapper';
")]
fn skip_replicated<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, Infallible> {
    if matches!(trigger.op(), Ok(PgTriggerOperation::Truncate)) {
        log::error(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "cannot replicate TRUNCATE of tables of extension aadauth",
            None,
            Some(
                "Leave the tables in schema aadauth out of the publication, or skip the transaction (ALTER SUBSCRIPTION ... SKIP).",
            ),
        );
    }
    Ok(None)
}
