//! What the workers with a database share: the pause before another attempt to connect, and the check
//! that the database can be trusted with what they write.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use crate::pg::latch::Process;
use crate::pg::log::{self, Level};
use crate::pg::text::SqlText;
use crate::pg::worker::{self, Failure};
use crate::pg::{query, server};
use crate::settings;
use crate::shared::problem::ProblemKind;
use crate::shared::shmem;
use crate::shared::workers::Worker;

/// Why a worker cannot work. The message is in the style of a primary message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub kind: ProblemKind,
    pub message: String,
    pub hint: Option<Cow<'static, str>>,
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        Problem {
            kind: ProblemKind::Other,
            message: failure.message,
            hint: None,
        }
    }
}

/// How long to wait before another attempt to connect: doubled after each failure, up to a minute, so that a corrected
/// database is soon used.
fn pause_after(failures: u32) -> Duration {
    const FIRST: Duration = Duration::from_secs(5);
    const MAX: Duration = Duration::from_secs(60);
    (FIRST * 2_u32.pow(failures.clamp(1, 16) - 1)).min(MAX)
}

/// After an attempt to connect that ended the process, waits before the next: a missing database would otherwise fill
/// the log. A reload ends the wait. Returns `false` if the worker must end.
///
/// `what` completes "could not connect to database ... to". `meanwhile` is called during the wait, and returns how long
/// to wait before it is called again.
pub fn wait_to_connect(
    worker: Worker,
    what: &str,
    detail: &str,
    meanwhile: impl Fn() -> Duration,
) -> bool {
    let count = shmem::worker(worker).connect_failures();
    if count == 0 {
        return true;
    }
    let pause = pause_after(count);
    if count == 1 {
        log::line(
            Level::Warning,
            &format!(
                "could not connect to database \"{}\" to {what}",
                settings::database()
            ),
            Some(detail),
            Some("Create the database, or set aadauth.database, and reload the configuration."),
        );
    }
    let until = Instant::now() + pause;
    while !worker::stop_requested() {
        if worker::reload_if_requested() {
            return true;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        worker::wait(left.min(meanwhile()), None);
    }
    false
}

/// Waits and connects as [`wait_to_connect`] and [`connect`] do, and registers the worker. Returns the database, or `None`
/// if the worker must end.
pub fn open(
    worker: Worker,
    what: &str,
    detail: &str,
    meanwhile: impl Fn() -> Duration,
) -> Option<String> {
    if !wait_to_connect(worker, what, detail, meanwhile) {
        return None;
    }
    // Read after the wait: a reload that changes it ends the wait.
    let database = settings::database();
    connect(worker, &database);
    shmem::worker(worker).set_process(Process::own());
    Some(database)
}

/// Connects to the database, and counts the attempt while it may end the process.
pub fn connect(worker: Worker, database: &str) {
    let entry = shmem::worker(worker);
    entry.set_connect_failures(entry.connect_failures().saturating_add(1));
    worker::connect(database);
    entry.set_connect_failures(0);
}

/// Whether the extension's tables of those names exist and are owned by a superuser. The owner of a database controls
/// it, so that what a superuser's process writes to must be owned by a superuser.
pub fn check(database: &str, tables: &[&str]) -> Result<(), Problem> {
    worker::transaction(|| Ok(check_ownership(database, tables)?))?
}

/// [`ensure_recorded_here`] as a condition of views: elsewhere they would be empty, which reads as if nobody had signed in
/// or were revoked.
///
/// Immutable, so that the planner calls it: the executor would not, where the audit has no partition.
#[pg_extern(schema = "aadauth", immutable, parallel_restricted)]
pub fn is_recorded_here() -> bool {
    ensure_recorded_here();
    true
}

/// Returns if the current database is the one whose tables are written.
///
/// # Panics
/// With PostgreSQL's ERROR, in any other database, and where there are no tables.
pub fn ensure_recorded_here() {
    let used = settings::database();
    let is_used = server::is_current_database(&used);
    if is_used && server::has_relation(c"aadauth", c"sign_in_audit") {
        return;
    }
    let here = server::current_database().unwrap_or_default();
    let hint = if is_used {
        CREATE_AGAIN.to_owned()
    } else {
        format!("Connect to database \"{used}\", which aadauth.database names.")
    };
    log::error(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        &format!("sign-ins, revocations and group sync are not recorded in database \"{here}\""),
        None,
        Some(&hint),
    )
}

/// `CREATE EXTENSION` makes the tables only in the database that `aadauth.database` names (sql/finalize.sql).
const CREATE_AGAIN: &str = "The extension was created there while aadauth.database named another database. Run DROP EXTENSION aadauth and CREATE EXTENSION aadauth there, or set aadauth.database to another database.";

/// [`check`] inside a transaction, for example that of a session.
///
/// # Errors
/// The catalogs cannot be read.
pub fn check_ownership(database: &str, tables: &[&str]) -> spi::Result<Result<(), Problem>> {
    let (has_extension, has_tables, is_owned) = inspect(tables)?;
    let problem = if !has_extension {
        Problem {
            kind: ProblemKind::NoExtension,
            message: format!("extension aadauth is not installed in database \"{database}\""),
            hint: Some("Run CREATE EXTENSION aadauth there, or set aadauth.database.".into()),
        }
    } else if !has_tables {
        Problem {
            kind: ProblemKind::NoExtension,
            message: format!("tables of extension aadauth are missing in database \"{database}\""),
            hint: Some(CREATE_AGAIN.into()),
        }
    } else if !is_owned {
        Problem {
            kind: ProblemKind::NotOwned,
            message: format!(
                "database \"{database}\" or tables of extension aadauth in it are not owned by a superuser, or other roles may write to them or have them run triggers"
            ),
            hint: Some(
                "Run ALTER DATABASE ... OWNER TO a superuser, REVOKE all but SELECT on the tables, drop triggers on them that \
                 are ENABLE ALWAYS or REPLICA, or set aadauth.database to another database."
                    .into(),
            ),
        }
    } else {
        return Ok(Ok(()));
    };
    Ok(Err(problem))
}

/// Whether the extension exists, whether its tables do, and whether they, their schema and the database are owned by a
/// superuser and writable for nobody else.
fn inspect(tables: &[&str]) -> spi::Result<(bool, bool, bool)> {
    let statement = "
WITH tables AS (
    SELECT c.oid, c.relowner, c.relacl
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'aadauth' AND c.relname = ANY ($1)
), parts AS (
    SELECT * FROM tables
    UNION ALL SELECT p.oid, p.relowner, p.relacl
    FROM tables AS t
    JOIN pg_catalog.pg_inherits AS i ON i.inhparent = t.oid
    JOIN pg_catalog.pg_class AS p ON p.oid = i.inhrelid
)
SELECT
    EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'aadauth'),
    (SELECT pg_catalog.count(*) = pg_catalog.cardinality($1)
     FROM tables AS t
     JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = t.oid
         AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e'
     JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'aadauth'),
    NOT EXISTS (
        SELECT FROM (
            SELECT datdba AS owner FROM pg_catalog.pg_database
                WHERE datname = pg_catalog.current_database()
            UNION ALL SELECT nspowner FROM pg_catalog.pg_namespace WHERE nspname = 'aadauth'
            UNION ALL SELECT relowner FROM parts) AS o
        JOIN pg_catalog.pg_roles AS r ON r.oid = o.owner
        WHERE NOT r.rolsuper)
    -- A role that may create a trigger has the worker run it; default privileges may have granted that.
    AND NOT EXISTS (
        SELECT FROM parts AS p
        CROSS JOIN pg_catalog.aclexplode(p.relacl) AS a
        LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
        WHERE a.privilege_type <> 'SELECT' AND r.rolsuper IS NOT TRUE)
    AND NOT EXISTS (
        SELECT FROM parts AS p
        JOIN pg_catalog.pg_trigger AS g ON g.tgrelid = p.oid
        -- The workers run with session_replication_role = replica.
        WHERE NOT g.tgisinternal AND g.tgenabled IN ('A', 'R')
            AND g.tgfoid IS DISTINCT FROM pg_catalog.to_regprocedure('aadauth.skip_replicated()'))
    -- Who may create functions there could be taken for us.
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_namespace AS n
        CROSS JOIN pg_catalog.aclexplode(n.nspacl) AS a
        LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
        WHERE n.nspname = 'aadauth' AND a.privilege_type = 'CREATE' AND r.rolsuper IS NOT TRUE)";
    let tables: Vec<SqlText> = tables.iter().map(|table| SqlText::from(*table)).collect();
    Spi::connect(|client| {
        let rows = query::select(client, statement, Some(1), &[tables.into()])?.first();
        let column = |number| rows.get::<bool>(number).map(|value| value == Some(true));
        Ok((column(1)?, column(2)?, column(3)?))
    })
}
