//! The library as a PAM module.
//!
//! PostgreSQL's `pam` method calls libpam inside the backend, and libpam opens the module that the
//! service file names: this same library, which the process has already loaded. So these entry points run with
//! everything that `_PG_init` set up. If only libpam has loaded the library, in a server that does not preload it,
//! no hook is installed and they refuse.

use std::ffi::{c_char, c_int, c_void};

use super::client_authentication;
use crate::auth::{self, PromptOutcome};
use crate::pg::{exit, panics};

// Values of Linux-PAM's _pam_types.h.
const PAM_SUCCESS: c_int = 0;
const PAM_SYSTEM_ERR: c_int = 4;
const PAM_AUTH_ERR: c_int = 7;
const PAM_AUTHINFO_UNAVAIL: c_int = 9;

/// libpam's request to authenticate the user: asks for a token or runs SCRAM, and keeps the verdict.
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
        panics::catch(
            "reporting that the library is not loaded",
            client_authentication::report_absence,
        );
        return PAM_AUTHINFO_UNAVAIL;
    }
    match panics::catch("asking for a token or password", auth::authenticate_prompt) {
        Some(PromptOutcome::Accepted) => PAM_SUCCESS,
        Some(PromptOutcome::Refused) => PAM_AUTH_ERR,
        // As core does when a client leaves at the prompt (auth.c, auth_failed on STATUS_EOF); exit callbacks
        // write the audit event.
        Some(PromptOutcome::ClientGone) => exit::process(0),
        None => {
            auth::mark_internal_error();
            PAM_SYSTEM_ERR
        }
    }
}

/// libpam's check whether the account may be used: only with an accepted verdict of this backend, so that a
/// service file in which another module authenticates lets no client in.
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
    match panics::catch("reading the verdict", auth::is_accepted) {
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
