//! The settings of the sign-in audit.

use std::time::Duration;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};

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

// In minutes.
static AUDIT_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(400 * 24 * 60);
static AUDIT_LOCAL_SIGN_INS: GucSetting<bool> = GucSetting::<bool>::new(true);
static AUDIT_SPOOL_LIMIT: GucSetting<i32> = GucSetting::<i32>::new(1024 * 1024);
static AUDIT_SYNC: GucSetting<bool> = GucSetting::<bool>::new(false);
// By default a full disk must not keep every client out.
static AUDIT_FAILURE: GucSetting<AuditFailure> =
    GucSetting::<AuditFailure>::new(AuditFailure::Allow);
static AUDIT_SINGLE_REFUSALS: GucSetting<i32> = GucSetting::<i32>::new(5);

/// Registers these settings.
pub fn init() {
    GucRegistry::define_bool_guc(
        c"aadauth.audit_local_sign_ins",
        c"Record the sign-ins of local roles as well as those of mapped roles.",
        c"",
        &AUDIT_LOCAL_SIGN_INS,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"aadauth.audit_retention",
        c"How long sign-ins are kept in the audit, which is dropped week by week; less than a day keeps them indefinitely.",
        c"",
        &AUDIT_RETENTION,
        0,
        100 * 366 * 24 * 60,
        GucContext::Sighup,
        GucFlags::UNIT_MIN,
    );
    GucRegistry::define_int_guc(
        c"aadauth.audit_spool_limit",
        c"The disk space that events may use until they are in the table.",
        c"",
        &AUDIT_SPOOL_LIMIT,
        256,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_bool_guc(
        c"aadauth.audit_sync",
        c"Wait until the event of an accepted sign-in is on disk before the client is let in.",
        c"",
        &AUDIT_SYNC,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"aadauth.audit_failure",
        c"What happens to an accepted sign-in whose event cannot be written.",
        c"allow: it is counted and allowed. refuse: it is refused if it matched an aadauth record in pg_hba.conf.",
        &AUDIT_FAILURE,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"aadauth.audit_single_refusals",
        c"How many refusals of one role, address and reason are recorded individually per minute.",
        c"Further ones are counted in one event.",
        &AUDIT_SINGLE_REFUSALS,
        0,
        100_000,
        GucContext::Sighup,
        GucFlags::default(),
    );
}

/// `None`: no limit. A number of days that is taken for minutes must not delete the audit, so that less than a day
/// means no limit.
pub fn audit_retention() -> Option<Duration> {
    const DAY: u64 = 24 * 60;
    let minutes = u64::try_from(AUDIT_RETENTION.get()).unwrap_or_default();
    (minutes >= DAY).then(|| Duration::from_secs(minutes * 60))
}

pub fn audit_local_sign_ins() -> bool {
    AUDIT_LOCAL_SIGN_INS.get()
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

/// Per role, address, reason and minute.
pub fn audit_single_refusals() -> u32 {
    u32::try_from(AUDIT_SINGLE_REFUSALS.get()).unwrap_or_default()
}
