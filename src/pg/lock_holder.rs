//! Which transaction holds a lock that another one waits for in vain.

use std::fmt;

use pgrx::spi::quote_literal;

use super::query;

/// A transaction that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockHolder {
    /// A session's, by its process id.
    Session(i32),
    /// A prepared transaction, by its identifier.
    Prepared(String),
    /// It has ended meanwhile.
    Gone,
}

impl LockHolder {
    /// Who keeps others from changing security labels.
    pub fn of_labels() -> LockHolder {
        LockHolder::find(
            "l.locktype OPERATOR(pg_catalog.=) 'object'
                AND l.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_shseclabel'::pg_catalog.regclass
                AND l.objid OPERATOR(pg_catalog.=) 0 AND l.granted AND l.mode OPERATOR(pg_catalog.=) 'ExclusiveLock'",
        )
    }

    /// Who keeps others from reading or writing the table `name`, given with its schema, of this database.
    pub fn of_table(name: &str) -> LockHolder {
        // Those who wait for a lock hold others up as well. The weaker modes are those of changed or locked rows.
        LockHolder::find(&format!(
            "l.locktype OPERATOR(pg_catalog.=) 'relation'
                AND l.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database AS d
                    WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
                AND l.relation OPERATOR(pg_catalog.=) {}::pg_catalog.regclass
                AND (l.mode OPERATOR(pg_catalog.=) ANY ('{{ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}}')
                    OR l.granted AND l.mode OPERATOR(pg_catalog.=) ANY ('{{RowShareLock,RowExclusiveLock}}'))
            ORDER BY l.mode OPERATOR(pg_catalog.=) ANY ('{{RowShareLock,RowExclusiveLock}}'), l.granted DESC",
            quote_literal(name)
        ))
    }

    fn find(lock: &str) -> LockHolder {
        // A prepared transaction's locks have no process, and the one on its id says which it is.
        let query = format!(
            "
SELECT l.pid, p.gid::pg_catalog.text
FROM pg_catalog.pg_locks AS l
LEFT JOIN pg_catalog.pg_locks AS own
    ON own.virtualtransaction OPERATOR(pg_catalog.=) l.virtualtransaction AND own.pid IS NULL
    AND own.locktype OPERATOR(pg_catalog.=) 'transactionid'
LEFT JOIN pg_catalog.pg_prepared_xacts AS p ON p.transaction OPERATOR(pg_catalog.=) own.transactionid
WHERE (l.pid IS NULL OR l.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()) AND {lock}"
        );
        match query::two::<i32, String>(&query) {
            Ok((Some(pid), _)) => LockHolder::Session(pid),
            Ok((None, Some(gid))) => LockHolder::Prepared(gid),
            Ok((None, None)) | Err(_) => LockHolder::Gone,
        }
    }

    /// What to do, as a full sentence.
    pub fn hint(&self) -> String {
        match self {
            LockHolder::Session(pid) => {
                format!(
                    "Wait for its end, or end the session with SELECT pg_terminate_backend({pid})."
                )
            }
            LockHolder::Prepared(gid) => format!(
                "End it with COMMIT PREPARED {gid} or ROLLBACK PREPARED {gid}, in the database where it was prepared.",
                gid = quote_literal(gid)
            ),
            LockHolder::Gone => "Try again.".to_owned(),
        }
    }
}

/// For the end of a sentence.
impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockHolder::Session(pid) => {
                write!(f, "the transaction of the session with process ID {pid}")
            }
            LockHolder::Prepared(gid) => write!(f, "the prepared transaction \"{gid}\""),
            LockHolder::Gone => f.write_str("another transaction"),
        }
    }
}
