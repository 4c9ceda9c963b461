//! The library as a PAM module.
//!
//! PostgreSQL's `pam` method calls libpam inside the backend, and libpam opens the module that the
//! service file names: this very library, which that process has loaded already. So these entry points run with
//! everything in place that `_PG_init` set up. Loaded by libpam alone, in a server that does not preload the
//! library, no hook is installed and they refuse.

use std::ffi::{c_char, c_int, c_void};

use super::client_authentication;
use crate::auth::{self, Asked};
use crate::pg::{exit, guarded};

// Values of Linux-PAM's _pam_types.h.
const PAM_SUCCESS: c_int = 0;
const PAM_SYSTEM_ERR: c_int = 4;
const PAM_AUTH_ERR: c_int = 7;
const PAM_AUTHINFO_UNAVAIL: c_int = 9;

/// libpam's request to authenticate the user: asks for a token or runs SCRAM, and leaves a verdict.
///
/// # Safety
/// Called by libpam, with its own handle, which is not used. `extern "C"` with a `catch_unwind` inside: a panic
/// must not travel through libpam's frames.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_sm_authenticate(
    _handle: *mut c_void,
    _flags: c_int,
    _count: c_int,
    _arguments: *const *const c_char,
) -> c_int {
    if !client_authentication::is_active() {
        return PAM_AUTHINFO_UNAVAIL;
    }
    match guarded::run("asking for a token or password", auth::ask) {
        Some(Asked::Accepted) => PAM_SUCCESS,
        Some(Asked::Refused) => PAM_AUTH_ERR,
        // As core does when a client leaves at the prompt (auth.c, auth_failed on STATUS_EOF); exit callbacks
        // write the audit event.
        Some(Asked::ClientGone) => exit::process(0),
        None => {
            auth::asking_failed();
            PAM_SYSTEM_ERR
        }
    }
}

/// libpam's question whether the account may be used: only with an accepted verdict of this backend, so that a
/// service file in which another module authenticates lets nobody in.
///
/// # Safety
/// As [`pam_sm_authenticate`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_sm_acct_mgmt(
    _handle: *mut c_void,
    _flags: c_int,
    _count: c_int,
    _arguments: *const *const c_char,
) -> c_int {
    if !client_authentication::is_active() {
        return PAM_AUTHINFO_UNAVAIL;
    }
    match guarded::run("looking at the verdict", auth::is_accepted) {
        Some(true) => PAM_SUCCESS,
        Some(false) => PAM_AUTH_ERR,
        None => PAM_SYSTEM_ERR,
    }
}

/// libpam's request to set credentials: there are none.
///
/// # Safety
/// As [`pam_sm_authenticate`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_sm_setcred(
    _handle: *mut c_void,
    _flags: c_int,
    _count: c_int,
    _arguments: *const *const c_char,
) -> c_int {
    PAM_SUCCESS
}
