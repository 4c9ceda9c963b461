//! A role's password, compared with what a pooler's client has sent.

use std::ffi::{CStr, c_int};
use std::ptr;

use super::{shim, text};

/// How the comparison ended.
pub enum Comparison {
    Equal,
    /// With core's own text, for the server log.
    Different(Option<String>),
    /// The role has no password, or one that is no longer valid. With core's own text.
    None(Option<String>),
    /// The stored secret is no SCRAM verifier.
    NotScram,
    /// The verifier has too many iterations; nothing was computed.
    TooExpensive,
}

/// Compares the password with the role's SCRAM verifier, of at most `max_iterations`, as core does with a password in
/// clear text (crypt.c, `plain_crypt_verify`).
///
/// # Panics
/// With PostgreSQL's ERROR, if memory or the random numbers for a look-up run out.
pub fn compare(role: &CStr, password: &CStr, max_iterations: c_int) -> Comparison {
    let mut why = ptr::null();
    // SAFETY: both strings are NUL-terminated; `why` is then NULL or a string in the current memory context. A
    // transaction is open, as the look-up of the role demands.
    let status = unsafe {
        shim::aad_check_password(role.as_ptr(), password.as_ptr(), max_iterations, &mut why)
    };
    // SAFETY: as above.
    let why = (!why.is_null()).then(|| text::decode_c(unsafe { CStr::from_ptr(why) }));
    match status {
        shim::PASSWORD_ACCEPTED => Comparison::Equal,
        shim::PASSWORD_REFUSED => Comparison::Different(why),
        shim::PASSWORD_NONE => Comparison::None(why),
        shim::PASSWORD_NOT_SCRAM => Comparison::NotScram,
        _ => Comparison::TooExpensive,
    }
}
