//! The library as a validator module for OAUTHBEARER (`oauth_validator_libraries`), from PostgreSQL 18 on.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::slice;

use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::client_authentication;
use crate::auth;
use crate::pg::panics;

// `AadJudged` of oauth.h.
const REFUSED: c_int = 0;
const ACCEPTED: c_int = 1;
const NOT_JUDGED: c_int = 2;

unsafe extern "C" {
    fn aad_oauth_validator() -> *const c_void;
}

/// Returns the callbacks to core (auth-oauth.c, `load_validator_library`). From here on the attempt is recorded.
///
/// # Safety
/// Called by core in a backend that authenticates a client.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PG_oauth_validator_module_init() -> *const c_void {
    if client_authentication::is_active()
        && panics::catch("expecting a token", auth::expect_token).is_none()
    {
        auth::mark_internal_error();
    }
    // SAFETY: returns the address of a constant of oauth.c, which the library keeps while it is loaded.
    unsafe { aad_oauth_validator() }
}

/// Judges a token for the role of the startup packet. Without our hook there is no final
/// authorization check, so every token is refused.
///
/// # Safety
/// `token` has `length` bytes, which stay as they are during the call; `identity` has room for an object id as
/// text and a NUL. `extern "C"` with a `catch_unwind` inside: no panic goes through core's frames.
#[unsafe(no_mangle)]
unsafe extern "C" fn aad_judge_token(
    token: *const c_char,
    length: usize,
    identity: *mut c_char,
) -> c_int {
    if !client_authentication::is_active() {
        return NOT_JUDGED;
    }
    // SAFETY: as the caller promises.
    let token = unsafe { slice::from_raw_parts(token.cast::<u8>(), length) };
    match panics::catch("judging a token", || auth::authenticate_token(token)) {
        Some(Some(object_id)) => {
            let text = text(object_id);
            // SAFETY: the two do not overlap, and the caller's buffer has room for the text.
            unsafe { ptr::copy_nonoverlapping(text.as_ptr(), identity.cast(), text.len()) };
            ACCEPTED
        }
        Some(None) => REFUSED,
        None => {
            auth::mark_internal_error();
            NOT_JUDGED
        }
    }
}

fn text(object_id: Uuid) -> [u8; Hyphenated::LENGTH + 1] {
    let mut text = [0; Hyphenated::LENGTH + 1];
    object_id.hyphenated().encode_lower(&mut text);
    text
}
