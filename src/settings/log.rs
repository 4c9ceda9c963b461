//! The settings of what the server log has of sign-ins.

use pgrx::guc::{GucFlags, PostgresGucEnum};

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
    LOG_RATE: i32 = 10, number(
        c"aadauth.log_rate",
        c"How many refused sign-ins of one reason are logged in a second.",
        c"Further ones are counted in one line. 0: all are logged.",
        0..=1000,
        GucFlags::empty(),
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

/// Per reason and second; 0: no limit.
pub fn log_rate() -> u32 {
    u32::try_from(LOG_RATE.get()).unwrap_or_default()
}

fn is_logged(by_postgresql: impl FnOnce() -> bool) -> bool {
    match LOG_SIGN_INS.get() {
        LogSignIns::Postgresql => by_postgresql(),
        LogSignIns::On => true,
        LogSignIns::Off => false,
    }
}
