//! The settings of what the server log has of sign-ins.

use pgrx::guc::PostgresGucEnum;

use crate::pg::guc::define_settings;
use crate::pg::log;

/// Whether the server log has accepted sign-ins and the ends of their sessions (`aadauth.log_sign_ins`).
#[derive(Clone, Copy, PostgresGucEnum)]
enum LogSignIns {
    /// As `log_connections` and `log_disconnections` say.
    #[name = c"postgresql"]
    Postgresql,
    #[name = c"on"]
    On,
    #[name = c"off"]
    Off,
}

define_settings! {
    LOG_SIGN_INS: LogSignIns = LogSignIns::Postgresql, choice(
        c"aadauth.log_sign_ins",
        c"Whether accepted sign-ins with a token, and the ends of their sessions, are logged.",
        c"postgresql: as log_connections and log_disconnections say. Refusals are always logged.",
    );
}

/// Whether an accepted sign-in is logged.
pub fn logs_sign_ins() -> bool {
    is_logged(log::has_authorizations)
}

/// Whether the end of a session is logged.
pub fn logs_session_ends() -> bool {
    is_logged(log::has_disconnections)
}

fn is_logged(by_postgresql: impl FnOnce() -> bool) -> bool {
    match LOG_SIGN_INS.get() {
        LogSignIns::Postgresql => by_postgresql(),
        LogSignIns::On => true,
        LogSignIns::Off => false,
    }
}
