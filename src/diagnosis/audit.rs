//! The database that holds the audit, and the worker that writes it.

use std::error::Error;

use serde::Deserialize;

use super::finding::{Code, Finding};
use super::query;
use crate::audit::spool;
use crate::audit::worker::TABLES;
use crate::background::database;
use crate::pg::{server, text};
use crate::settings;
use crate::shared::problem::ProblemKind;
use crate::shared::shmem;
use crate::shared::workers::Worker;

const PLACE: &str = "aadauth.database";

/// What can be read in any database.
#[derive(Deserialize)]
struct Known {
    /// Whether a superuser owns the audit's database; NULL if it does not exist.
    is_owned: Option<bool>,
    is_standby: bool,
    version: Option<String>,
}

/// What DROP OWNED BY aadauth_auditor takes away, as statements that give it back.
#[derive(Deserialize)]
struct Access {
    missing: String,
}

const ACCESS: &str = "
SELECT pg_catalog.format('GRANT SELECT ON %s TO aadauth_auditor', c.oid::regclass) AS missing
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_roles AS r ON r.rolname = 'aadauth_auditor'
WHERE c.relnamespace = 'aadauth'::regnamespace
    AND c.relname IN ('audit_spool', 'group_sync_changes', 'group_sync_groups', 'group_sync_status', 'revocations',
        'revoked_principals', 'sign_in_audit', 'sign_ins', 'signing_keys', 'statistics')
    AND NOT pg_catalog.has_table_privilege(r.oid, c.oid, 'SELECT')
UNION ALL
SELECT pg_catalog.format('CREATE POLICY auditors ON %s FOR SELECT TO aadauth_auditor USING (true)', c.oid::regclass)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_roles AS r ON r.rolname = 'aadauth_auditor'
WHERE c.relnamespace = 'aadauth'::regnamespace AND c.relrowsecurity AND NOT c.relispartition
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_policy AS p WHERE p.polrelid = c.oid AND r.oid = ANY (p.polroles))
UNION ALL
SELECT pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO aadauth_auditor', f.oid::regprocedure)
FROM pg_catalog.pg_proc AS f
JOIN pg_catalog.pg_roles AS r ON r.rolname = 'aadauth_auditor'
WHERE f.pronamespace = 'aadauth'::regnamespace
    AND f.proname IN ('explain_sign_in', 'group_sync_worker', 'signing_keys', 'statistics')
    AND NOT pg_catalog.has_function_privilege(r.oid, f.oid, 'EXECUTE')
ORDER BY missing";

pub fn check() -> Result<Vec<Finding>, Box<dyn Error>> {
    let name = settings::database();
    let query = format!(
        "SELECT (SELECT r.rolsuper FROM pg_database AS d JOIN pg_roles AS r ON r.oid = d.datdba
                 WHERE d.datname = {}) AS is_owned,
             pg_is_in_recovery() AS is_standby,
             (SELECT extversion FROM pg_extension WHERE extname = 'aadauth') AS version",
        pgrx::spi::quote_literal(text::decode(name.as_bytes()))
    );
    let known = query::rows::<Known>(&query)?;
    let known = known.into_iter().next().ok_or("no answer")?;
    let mut findings: Vec<Finding> = version(known.version.as_deref()).into_iter().collect();
    findings.extend(recording(&name, known.is_owned, known.is_standby));
    findings.extend(access(&query::rows::<Access>(ACCESS)?));
    findings.extend(spool());
    Ok(findings)
}

fn access(missing: &[Access]) -> Option<Finding> {
    let statements: Vec<&str> = missing.iter().map(|one| one.missing.as_str()).collect();
    (!statements.is_empty()).then(|| {
        Finding::new(
            Code::AuditorsWithoutAccess,
            "aadauth_auditor",
            "Members of aadauth_auditor cannot read all of what auditors are given, as after DROP OWNED BY aadauth_auditor.",
            format!("Run {}.", statements.join("; ")),
        )
    })
}

