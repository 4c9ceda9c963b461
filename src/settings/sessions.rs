//! The settings of live sessions.

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};

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

static SESSION_EXPIRY: GucSetting<SessionExpiry> =
    GucSetting::<SessionExpiry>::new(SessionExpiry::Off);

pub fn init() {
    GucRegistry::define_enum_guc(
        c"aadauth.session_expiry",
        c"Whether a session ends when the token that opened it expires.",
        c"off: the session continues. token: the session ends with the token.",
        &SESSION_EXPIRY,
        GucContext::Sighup,
        GucFlags::default(),
    );
}

pub fn session_expiry() -> SessionExpiry {
    SESSION_EXPIRY.get()
}
