//! The lines of pg_hba.conf that are ours.

use super::{hba_file, oauth, pam};

/// How a credential gets from the client to the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// By a `pam` line with a service of ours: libpam calls this library.
    Pam,
    /// By a `trust` line while `aadauth.hba_file` is set: the authentication hook asks.
    HbaFile,
    /// By an `oauth` line with this library as the validator: PostgreSQL hands it the token.
    Oauth,
}

impl Route {
    /// The route of a line of the file in force; `None` for a line that is none of ours.
    ///
    /// `method` is spelled as pg_hba.conf does, `pam_service` is that of a `pam` line, `oauth_validator` that of an
    /// `oauth` line.
    pub fn of_line(
        method: &str,
        pam_service: Option<&str>,
        oauth_validator: Option<&str>,
    ) -> Option<Route> {
        match method {
            "pam" => pam_service.is_some_and(pam::is_ours).then_some(Route::Pam),
            // Also when another file is in force than the one that was set: nothing passes on trust then.
            "trust" => hba_file::is_set().then_some(Route::HbaFile),
            "oauth" => oauth_validator
                .is_some_and(oauth::is_ours)
                .then_some(Route::Oauth),
            _ => None,
        }
    }
}
