//! The settings of live sessions.

use pgrx::guc::PostgresGucEnum;

use crate::pg::guc::define_settings;

/// What the expiry of a token means for the session that it opened (`aadauth.session_expiry`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum SessionExpiry {
    /// Nothing, as on Azure: a token is only for signing in.
    #[name = c"off"]
    Off,
    /// The session ends with it.
    #[name = c"token"]
    Token,
}

define_settings! {
    SESSION_EXPIRY: SessionExpiry = SessionExpiry::Off, choice(
        c"aadauth.session_expiry",
        c"Whether a session ends when the token that opened it expires.",
        c"off: the session continues. token: the session ends with the token.",
    );
}

pub fn session_expiry() -> SessionExpiry {
    SESSION_EXPIRY.get()
}
