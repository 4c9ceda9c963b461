//! Keeps `DROP EXTENSION` from deleting the audit and the revocations unasked.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::pg::rights;

/// Called before the extension is dropped without CASCADE.
///
/// # Panics
/// With PostgreSQL's ERROR, if that would delete recorded sign-ins or revocations.
pub fn dropping() {
    // Nobody else may drop the extension, or may look into its table; PostgreSQL says so.
    if !rights::is_superuser(rights::current_user()) {
        return;
    }
    let kept = kept().unwrap_or_else(|error| pgrx::error!("{error}"));
    if kept.is_empty() {
        return;
    }
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
        format!(
            "cannot drop extension aadauth without deleting {}",
            kept.join(" and ")
        ),
        "dropping",
    )
    .set_detail("They are in aadauth.sign_in_audit and aadauth.revoked_principals, and go with the extension.")
    .set_hint("Copy what must be kept, then use DROP EXTENSION aadauth CASCADE.")
    .report(PgLogLevel::ERROR);
}

/// What would be deleted; nothing where the extension is not installed, or its tables are empty.
fn kept() -> spi::Result<Vec<String>> {
    let mut kept = Vec::new();
    let since = "SELECT pg_catalog.to_char(pg_catalog.min(occurred_at), 'YYYY-MM-DD') \
        FROM aadauth.sign_in_audit";
    if let Some(since) = first::<String>("sign_in_audit", since)? {
        kept.push(format!("the sign-ins recorded since {since}"));
    }
    let revoked = "SELECT true FROM aadauth.revoked_principals";
    if first::<bool>("revoked_principals", revoked)? == Some(true) {
        kept.push("the revocations".to_owned());
    }
    Ok(kept)
}

/// The query's one value, if the table is there.
fn first<T: FromDatum + IntoDatum>(table: &str, query: &str) -> spi::Result<Option<T>> {
    let installed = "SELECT 1 FROM pg_catalog.pg_class AS c \
        JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
        WHERE n.nspname OPERATOR(pg_catalog.=) 'aadauth' AND c.relname OPERATOR(pg_catalog.=) $1::name";
    Spi::connect(|client| {
        if client
            .select(installed, Some(1), &[table.into()])?
            .is_empty()
        {
            return Ok(None);
        }
        let rows = client.select(query, Some(1), &[])?;
        if rows.is_empty() {
            return Ok(None);
        }
        rows.first().get_one::<T>()
    })
}
