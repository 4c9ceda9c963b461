//! The partitions of the audit: a table per week, created before it begins or when there is an event for it, and dropped
//! when it is older than `aadauth.audit_retention`.
//!
//! The statements run with the search path of [`super::writer`].

use std::time::Duration;

use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use uuid::Uuid;

use crate::pg::query;
use crate::pg::text::SqlText;
use crate::pg::uuid::sql_uuid;
use crate::pg::worker::{self, Failure, FailureKind};

/// A week from Monday 00:00 UTC to the next, counted from the one that contains the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Week(i32);

impl Week {
    /// The week of that many microseconds since the Unix epoch, which was a Thursday.
    pub fn of(micros: i64) -> Week {
        const MICROS_PER_DAY: i64 = 86_400_000_000;
        let days = micros.div_euclid(MICROS_PER_DAY);
        Week(i32::try_from((days + 3).div_euclid(7)).unwrap_or_default())
    }

    const fn next(self) -> Week {
        Week(self.0.saturating_add(1))
    }
}

/// Of each partition: the primary key, which prevents an event from being recorded twice, and an index for each usual query
/// of an auditor.
const INDEXES: [&str; 6] = [
    "ALTER TABLE {} ADD PRIMARY KEY (event_id)",
    "CREATE INDEX ON {} (occurred_at)",
    "CREATE INDEX ON {} (occurred_at) WHERE outcome = 'refused'",
    "CREATE INDEX ON {} (role, occurred_at)",
    "CREATE INDEX ON {} (object_id, occurred_at)",
    "CREATE INDEX ON {} (client_address, occurred_at)",
];

/// As [`INDEXES`]; the expression is that of the view `aadauth.sign_ins`. An index's statistics are not hidden by the
/// table's policies (system_views.sql, `pg_stats`), and these would list people.
const PRINCIPAL_INDEX: [&str; 2] = [
    "CREATE INDEX {name}_principal_idx ON aadauth.{name}
        ((COALESCE(upn, display_name, app_id::text, object_id::text)), occurred_at)",
    "ALTER INDEX aadauth.{name}_principal_idx ALTER COLUMN 1 SET STATISTICS 0",
];

/// As on the other tables, in sql/finalize.sql. The trigger for rows is cloned from the partitioned table.
const REPLICATED: [&str; 2] = [
    "CREATE TRIGGER refuse_replicated BEFORE TRUNCATE ON {}
        FOR EACH STATEMENT WHEN (pg_catalog.pg_replication_origin_session_is_setup())
        EXECUTE FUNCTION aadauth.skip_replicated()",
    "ALTER TABLE {} ENABLE REPLICA TRIGGER refuse_replicated",
];

