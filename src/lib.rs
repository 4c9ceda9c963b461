//! Sign-in to a stock PostgreSQL server with a Microsoft Entra ID access token as the password.
//!
//! | module | what it is for |
//! |---|---|
//! | [`settings`] | the settings and their typed values |
//! | [`signin`] | one sign-in, from the role to the audit event |
//! | [`keys`] | signing keys in shared memory |
//! | [`directory`] | questions to Microsoft Graph, and what it said of groups |
//! | [`principals`] | security labels and the SQL functions that write them |
//! | [`sessions`] | who is behind every backend, and what ends them |
//! | [`sync`] | a role for each member of a mapped group |
//! | [`audit`] | sign-in events, their spool and table |
//! | [`statistics`] | what all that comes to, for monitoring |
//! | [`diagnosis`] | what is wrong with the configuration |
//! | [`worker`] | the background workers |
//! | [`pg`] | PostgreSQL and libpam, made safe |
#![deny(unsafe_code)]

use pgrx::prelude::*;

mod audit;
mod clock;
mod diagnosis;
mod directory;
mod keys;
mod pg;
mod principals;
mod sessions;
mod settings;
mod signin;
mod statistics;
mod sync;
mod worker;

::pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/bootstrap.sql", name = "bootstrap", bootstrap);
extension_sql_file!("../sql/finalize.sql", name = "finalize", finalize);

#[cfg(not(panic = "unwind"))]
compile_error!(
    "a panic must refuse one sign-in, not take the server down: build with panic = \"unwind\""
);

/// What `#[pg_guard]` on an `extern` block looks for in the crate that uses it.
mod ffi {
    pub use pgrx::pg_sys::submodules::ffi::pg_guard_ffi_boundary;
}

/// The schema of everything that is ours and not Azure's, as pgrx wants to hear of it.
#[pg_schema]
mod aadauth {}

/// Called once, in the postmaster.
#[allow(non_snake_case)]
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::hook::demand_preload();
    settings::init();
    pg::hba_file::init();
    #[cfg(feature = "fault-injection")]
    pg::fault::init();
    principals::init();
    pg::utility::init();
    pg::shmem::init();
    audit::spool::init();
    pg::worker::init();
    pg::hook::init();
    pg::ending::init();
    pg::pam::prewarm();
    pg::setting::reserve_prefixes();
}

/// How `cargo pgrx test` starts its server.
#[cfg(test)]
pub mod pg_test {
    pub fn setup(_options: Vec<&str>) {}

    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec![
            "shared_preload_libraries = 'aadauth'",
            "aadauth.tenant_id = '11111111-2222-4333-8444-555555555555'",
        ]
    }
}
