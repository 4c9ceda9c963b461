//! Log lines about the directory: one when it stops responding and one when it responds again, not one for
//! each query.

use std::time::{Duration, Instant};

use entra_api::{DirectoryError, ErrorKind};

use crate::pg::log::{self, Level};
use crate::settings;

/// The same problem is not logged again within this time, even if the directory has responded in between.
const REPEAT: Duration = Duration::from_secs(60);

/// What has been logged.
#[derive(Default)]
pub struct DirectoryLog {
    /// The setting that was last logged as missing.
    missing: Option<&'static str>,
    state: State,
}

#[derive(Default)]
struct State {
    problem: Option<ErrorKind>,
    last: Option<(ErrorKind, Instant)>,
    /// Whether the last line was about a problem.
    is_open: bool,
}

/// What to log for an outcome.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Nothing,
    Problem,
    Recovery,
}

impl DirectoryLog {
    /// Starts over with reloaded settings. `is_configured` says whether a directory is configured.
    pub fn adopt(&mut self, is_configured: bool) {
        let missing = settings::missing_for_directory().filter(|_| !is_configured);
        if let Some(missing) = missing.filter(|_| missing != self.missing) {
            log::line(
                Level::Warning,
                &format!("the directory is not queried: {missing} is not set"),
                None,
                Some("Set it, or set aadauth.credential to none, and reload the configuration."),
            );
        }
        self.missing = missing;
        // A recovery is logged, in particular if the new settings are its cause.
        self.state = State {
            is_open: self.state.is_open && is_configured,
            ..State::default()
        };
    }

    /// Logs the outcome of a query, if it is a change.
    pub fn record(&mut self, now: Instant, failure: Option<&DirectoryError>) {
        let line = self.state.record(now, failure.map(|error| error.kind));
        match (line, failure) {
            (Line::Problem, Some(error)) => {
                let level = if is_configuration_error(error.kind) {
                    Level::Warning
                } else {
                    Level::Log
                };
                log::line(
                    level,
                    &format!("the directory does not respond: {error}"),
                    Some(
                        "Members that the directory has confirmed within aadauth.group_cache_ttl, and those \
                         whose token names the group, can still sign in.",
                    ),
                    Some(error.kind.hint()),
                );
            }
            (Line::Recovery, _) => {
                log::line(Level::Log, "the directory responds again", None, None);
            }
            (Line::Problem | Line::Nothing, _) => {}
        }
    }
}

impl State {
    fn record(&mut self, now: Instant, failure: Option<ErrorKind>) -> Line {
        let Some(kind) = failure else {
            self.problem = None;
            return match std::mem::take(&mut self.is_open) {
                true => Line::Recovery,
                false => Line::Nothing,
            };
        };
        let is_same = self.problem.replace(kind) == Some(kind);
        let is_recent = self
            .last
            .is_some_and(|(last, at)| last == kind && now.saturating_duration_since(at) < REPEAT);
        if is_same || is_recent {
            return Line::Nothing;
        }
        self.last = Some((kind, now));
        self.is_open = true;
        Line::Problem
    }
}

/// Whether the configuration must be corrected, rather than the directory or the network.
fn is_configuration_error(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::PermissionMissing | ErrorKind::CredentialUnusable | ErrorKind::CredentialRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: Option<ErrorKind> = Some(ErrorKind::Unreachable);
    const SLOW: Option<ErrorKind> = Some(ErrorKind::TimedOut);

    #[test]
    fn each_change_is_logged_once() {
        let now = Instant::now();
        let mut state = State::default();
        assert_eq!(state.record(now, None), Line::Nothing);
        assert_eq!(state.record(now, DOWN), Line::Problem);
        assert_eq!(state.record(now + REPEAT * 9, DOWN), Line::Nothing);
        assert_eq!(state.record(now + REPEAT * 9, SLOW), Line::Problem);
        assert_eq!(state.record(now + REPEAT * 9, None), Line::Recovery);
        assert_eq!(state.record(now + REPEAT * 9, None), Line::Nothing);
        assert_eq!(state.record(now + REPEAT * 20, SLOW), Line::Problem);
    }

    #[test]
    fn one_that_comes_and_goes_does_not_fill_the_log() {
        let now = Instant::now();
        let mut state = State::default();
        let mut lines = 0;
        for second in 0..60 {
            let at = now + Duration::from_secs(second);
            for outcome in [SLOW, None, SLOW, None] {
                lines += u32::from(state.record(at, outcome) != Line::Nothing);
            }
        }
        assert_eq!(lines, 2);
        assert_eq!(state.record(now + REPEAT, SLOW), Line::Problem);
    }
}
