//! The functions that libpam calls by name.

use std::ffi::{c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::pam::{Client, Handle, PAM_SYSTEM_ERR};
use crate::login::{self, Outcome};

// Values of Linux-PAM's _pam_types.h.
const PAM_SUCCESS: c_int = 0;
const PAM_AUTH_ERR: c_int = 7;
const PAM_AUTHINFO_UNAVAIL: c_int = 9;

/// libpam's request to authenticate the user.
///
/// # Safety
/// Called by libpam, with its handle and the arguments of the line in the service file. A panic does not leave it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_sm_authenticate(
    handle: *mut Handle,
    _flags: c_int,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    caught(|| {
        // SAFETY: libpam's own handle, in the thread that libpam is called in, and its array of `count` strings.
        let mut client = unsafe { Client::new(handle, count, arguments) }?;
        client.remember(false)?;
        let outcome = login::authenticate(&client);
        client.forget_host_name();
        Ok(match outcome {
            Outcome::Accepted => {
                client.remember(true)?;
                PAM_SUCCESS
            }
            Outcome::Refused => PAM_AUTH_ERR,
            Outcome::Unavailable => PAM_AUTHINFO_UNAVAIL,
        })
    })
}

/// libpam's check whether the account may be used: only if this module has accepted the client in this login.
///
/// # Safety
/// As [`pam_sm_authenticate`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_sm_acct_mgmt(
    handle: *mut Handle,
    _flags: c_int,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    caught(|| {
        // SAFETY: as in `pam_sm_authenticate`.
        let client = unsafe { Client::new(handle, count, arguments) }?;
        Ok(if client.was_accepted() {
            PAM_SUCCESS
        } else {
            PAM_AUTH_ERR
        })
    })
}

/// libpam's request to set credentials: there are none.
///
/// # Safety
/// As [`pam_sm_authenticate`]; nothing is read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_sm_setcred(
    _handle: *mut Handle,
    _flags: c_int,
    _count: c_int,
    _arguments: *const *const c_char,
) -> c_int {
    PAM_SUCCESS
}

fn caught(work: impl FnOnce() -> Result<c_int, c_int>) -> c_int {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(code) | Err(code)) => code,
        Err(_) => PAM_SYSTEM_ERR,
    }
}
