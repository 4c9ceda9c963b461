//! Sign-in to a stock PostgreSQL server with a Microsoft Entra ID access token as the password.
//!
//! | module | what it is for |
//! |---|---|
//! | [`settings`] | the settings and their typed values |
//! | [`signin`] | one sign-in, from the role to the audit event |
//! | [`keys`] | signing keys in shared memory |
//! | [`principals`] | security labels and the SQL functions that write them |
//! | [`audit`] | sign-in events, their spool and table |
//! | [`worker`] | the background workers |
//! | [`pg`] | PostgreSQL and libpam, made safe |
#![deny(unsafe_code)]

use pgrx::prelude::*;

mod audit;
mod keys;
mod pg;
mod settings;
mod signin;

::pgrx::pg_module_magic!(name, version);

#[cfg(not(panic = "unwind"))]
compile_error!(
    "a panic must refuse one sign-in, not take the server down: build with panic = \"unwind\""
);

/// What `#[pg_guard]` on an `extern` block looks for in the crate that uses it.
mod ffi {
    pub use pgrx::pg_sys::submodules::ffi::pg_guard_ffi_boundary;
}

/// Called once, in the postmaster.
#[allow(non_snake_case)]
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::hook::demand_preload();
    settings::init();
    #[cfg(feature = "fault-injection")]
    pg::fault::init();
    pg::hook::init();
    pg::pam::prewarm();
    pg::setting::reserve_prefix();
}
