//! Locks that are held until the transaction ends, and which transaction holds one that another waits for in vain.

use std::ffi::c_int;
use std::fmt;
use std::time::Duration;

use pgrx::prelude::*;

use pgrx::spi::quote_literal;

use super::query;
use super::text::SqlText;

/// The catalog `pg_shseclabel` (pg_shseclabel.h), whose OID the bindings lack.
const SHARED_SECURITY_LABELS: pg_sys::Oid = pg_sys::Oid::from_u32(3592);

/// How long a change waits for another one's transaction to end.
const TIMEOUT: Duration = Duration::from_secs(5);

#[pgrx::pg_guard]
unsafe extern "C-unwind" {
    fn aad_try_lock(catalog: pg_sys::Oid, object: pg_sys::Oid, mode: c_int) -> bool;
    fn aad_wait_for_lock(catalog: pg_sys::Oid, object: pg_sys::Oid, mode: c_int, timeout: c_int);
}

/// What one transaction at a time may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// The labels of all roles. The lock is on the catalog as an object, which nothing else locks, and not on the table,
    /// where it would block other label providers and VACUUM.
    Labels,
    /// Who is a member of that role, and whether it is privileged.
    Members(pg_sys::Oid),
}

impl Lock {
    fn parts(self) -> (pg_sys::Oid, pg_sys::Oid, c_int) {
        let mode = |mode: u32| c_int::try_from(mode).unwrap_or_default();
        match self {
            Lock::Labels => (
                SHARED_SECURITY_LABELS,
                pg_sys::InvalidOid,
                mode(pg_sys::ExclusiveLock),
            ),
            Lock::Members(role) => (
                pg_sys::AuthIdRelationId,
                role,
                mode(pg_sys::ShareUpdateExclusiveLock),
            ),
        }
    }
}

/// Takes the lock, and waits for it as PostgreSQL's own statements do.
pub fn lock(lock: Lock) {
    let (catalog, object, mode) = lock.parts();
    // SAFETY: takes a lock that the lock manager releases at the end of the transaction (lmgr.c).
    unsafe { aad_wait_for_lock(catalog, object, mode, 0) };
}

/// Takes the lock, and waits for it [`TIMEOUT`] at most.
///
/// # Errors
/// Another transaction still holds it.
pub fn lock_soon(lock: Lock) -> Result<(), LockHolder> {
    let (catalog, object, mode) = lock.parts();
    // SAFETY: as above.
    if unsafe { aad_try_lock(catalog, object, mode) } {
        return Ok(());
    }
    // After a wait in vain, nothing can be read in this transaction.
    let holder = LockHolder::of(lock);
    let timeout = c_int::try_from(TIMEOUT.as_millis()).unwrap_or(c_int::MAX);
    PgTryBuilder::new(|| {
        // SAFETY: as above; an ERROR unwinds to the builder.
        unsafe { aad_wait_for_lock(catalog, object, mode, timeout) };
        Ok(())
    })
    .catch_when(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, |_| {
        Err(holder.clone())
    })
    .execute()
}

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
    fn of(lock: Lock) -> LockHolder {
        let (catalog, object, _) = lock.parts();
        LockHolder::find(&format!(
            "l.locktype OPERATOR(pg_catalog.=) 'object' AND l.granted
                AND l.classid OPERATOR(pg_catalog.=) {}::pg_catalog.oid
                AND l.objid OPERATOR(pg_catalog.=) {}::pg_catalog.oid
                AND l.mode OPERATOR(pg_catalog.=) ANY ('{{ShareUpdateExclusiveLock,ExclusiveLock,AccessExclusiveLock}}')",
            catalog.to_u32(),
            object.to_u32()
        ))
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
        match query::two::<i32, SqlText>(&query) {
            Ok((Some(pid), _)) => LockHolder::Session(pid),
            Ok((None, Some(gid))) => LockHolder::Prepared(gid.0),
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
