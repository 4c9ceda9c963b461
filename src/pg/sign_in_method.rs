//! The sign-in methods, and the HBA records that belong to aadauth.

use super::{hba_file, oauth, pam};

/// How the client's credential reaches aadauth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInMethod {
    /// By a `pam` record with a service of aadauth: libpam calls this library.
    Pam,
    /// By a `trust` record while `aadauth.hba_file` is set: the authentication hook asks for it.
    HbaFile,
    /// By an `oauth` record with this library as the validator: PostgreSQL passes the token to it.
    Oauth,
}

impl SignInMethod {
    /// The sign-in method of a record of the HBA file in force; `None` if it is not an aadauth HBA record.
    ///
    /// `method` is spelled as in pg_hba.conf; `pam_service` belongs to a `pam` record, `oauth_validator` to an `oauth`
    /// record.
    pub fn of_record(
        method: &str,
        pam_service: Option<&str>,
        oauth_validator: Option<&str>,
    ) -> Option<SignInMethod> {
        match method {
            "pam" => pam_service
                .is_some_and(pam::is_ours)
                .then_some(SignInMethod::Pam),
            // Also if a different file than the configured one is in force: no trust record lets anyone in then.
            "trust" => hba_file::is_set().then_some(SignInMethod::HbaFile),
            "oauth" => oauth_validator
                .is_some_and(oauth::is_ours)
                .then_some(SignInMethod::Oauth),
            _ => None,
        }
    }
}
