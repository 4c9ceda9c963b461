//! The library as a validator module for OAUTHBEARER (`oauth_validator_libraries`), from PostgreSQL 18 on.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::slice;

use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::{guarded, hook};
use crate::signin;

// `AadJudged` of oauth.h.
const REFUSED: c_int = 0;
const ACCEPTED: c_int = 1;
const NOT_JUDGED: c_int = 2;

unsafe extern "C" {
    fn aad_oauth_validator() -> *const c_void;
    fn aad_oauth_asked() -> bool;
    fn aad_oauth_malformed() -> bool;
}

/// What became of a client on an `oauth` line whose token never got as far as the validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutToken {
    /// It sent nothing that reached the mechanism: it went away, or its message was torn or too long.
    Silence,
    /// It asked for the configuration and sent no token (RFC 7628, section 4.3), as libpq does once
    /// before it fetches one.
    Discovery,
    /// It sent what core could not take apart.
    Malformed,
}

/// Whether `validator`, as pg_hba.conf has it, names this library: `load_external_function` of dfmgr.c takes a path
/// and a file name's ending, or leaves both to the server.
pub fn is_ours(validator: &str) -> bool {
    let file = validator.rsplit('/').next().unwrap_or(validator);
    file.strip_suffix(".so").unwrap_or(file) == "aadauth"
}

/// What became of this backend's client, if no token was judged.
pub fn without_token() -> WithoutToken {
    // SAFETY: plain reads of flags that only this process's one thread writes.
    let (asked, malformed) = unsafe { (aad_oauth_asked(), aad_oauth_malformed()) };
    match (asked, malformed) {
        (false, _) => WithoutToken::Silence,
        (true, false) => WithoutToken::Discovery,
        (true, true) => WithoutToken::Malformed,
    }
}

/// Core's question for the callbacks (auth-oauth.c, `load_validator_library`). From here on the attempt is
/// one that reached us.
///
/// # Safety
/// Called by core in a backend that authenticates a client.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _PG_oauth_validator_module_init() -> *const c_void {
    if hook::has_last_word() {
        guarded::run("expecting a token", signin::expect_token);
    }
    // SAFETY: returns the address of a constant of oauth.c, which the library keeps while it's loaded.
    unsafe { aad_oauth_validator() }
}

/// Judges a token for the role of the startup packet. Without our hook there is no last word, and so
/// nobody gets in.
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
    if !hook::has_last_word() {
        return NOT_JUDGED;
    }
    // SAFETY: as the caller promises.
    let token = unsafe { slice::from_raw_parts(token.cast::<u8>(), length) };
    match guarded::run("judging a token", || signin::judge(token)) {
        Some(Some(object_id)) => {
            let text = text(object_id);
            // SAFETY: the two don't overlap, and the caller's has room for as much.
            unsafe { ptr::copy_nonoverlapping(text.as_ptr(), identity.cast(), text.len()) };
            ACCEPTED
        }
        Some(None) => REFUSED,
        None => {
            signin::asking_failed();
            NOT_JUDGED
        }
    }
}

fn text(object_id: Uuid) -> [u8; Hyphenated::LENGTH + 1] {
    let mut text = [0; Hyphenated::LENGTH + 1];
    object_id.hyphenated().encode_lower(&mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validator_is_ours_by_its_file_name() {
        for ours in [
            "aadauth",
            "$libdir/aadauth",
            "/usr/lib/postgresql/18/lib/aadauth.so",
            "aadauth.so",
        ] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in ["", "aadauth2", "my_aadauth", "/aadauth/other", "AADAUTH"] {
            assert!(!is_ours(other), "{other}");
        }
    }
}