/// Whether the spool has room for events until they are in the table.
fn spool() -> Option<Finding> {
    let state = shmem::spool(|state| *state);
    let (used, limit) = (spool::used(), settings::audit_spool_limit());
    let size = format!("{} kB of {} kB are used", used / 1024, limit / 1024);
    let counted: u64 = state
        .write_failures
        .iter()
        .map(|failure| failure.counted)
        .sum();
    (counted > 0).then(|| {
        Finding::new(
            Code::AuditEventsNotWritten,
            "aadauth/spool",
            format!(
                "{counted} events of sign-ins were only counted, because they could not be written; {size}."
            ),
            "Free space on the disk of the data directory, fix what keeps events from being moved to the table, or raise aadauth.audit_spool_limit. The server log has the cause, in the message that events cannot be written.",
        )
    })
}

fn version(installed: Option<&str>) -> Option<Finding> {
    // As in the name of the install script, sql/aadauth--1.0.sql.
    const OWN: &str = concat!(
        env!("CARGO_PKG_VERSION_MAJOR"),
        ".",
        env!("CARGO_PKG_VERSION_MINOR")
    );
    let installed = installed.unwrap_or_default();
    (installed != OWN).then(|| {
        Finding::new(
            Code::ExtensionVersion,
            "extension aadauth",
            format!("The SQL objects in this database are of version {installed}, the library is of version {OWN}."),
            "Run ALTER EXTENSION aadauth UPDATE in this database; if the library is older, restart the server.",
        )
    })
}

fn recording(name: &str, is_owned: Option<bool>, is_standby: bool) -> Option<Finding> {
    let finding =
        |code, problem: String, remedy: &str| Some(Finding::new(code, PLACE, problem, remedy));
    let owner_remedy = "Make a superuser the owner of the database (ALTER DATABASE ... OWNER TO), of schema aadauth and of its \
                        tables; revoke from others all privileges on the tables but SELECT; or set aadauth.database to \
                        another database.";
    match is_owned {
        None => {
            return finding(
                Code::AuditDatabaseMissing,
                format!(
                    "Database \"{name}\" does not exist; events of sign-ins remain in the spool and are not recorded."
                ),
                "Create it, or set aadauth.database to an existing database, and reload.",
            );
        }
        Some(false) => {
            return finding(
                Code::AuditDatabaseOwner,
                format!(
                    "Database \"{name}\" is not owned by a superuser, so sign-ins are not recorded in it."
                ),
                owner_remedy,
            );
        }
        Some(true) => {}
    }
    // A standby keeps its events until it is promoted.
    if is_standby {
        return None;
    }
    let worker = shmem::worker(Worker::Audit);
    match worker.problem() {
        // Created since the worker looked.
        Some(ProblemKind::NoExtension)
            if server::is_current_database(name)
                && matches!(database::check_ownership(name, &TABLES), Ok(Ok(()))) =>
        {
            None
        }
        Some(ProblemKind::NoExtension) => finding(
            Code::AuditExtensionMissing,
            format!(
                "Database \"{name}\" lacks the extension or its tables; sign-ins are not recorded."
            ),
            "Run CREATE EXTENSION aadauth in it, or set aadauth.database to a database that has the extension, and reload.",
        ),
        Some(ProblemKind::NotOwned) => finding(
            Code::AuditDatabaseOwner,
            format!(
                "A part of the audit in database \"{name}\" is not owned by a superuser, or can be changed by others, so sign-ins are not recorded in it."
            ),
            owner_remedy,
        ),
        Some(ProblemKind::Locked | ProblemKind::Other) => finding(
            Code::AuditNotRecorded,
            format!(
                "Sign-ins are not recorded in database \"{name}\"; their events remain in the spool."
            ),
            "The server log has the cause, in the message that begins with \"sign-ins are not recorded\".",
        ),
        None if !worker.is_running() && worker.connect_failures() > 0 => finding(
            Code::AuditNotRecorded,
            format!(
                "The audit worker could not connect to database \"{name}\"; events of sign-ins remain in the spool."
            ),
            "The worker tries again within a minute, and at once when the configuration is reloaded. The server log has the cause.",
        ),
        None if !worker.is_running() => Some(Finding::new(
            Code::AuditNotRecorded,
            "max_worker_processes",
            "The background worker \"aadauth audit worker\" is not running; events of sign-ins remain in the spool.",
            "Raise max_worker_processes, and restart the server; if it is high enough, the server log has the reason why the worker ended.",
        )),
        None => None,
    }
}