/// The name of the week's partition, with its schema; the partition is created if it does not exist.
///
/// A table of that name that is not attached is attached: a dump that is being restored has created it, or a week was
/// detached for which there is a new event.
///
/// # Errors
/// It cannot be created, for example because another session holds a lock.
pub fn ensure(client: &mut SpiClient<'_>, week: Week) -> Result<String, Failure> {
    let statement = "
WITH week AS (
    SELECT date '1969-12-29' + 7 * $1 AS monday
), partition AS (
    SELECT 'sign_in_audit_' || pg_catalog.to_char(monday, 'YYYYMMDD') AS name,
        pg_catalog.format('FROM (''%s 00:00+00'') TO (''%s 00:00+00'')',
            pg_catalog.to_char(monday, 'YYYY-MM-DD'), pg_catalog.to_char(monday + 7, 'YYYY-MM-DD')) AS bounds
    FROM week
)
SELECT p.name, p.bounds, c.oid IS NOT NULL, COALESCE(c.relispartition, false),
    COALESCE(r.rolsuper, true)
FROM partition AS p
LEFT JOIN pg_catalog.pg_class AS c
    ON c.relname = p.name AND c.relnamespace = 'aadauth'::regnamespace
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = c.relowner";
    let rows = query::update(client, statement, Some(1), &[week.0.into()])?;
    let row = rows.first();
    let text = |number| {
        let text = row.get::<SqlText>(number)?;
        spi::Result::Ok(text.unwrap_or_default().0)
    };
    let is = |number| row.get::<bool>(number).map(|value| value == Some(true));
    let (name, bounds, exists, is_attached) = (text(1)?, text(2)?, is(3)?, is(4)?);
    let table = format!("aadauth.{name}");
    // Its triggers would run with the worker's rights.
    if !is(5)? {
        return Err(Failure {
            message: format!("table \"{table}\" is not owned by a superuser"),
            kind: FailureKind::Other,
        });
    }
    if !exists {
        let mut run = |statement: &str| query::update(client, statement, None, &[]).map(drop);
        run(&format!(
            "CREATE TABLE {table} (LIKE aadauth.sign_in_audit INCLUDING COMMENTS)"
        ))?;
        for statement in INDEXES {
            run(&statement.replace("{}", &table))?;
        }
        for statement in PRINCIPAL_INDEX {
            run(&statement.replace("{name}", &name))?;
        }
        // Members of pg_read_all_data are subject to the partitioned table's policies, so they must be to the
        // partition's as well.
        run(&format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"))?;
        for statement in REPLICATED {
            run(&statement.replace("{}", &table))?;
        }
        revoke_default_privileges(client, &table)?;
    }
    if !is_attached {
        // Takes a weaker lock than CREATE TABLE ... PARTITION OF, so that readers do not block it.
        let attach = format!(
            "ALTER TABLE aadauth.sign_in_audit ATTACH PARTITION {table} FOR VALUES {bounds}"
        );
        query::update(client, &attach, None, &[])?;
    }
    Ok(table)
}

/// Creates the partitions of this week and the next. A subscription to another server's audit stops where it has a table
/// for a week that this server lacks.
///
/// # Errors
/// They cannot be created now; another attempt may succeed.
pub fn prepare(now: i64) -> Result<(), Failure> {
    let week = Week::of(now);
    worker::transaction(|| {
        Spi::connect_mut(|client| {
            ensure(client, week)?;
            ensure(client, week.next()).map(drop)
        })
    })
}

/// Revokes what default privileges have granted.
fn revoke_default_privileges(client: &mut SpiClient<'_>, table: &str) -> Result<(), Failure> {
    let statement = "
SELECT DISTINCT COALESCE(pg_catalog.quote_ident(r.rolname), 'PUBLIC')
FROM pg_catalog.pg_class AS c
CROSS JOIN pg_catalog.aclexplode(c.relacl) AS a
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
WHERE c.oid = $1::regclass AND a.grantee <> c.relowner";
    let table_name = SqlText::from(table).into();
    let grantees: Vec<SqlText> = query::select(client, statement, None, &[table_name])?
        .map(|row| row.get::<SqlText>(1).map(Option::unwrap_or_default))
        .collect::<Result<_, spi::Error>>()?;
    for SqlText(grantee) in grantees {
        let revoke = format!("REVOKE ALL ON {table} FROM {grantee}");
        query::update(client, &revoke, None, &[])?;
    }
    Ok(())
}

/// Deletes the offsets of spool files that no longer exist, once they are older than the retention.
///
/// # Errors
/// Nothing has changed; another attempt may succeed.
pub fn delete_offsets(retention: Duration, present: &[Uuid]) -> Result<(), Failure> {
    let statement = "DELETE FROM aadauth.audit_spool AS s
        WHERE s.read_at < pg_catalog.now() - pg_catalog.make_interval(secs => $1)
            AND s.spool_id <> ALL ($2)";
    let present: Vec<pgrx::Uuid> = present.iter().map(|id| sql_uuid(*id)).collect();
    worker::transaction(|| {
        Spi::connect_mut(|client| {
            let retention = retention.as_secs_f64().into();
            query::update(client, statement, None, &[retention, present.into()])?;
            Ok(())
        })
    })
}

/// Drops the partitions that ended longer ago than that, each in a transaction of its own, and returns their names.
///
/// # Errors
/// One cannot be dropped now, for example because a session is reading it; the others are dropped.
pub fn drop_expired(retention: Duration) -> (Vec<String>, Result<(), Failure>) {
    let (mut dropped, mut failed) = (Vec::new(), Ok(()));
    let names = match worker::transaction(|| expired(retention)) {
        Ok(names) => names,
        Err(failure) => return (dropped, Err(failure)),
    };
    for name in names {
        let outcome = worker::transaction(|| {
            Spi::connect_mut(|client| {
                // Readers of the audit queue behind this statement while it waits for its lock.
                query::update(client, "SET LOCAL lock_timeout = '1s'", None, &[])?;
                query::update(client, &format!("DROP TABLE aadauth.{name}"), None, &[])?;
                Ok(())
            })
        });
        match outcome {
            Ok(()) => dropped.push(name),
            Err(failure) => failed = Err(failure),
        }
    }
    (dropped, failed)
}

/// The names of the partitions that ended longer ago than that, oldest first.
fn expired(retention: Duration) -> Result<Vec<String>, Failure> {
    let statement = "
SELECT c.relname::text
FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'aadauth.sign_in_audit'::regclass
    AND c.relnamespace = 'aadauth'::regnamespace
    AND c.relname ~ '^sign_in_audit_[0-9]{8}$'
    AND pg_catalog.to_date(pg_catalog.right(c.relname, 8), 'YYYYMMDD') + 7
        <= (pg_catalog.now() - pg_catalog.make_interval(secs => $1)) AT TIME ZONE 'UTC'
ORDER BY c.relname";
    Spi::connect(|client| {
        let retention = retention.as_secs_f64().into();
        let rows = query::select(client, statement, None, &[retention])?;
        let mut names = Vec::new();
        for row in rows {
            names.extend(row.get::<SqlText>(1)?.map(|name| name.0));
        }
        Ok(names)
    })
}

#[cfg(test)]
mod tests {
    use super::Week;

    #[test]
    fn a_week_begins_on_monday() {
        const DAY: i64 = 86_400_000_000;
        assert_eq!(Week::of(0), Week(0));
        assert_eq!(Week::of(4 * DAY - 1), Week(0));
        // Monday, 5 January 1970.
        assert_eq!(Week::of(4 * DAY), Week(1));
        assert_eq!(Week::of(11 * DAY), Week(1).next());
        assert_eq!(Week::of(-3 * DAY), Week(0));
        assert_eq!(Week::of(-3 * DAY - 1), Week(-1));
    }
}
