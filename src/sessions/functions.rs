//! The SQL functions that revoke principals, and restore them.
//!
//! PUBLIC may execute them, and each checks whether this session may map roles, as the functions that map
//! roles do. The table is written as the bootstrap superuser, since no other role may write it.

use pgrx::callbacks::{PgXactCallbackEvent, register_xact_callback};
use pgrx::prelude::*;
use uuid::Uuid;

use super::TABLES;
use super::error::RevocationError;
use crate::background::database;
use crate::pg::log::{self, Level};
use crate::pg::uuid::{sql_uuid, uuid_argument};
use crate::pg::{privileges, server};
use crate::principals::admin::privilege;
use crate::principals::mapped::MappedRoles;
use crate::shared::sessions::revocations::MAX_REVOCATIONS;
use crate::shared::shmem;
use crate::shared::workers::Worker;
use crate::{principals, settings};

/// Denies sign-in to a principal until that time: to a user, to a group and all who sign in through it, or
/// to a service by either of its ids. Its sessions end when the transaction commits.
#[pg_extern(schema = "aadauth", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
pub(super) fn revoke(
    object_id: Option<pgrx::Uuid>,
    until: default!(Option<TimestampWithTimeZone>, "'infinity'"),
    reason: default!(Option<&str>, "NULL"),
) {
    let revoke = || {
        let object_id = prepare("revoke", object_id)?;
        ensure_not_own(object_id)?;
        let roles = manageable_roles(object_id)?;
        add(
            object_id,
            until.ok_or(RevocationError::Null("until"))?,
            reason,
        )?;
        if roles.is_empty() {
            log::line(
                Level::Notice,
                &format!("object id {object_id} is not mapped to a role"),
                Some(
                    "Sign-ins of this principal through a mapped group, or as an application with this id, are denied as well.",
                ),
                None,
            );
        }
        log_on_commit("revoked", object_id);
        let worker = shmem::worker(Worker::Session);
        if !worker.is_running() || worker.problem().is_some() {
            log::line(
                Level::Warning,
                "the list of revocations is not being read",
                Some("The principal is not denied until it is read again."),
                Some("Run SELECT * FROM aadauth.check_configuration() to find the cause."),
            );
        }
        Ok(())
    };
    revoke().unwrap_or_else(|error: RevocationError| error.raise())
}

/// Allows a principal to sign in again.
#[pg_extern(schema = "aadauth", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
pub(super) fn restore(object_id: Option<pgrx::Uuid>) {
    let restore = || {
        let object_id = prepare("restore", object_id)?;
        ensure_not_own(object_id)?;
        manageable_roles(object_id)?;
        remove(object_id)?;
        log_on_commit("restored", object_id);
        Ok(())
    };
    restore().unwrap_or_else(|error: RevocationError| error.raise())
}

/// Refuses sessions that may not call the function, and databases where it would have no effect.
fn prepare(function: &'static str, object_id: Option<pgrx::Uuid>) -> Result<Uuid, RevocationError> {
    principals::ensure_may_map(function)?;
    let object_id = object_id.ok_or(RevocationError::Null("object_id"))?;
    if server::is_in_recovery() {
        return Err(RevocationError::Standby);
    }
    let database = settings::database();
    if server::current_database() != Some(database.clone()) {
        return Err(RevocationError::OtherDatabase(database));
    }
    // The bootstrap superuser must only write to tables that a superuser owns.
    match database::check_ownership(&database, &TABLES)? {
        Ok(()) => Ok(Uuid::from_bytes(*object_id.as_bytes())),
        Err(problem) => Err(RevocationError::Unfit(problem.message, problem.hint)),
    }
}

/// The roles that are mapped to the principal.
///
/// # Errors
/// This session must not revoke or restore the principal.
fn manageable_roles(object_id: Uuid) -> Result<Vec<pg_sys::Oid>, RevocationError> {
    let mapped = MappedRoles::read();
    let mut roles = Vec::new();
    for role in mapped.iter().filter(|role| role.object_id == object_id) {
        let needs_superuser = role.admin || privilege(role.role).is_some();
        if needs_superuser && !privileges::is_superuser(privileges::current_user()) {
            let name = privileges::name_of(role.role).unwrap_or_else(|| role.role.to_string());
            return Err(RevocationError::AdminPrincipal(name));
        }
        roles.push(role.role);
    }
    Ok(roles)
}

