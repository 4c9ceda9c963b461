//! Why a directory look-up failed.

use entra_api::ErrorKind;

use crate::settings;

/// How many queries may be pending at the same time, on the whole server.
pub const SLOTS: usize = 128;

/// Why a look-up failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupError {
    /// No credential is set, or a setting that it requires is missing.
    NotConfigured,
    /// Too many queries are pending.
    Busy,
    WorkerNotRunning,
    TimedOut,
    /// The worker has other settings than this process.
    SettingsChanged,
    Directory {
        kind: ErrorKind,
        /// One line without a final period.
        message: String,
    },
}

impl LookupError {
    /// The primary message of an error, or the beginning of a DETAIL: one line without a final period.
    pub fn message(&self) -> String {
        match self {
            LookupError::NotConfigured => match settings::missing_for_directory() {
                None => "no directory is configured".to_owned(),
                Some(missing) => format!("no directory is configured: {missing} is not set"),
            },
            LookupError::Busy => format!("{} queries to the directory are already pending", SLOTS),
            LookupError::WorkerNotRunning => {
                "the network worker, which queries the directory, is not running".to_owned()
            }
            LookupError::TimedOut => "the directory did not answer in time".to_owned(),
            LookupError::SettingsChanged => {
                "the settings of the directory have changed during the query".to_owned()
            }
            LookupError::Directory { message, .. } => message.clone(),
        }
    }

    /// What to do about it, in complete sentences.
    pub fn hint(&self) -> &'static str {
        match self {
            LookupError::NotConfigured => {
                "Set aadauth.credential, the settings that it requires, and aadauth.tenant_id."
            }
            LookupError::Busy | LookupError::SettingsChanged => "Try again in a moment.",
            LookupError::WorkerNotRunning => {
                "It restarts within seconds. If it does not, see the server log, and check max_worker_processes."
            }
            LookupError::TimedOut => ErrorKind::TimedOut.hint(),
            LookupError::Directory { kind, .. } => kind.hint(),
        }
    }
}
