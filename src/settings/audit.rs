//! The settings of the sign-in audit.

use std::time::Duration;

use pgrx::guc::{GucFlags, PostgresGucEnum};

use crate::pg::guc::define_settings;

/// What happens to an accepted sign-in that cannot be recorded (`aadauth.audit_failure`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum AuditFailure {
    /// It is allowed, and counted.
    #[name = c"allow"]
    Allow,
    /// It is refused.
    #[name = c"refuse"]
    Refuse,
}

define_settings! {
    AUDIT_LOCAL_SIGN_INS: bool = true, switch(
        c"aadauth.audit_local_sign_ins",
        c"Record the sign-ins of local roles as well as those of mapped roles.",
    );
    AUDIT_RETENTION: i32 = 400, days(
        c"aadauth.audit_retention",
        c"How many days sign-ins are kept in the audit.",
        c"They are dropped by whole weeks. -1 keeps them indefinitely.",
        100 * 366,
    );
    AUDIT_DELAY: i32 = 200, number(
        c"aadauth.audit_delay",
        c"The shortest time between two transactions of the audit worker.",
        c"0 records each as soon as the one before is recorded.",
        0..=10_000,
        GucFlags::UNIT_MS,
    );
    AUDIT_SPOOL_LIMIT: i32 = 1024 * 1024, number(
        c"aadauth.audit_spool_limit",
        c"The disk space that events may use until they are in the table.",
        c"",
        256..=i32::MAX,
        GucFlags::UNIT_KB,
    );
    AUDIT_SYNC: bool = false, switch(
        c"aadauth.audit_sync",
        c"Wait until the event of an accepted sign-in is on disk before the client is let in.",
    );
    // By default a full disk must not keep every client out.
    AUDIT_FAILURE: AuditFailure = AuditFailure::Allow, choice(
        c"aadauth.audit_failure",
        c"What happens to an accepted sign-in whose event cannot be written.",
        c"allow: it is counted and allowed. refuse: it is refused if it matched an aadauth record in pg_hba.conf.",
    );
    AUDIT_SINGLE_REFUSALS: i32 = 5, number(
        c"aadauth.audit_single_refusals",
        c"How many refusals of one principal, role, address and reason are recorded individually per minute.",
        c"Further ones are counted in one event.",
        0..=100_000,
        GucFlags::empty(),
    );
}

/// `None`: no limit.
pub fn audit_retention() -> Option<Duration> {
    let days = u64::try_from(AUDIT_RETENTION.get()).ok()?;
    Some(Duration::from_secs(days * 24 * 3600))
}

pub fn audit_local_sign_ins() -> bool {
    AUDIT_LOCAL_SIGN_INS.get()
}

/// The shortest time between two transactions of the audit worker.
pub fn audit_delay() -> Duration {
    Duration::from_millis(u64::try_from(AUDIT_DELAY.get()).unwrap_or_default())
}

/// In bytes.
pub fn audit_spool_limit() -> u64 {
    u64::try_from(AUDIT_SPOOL_LIMIT.get()).unwrap_or_default() * 1024
}

pub fn audit_sync() -> bool {
    AUDIT_SYNC.get()
}

pub fn audit_failure() -> AuditFailure {
    AUDIT_FAILURE.get()
}

/// Per principal, role, address, reason and minute.
pub fn audit_single_refusals() -> u32 {
    u32::try_from(AUDIT_SINGLE_REFUSALS.get()).unwrap_or_default()
}
