//! Sign-in to a stock PostgreSQL server with a Microsoft Entra ID access token as the password.
//!
//! | room | what it is for |
//! |---|---|
//! | [`diagnosis`] | what is wrong with the configuration, and how a sign-in was judged |
//! | [`hooks`] | what PostgreSQL, libpam and the validator interface call |
//! | [`auth`] | one sign-in: authenticate, authorize, record |
//! | [`group_sync`] | a role for each member of a mapped group |
//! | [`sessions`] | who is behind every backend, and what ends them |
//! | [`principals`] | security labels and the SQL functions that write them |
//! | [`directory`] | queries to Microsoft Graph |
//! | [`statistics`] | counts for monitoring |
//! | [`audit`] | sign-in events, their spool and table |
//! | [`keys`] | signing keys |
//! | [`background`] | what the background workers have in common |
//! | [`shared`] | what is in shared memory |
//! | [`settings`] | the settings and their typed values |
//! | [`pg`] | safe wrappers of what we call in PostgreSQL and libpam |
//! | [`identity`] | who signs in, and who has signed in to this backend |
//! | [`clock`], [`text`] | the time; text that is safe to log |
//!
//! A room imports only from those below it in the picture of docs/architecture.md.
#![deny(unsafe_code)]

use pgrx::prelude::*;

mod audit;
mod auth;
mod background;
mod clock;
mod diagnosis;
mod directory;
mod group_sync;
mod hooks;
mod identity;
mod keys;
mod pg;
mod principals;
mod sessions;
mod settings;
mod shared;
mod statistics;
mod text;

::pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/bootstrap.sql", name = "bootstrap", bootstrap);
extension_sql_file!("../sql/finalize.sql", name = "finalize", finalize);

#[cfg(not(panic = "unwind"))]
compile_error!(
    "a panic must refuse one sign-in, not take the server down: build with panic = \"unwind\""
);

/// Required by `#[pg_guard]` on an `extern` block.
mod ffi {
    pub use pgrx::pg_sys::submodules::ffi::pg_guard_ffi_boundary;
}

/// The schema of everything that Azure does not have, declared for pgrx.
#[pg_schema]
mod aadauth {}

/// Called once, in the postmaster.
#[allow(non_snake_case)]
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    hooks::client_authentication::ensure_preloaded();
    settings::init();
    pg::hba_file::init(settings::hba_file());
    #[cfg(feature = "fault-injection")]
    pg::fault::init();
    hooks::seclabel::init();
    hooks::utility::init();
    // Before client_authentication::init: its startup hook must run before that one's, which uses the tables.
    shared::shmem::init();
    audit::spool::init();
    hooks::workers::init();
    hooks::client_authentication::init();
    hooks::termination::init();
    pg::pam::prewarm();
    pg::guc::reserve_prefixes();
}
