//! The library as a validator module for OAUTHBEARER (`oauth_validator_libraries`): why a client's token was not
//! judged.

unsafe extern "C" {
    fn aad_oauth_asked() -> bool;
    fn aad_oauth_malformed() -> bool;
}

/// Why no token of a client that matched an `oauth` record reached the validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutToken {
    /// It sent nothing that reached the mechanism: it disconnected, or its message was incomplete or too long.
    Silence,
    /// It sent a discovery request without a token (RFC 7628, section 4.3), as libpq does once before it
    /// fetches a token.
    Discovery,
    /// It sent a message that core could not parse.
    Malformed,
}

/// Whether `validator`, as pg_hba.conf has it, names this library: `load_external_function` of dfmgr.c takes a path
/// and a file name's ending, or leaves both to the server.
pub fn is_ours(validator: &str) -> bool {
    let file = validator.rsplit('/').next().unwrap_or(validator);
    file.strip_suffix(".so").unwrap_or(file) == "aadauth"
}

/// Why no token of this backend's client was judged.
pub fn without_token() -> WithoutToken {
    // SAFETY: plain reads of flags that only this process's one thread writes.
    let (asked, malformed) = unsafe { (aad_oauth_asked(), aad_oauth_malformed()) };
    match (asked, malformed) {
        (false, _) => WithoutToken::Silence,
        (true, false) => WithoutToken::Discovery,
        (true, true) => WithoutToken::Malformed,
    }
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
