//! The settings (`aadauth.*`): their defaults, what they accept, and their typed values.
//!
//! Texts are checked when they are set, so that `ALTER SYSTEM` refuses a mistake, and a reload logs it, instead of
//! locking users out later.

mod audit;
mod azure;
mod directory;
mod general;
mod log;
mod poolers;
mod sessions;

pub use audit::{
    AuditFailure, audit_delay, audit_failure, audit_local_sign_ins, audit_retention,
    audit_single_refusals, audit_spool_limit, audit_sync,
};
pub use log::{log_rate, logs_session_ends, logs_sign_ins};
pub use poolers::{
    PoolerProof, TrustedPooler, pooler_group_roles, pooler_local_roles, pooler_token_grace,
    trusted_poolers,
};
pub use sessions::{SessionExpiry, session_expiry};

pub use directory::{
    DIRECTORY_TIMEOUT_MAX, GROUP_SYNC, credential_file, directory, directory_problem,
    directory_timeout, group_cache_ttl, group_sync_interval, group_sync_is_enabled,
    groups_claim_is_complete, http, missing_for_directory,
};
pub use general::{
    Authentication, audience_setting, audiences, authentication, authority, clock_skew, database,
    hba_file, jwks_file, policy, require_tls, signing_key_max_age, signing_key_refresh_cooldown,
    signing_key_refresh_interval, tenant,
};

/// Registers every setting. Called first in `_PG_init`.
pub fn init() {
    general::init();
    audit::init();
    azure::init();
    directory::init();
    log::init();
    poolers::init();
    sessions::init();
}
