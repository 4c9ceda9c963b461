//! Keeps `DROP EXTENSION` from deleting the audit and the revocations without CASCADE, and every statement from taking
//! their database away, without which nobody signs in after the next start.

use pgrx::prelude::*;

use crate::pg::text::SqlText;
use crate::pg::{log, privileges, query};
use crate::settings;
use crate::shared::problem::ProblemKind;
use crate::shared::shmem;
use crate::shared::workers::Worker;

/// Called before the extension is dropped without CASCADE.
///
/// # Panics
/// With PostgreSQL's ERROR, if that would delete recorded sign-ins or revocations.
pub fn check_drop() {
    // PostgreSQL itself lets only superusers drop the extension; others may not read its tables.
    if !privileges::is_superuser(privileges::current_user()) {
        return;
    }
    let deleted = deleted().unwrap_or_else(|error| {
        let code = PgSqlErrorCode::ERRCODE_INTERNAL_ERROR;
        log::error(code, &error.to_string(), None, None)
    });
    if deleted.is_empty() {
        return;
    }
    log::error(
        PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
        &format!(
            "cannot drop extension aadauth without deleting {}",
            deleted.join(" and ")
        ),
        Some(
            "They are in aadauth.sign_in_audit and aadauth.revoked_principals, which are dropped with the extension.",
        ),
        Some("Copy what must be kept, then use DROP EXTENSION aadauth CASCADE."),
    )
}

/// Called before what the role owns is dropped without CASCADE: the extension may be among it.
///
/// # Panics
/// As [`check_drop`].
pub fn check_drop_owned(role: pg_sys::Oid) {
    let owned = "SELECT 1 FROM pg_catalog.pg_extension \
        WHERE extname OPERATOR(pg_catalog.=) 'aadauth' AND extowner OPERATOR(pg_catalog.=) $1";
    let owned = Spi::connect(|client| {
        let rows = query::select(client, owned, Some(1), &[role.into()])?;
        spi::Result::Ok(!rows.is_empty())
    });
    if owned.unwrap_or(true) {
        check_drop();
    }
}

/// Called when the database that `aadauth.database` names is renamed, or has an owner without superuser.
///
/// # Panics
/// With PostgreSQL's ERROR, if the extension is in it.
pub fn keep_database() {
    if shmem::worker(Worker::Audit).problem() == Some(ProblemKind::NoExtension) {
        return;
    }
    log::error(
        PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
        &format!(
            "database \"{}\", which aadauth uses, must keep its name and be owned by a superuser",
            settings::database()
        ),
        Some(
            "After the next start of the server, nobody could sign in with a token, because the revocations could not be read.",
        ),
        Some(
            "Set aadauth.database to another database and reload the configuration first, or make another superuser its owner.",
        ),
    )
}

/// What would be deleted; nothing if the extension is not installed or its tables are empty.
fn deleted() -> spi::Result<Vec<String>> {
    let mut deleted = Vec::new();
    let since = "SELECT pg_catalog.to_char(pg_catalog.min(occurred_at), 'YYYY-MM-DD') \
        FROM aadauth.sign_in_audit";
    if let Some(SqlText(since)) = first::<SqlText>("sign_in_audit", since)? {
        deleted.push(format!("the sign-ins recorded since {since}"));
    }
    let revoked = "SELECT true FROM aadauth.revoked_principals";
    if first::<bool>("revoked_principals", revoked)? == Some(true) {
        deleted.push("the revocations".to_owned());
    }
    Ok(deleted)
}

/// The query's one value, if the table exists.
fn first<T: FromDatum + IntoDatum>(table: &str, statement: &str) -> spi::Result<Option<T>> {
    let installed = "SELECT 1 FROM pg_catalog.pg_class AS c \
        JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
        WHERE n.nspname OPERATOR(pg_catalog.=) 'aadauth' AND c.relname OPERATOR(pg_catalog.=) $1::name";
    let is_installed = Spi::connect(|client| {
        let rows = query::select(client, installed, Some(1), &[SqlText::from(table).into()])?;
        spi::Result::Ok(!rows.is_empty())
    })?;
    if is_installed {
        query::one(statement)
    } else {
        Ok(None)
    }
}
