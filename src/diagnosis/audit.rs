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

/// What others have in the database of the audit.
#[derive(Deserialize)]
struct Shared {
    with: String,
}

const SHARED: &str = "
WITH members AS (
    SELECT d.classid, d.objid FROM pg_catalog.pg_depend AS d
    WHERE d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e')
SELECT pg_catalog.concat_ws(', ',
    CASE WHEN EXISTS (
        SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        -- Weeks of the audit may have been moved elsewhere.
        WHERE c.relkind IN ('r', 'p', 'm', 'f') AND c.relname !~ '^sign_in_audit_[0-9]{8}$' AND n.nspname !~ '^(pg_|information_schema$|aadauth$)'
            AND NOT EXISTS (SELECT FROM members AS m WHERE m.classid = 'pg_catalog.pg_class'::regclass AND m.objid = c.oid)
    ) THEN 'tables' END,
    CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_publication) THEN 'publications' END,
    CASE WHEN EXISTS (
        SELECT FROM pg_catalog.pg_event_trigger AS t
        WHERE NOT EXISTS (
            SELECT FROM members AS m WHERE m.classid = 'pg_catalog.pg_event_trigger'::regclass AND m.objid = t.oid)
    ) THEN 'event triggers' END) AS with";

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
    if server::is_current_database(&name) {
        findings.extend(query::rows::<Shared>(SHARED)?.iter().find_map(shared));
    }
    findings.extend(spool());
    Ok(findings)
}

fn shared(database: &Shared) -> Option<Finding> {
    let with = &database.with;
    (!with.is_empty()).then(|| {
        Finding::new(
            Code::AuditDatabaseShared,
            PLACE,
            format!("The database of the audit also has {with} of others."),
            "Consider moving the audit to a database of its own (docs/audit.md says how); what others do there can keep \
             sign-ins from being recorded.",
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
                        tables; revoke from others all privileges on the tables but SELECT; drop triggers on them that are ENABLE ALWAYS or REPLICA; or set aadauth.database to \
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
            "Run CREATE EXTENSION aadauth in it (after DROP EXTENSION aadauth, if it is there without its tables), or set aadauth.database to a database that has the extension, and reload.",
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
