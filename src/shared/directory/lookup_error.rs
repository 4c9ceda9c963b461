//! Why the directory has no answer.

use entra_api::ErrorKind;

use crate::settings;

/// How many questions may be open at the same time, on the whole server.
pub const SLOTS: usize = 128;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answerless {
    /// No credential is set, or something that it takes is missing.
    NotConfigured,
    /// As many questions as there is room for wait already.
    Busy,
    WorkerNotRunning,
    TimedOut,
    /// The worker has other settings than this process.
    SettingsChanged,
    Directory {
        kind: ErrorKind,
        /// One line without a full stop.
        message: String,
    },
}

impl Answerless {
    /// The primary message of an error, or the beginning of a DETAIL: one line without a full stop.
    pub fn message(&self) -> String {
        match self {
            Answerless::NotConfigured => match settings::missing_for_directory() {
                None => "no directory is configured".to_owned(),
                Some(missing) => format!("no directory is configured: {missing} is not set"),
            },
            Answerless::Busy => format!(
                "{} questions to the directory wait for an answer already",
                SLOTS
            ),
            Answerless::WorkerNotRunning => {
                "the network worker, which asks the directory, is not running".to_owned()
            }
            Answerless::TimedOut => "the directory did not answer in time".to_owned(),
            Answerless::SettingsChanged => {
                "the settings of the directory have just changed".to_owned()
            }
            Answerless::Directory { message, .. } => message.clone(),
        }
    }

    /// What to do about it, in sentences.
    pub fn hint(&self) -> &'static str {
        match self {
            Answerless::NotConfigured => {
                "Set aadauth.credential, what it takes, and aadauth.tenant_id."
            }
            Answerless::Busy | Answerless::SettingsChanged => "Try again in a moment.",
            Answerless::WorkerNotRunning => {
                "It is started again within seconds; look in the log for why it ended, and at max_worker_processes."
            }
            Answerless::TimedOut => ErrorKind::TimedOut.hint(),
            Answerless::Directory { kind, .. } => kind.hint(),
        }
    }
}
