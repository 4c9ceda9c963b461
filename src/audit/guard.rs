//! Keeps `DROP EXTENSION` from deleting the audit unasked.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::pg::rights;

/// Called before the extension is dropped without CASCADE.
///
/// # Panics
/// With PostgreSQL's ERROR, if that would delete recorded sign-ins.
pub fn dropping() {
    // Nobody else may drop the extension, or may look into its table; PostgreSQL says so.
    if !rights::is_superuser(rights::current_user()) {
        return;
    }
    let Some(since) = oldest().unwrap_or_else(|error| pgrx::error!("{error}")) else {
        return;
    };
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
        format!(
            "cannot drop extension aadauth without deleting the sign-ins recorded since {since}"
        ),
        "dropping",
    )
    .set_detail("They are in aadauth.sign_in_audit and go with the extension.")
    .set_hint("Copy what must be kept, then use DROP EXTENSION aadauth CASCADE.")
    .report(PgLogLevel::ERROR);
}

/// The day of the oldest sign-in; `None` where nothing is recorded, or nothing is installed.
fn oldest() -> spi::Result<Option<String>> {
    let installed = "SELECT 1 FROM pg_catalog.pg_class AS c \
        JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
        WHERE n.nspname OPERATOR(pg_catalog.=) 'aadauth' \
            AND c.relname OPERATOR(pg_catalog.=) 'sign_in_audit'";
    let query = "SELECT pg_catalog.to_char(pg_catalog.min(occurred_at), 'YYYY-MM-DD') \
        FROM aadauth.sign_in_audit";
    Spi::connect(|client| {
        if client.select(installed, Some(1), &[])?.is_empty() {
            return Ok(None);
        }
        client
            .select(query, Some(1), &[])?
            .first()
            .get_one::<String>()
    })
}