/// Refuses the principal of this session, which could otherwise lift or shorten its own revocation.
fn ensure_not_own(object_id: Uuid) -> Result<(), RevocationError> {
    let is_own = super::own().is_some_and(|session| session.ids.contain(object_id));
    if is_own && !privileges::is_superuser(privileges::current_user()) {
        return Err(RevocationError::OwnPrincipal);
    }
    Ok(())
}

fn add(
    object_id: Uuid,
    until: TimestampWithTimeZone,
    reason: Option<&str>,
) -> Result<(), RevocationError> {
    let query = "SELECT $1 > pg_catalog.clock_timestamp()";
    if Spi::get_one_with_args::<bool>(query, &[until.into()])? != Some(true) {
        return Err(RevocationError::Past);
    }
    // With an older snapshot, concurrent revocations would not be counted.
    let query = "SELECT pg_catalog.current_setting('transaction_isolation') = 'read committed'";
    if Spi::get_one::<bool>(query)? != Some(true) {
        return Err(RevocationError::Isolation);
    }
    let (by, by_id) = caller();
    privileges::as_bootstrap_superuser(|| {
        // One at a time, so that all revocations are counted.
        Spi::run("LOCK TABLE aadauth.revoked_principals IN SHARE ROW EXCLUSIVE MODE")?;
        Spi::run("DELETE FROM aadauth.revoked_principals WHERE until <= pg_catalog.now()")?;
        let query =
            "SELECT pg_catalog.count(*) FROM aadauth.revoked_principals WHERE object_id <> $1";
        let others =
            Spi::get_one_with_args::<i64>(query, &[uuid_argument(object_id)])?.unwrap_or_default();
        if usize::try_from(others).is_ok_and(|others| others >= MAX_REVOCATIONS) {
            return Err(RevocationError::TooMany);
        }
        let statement = "
INSERT INTO aadauth.revoked_principals (object_id, until, reason, revoked_by, revoked_by_id)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (object_id) DO UPDATE SET
    until = excluded.until,
    reason = excluded.reason,
    revoked_at = excluded.revoked_at,
    revoked_by = excluded.revoked_by,
    revoked_by_id = excluded.revoked_by_id";
        let by_id = by_id.map(sql_uuid);
        let values = [
            uuid_argument(object_id),
            until.into(),
            reason.map(str::to_owned).into(),
            by.into(),
            by_id.into(),
        ];
        Ok(Spi::run_with_args(statement, &values)?)
    })
}

fn remove(object_id: Uuid) -> Result<(), RevocationError> {
    let statement =
        "DELETE FROM aadauth.revoked_principals WHERE object_id = $1 RETURNING object_id";
    let removed = privileges::as_bootstrap_superuser(|| {
        Spi::connect_mut(|client| {
            let rows = client.update(statement, None, &[uuid_argument(object_id)])?;
            Ok::<_, spi::Error>(rows.len())
        })
    })?;
    if removed == 0 {
        return Err(RevocationError::NotRevoked(object_id));
    }
    Ok(())
}

/// When the transaction commits: writes a line to the log, and wakes the session worker.
fn log_on_commit(what: &'static str, object_id: Uuid) {
    let (by, _) = caller();
    register_xact_callback(PgXactCallbackEvent::Commit, move || {
        shmem::count_revocation_change();
        shmem::worker(Worker::Session).wake();
        log::line(
            Level::Log,
            &format!("Microsoft Entra ID principal {what}: oid={object_id} by=\"{by}\""),
            None,
            None,
        );
    });
}

/// The principal that has signed in, with its object id, or the session's role.
fn caller() -> (String, Option<Uuid>) {
    match super::own() {
        Some(session) => (session.principal(), Some(session.object_id)),
        None => {
            let role = privileges::session_user();
            let name = privileges::name_of(role).unwrap_or_else(|| role.to_string());
            (name, None)
        }
    }
}
