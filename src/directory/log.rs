//! What the log says of the directory: a line when it stops answering and one when it answers again, not
//! one for each question.

use std::time::{Duration, Instant};

use entra_api::{DirectoryError, ErrorKind};

use crate::pg::log::{self, Level};
use crate::settings;

/// The same problem is not written again so soon, even if the directory has answered in between.
const REPEAT: Duration = Duration::from_secs(60);

/// What has been written.
#[derive(Default)]
pub struct DirectoryLog {
    /// The setting whose absence was complained of.
    missing: Option<&'static str>,
    state: State,
}

#[derive(Default)]
struct State {
    problem: Option<ErrorKind>,
    last: Option<(ErrorKind, Instant)>,
    /// Whether the log's last word is of a problem.
    is_open: bool,
}

/// What is to be written of an outcome.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Nothing,
    Problem,
    Recovery,
}

impl DirectoryLog {
    /// Begins anew with settings that have been read again. `is_configured` says whether there is a
    /// directory to ask.
    pub fn adopt(&mut self, is_configured: bool) {
        let missing = settings::missing_for_directory().filter(|_| !is_configured);
        if let Some(missing) = missing.filter(|_| missing != self.missing) {
            log::line(
                Level::Warning,
                &format!("the directory is not asked: {missing} is not set"),
                None,
                Some("Set it, or aadauth.credential to none, and reload the configuration."),
            );
        }
        self.missing = missing;
        // That it answers again is to be said, all the more if the new settings were the cure.
        self.state = State {
            is_open: self.state.is_open && is_configured,
            ..State::default()
        };
    }

    /// Writes what there is to say of a question that was answered, or failed.
    pub fn note(&mut self, now: Instant, failure: Option<&DirectoryError>) {
        let line = self.state.note(now, failure.map(|error| error.kind));
        match (line, failure) {
            (Line::Problem, Some(error)) => {
                let level = if is_ours(error.kind) {
                    Level::Warning
                } else {
                    Level::Log
                };
                log::line(
                    level,
                    &format!("the directory does not answer: {error}"),
                    Some(
                        "Members whom the directory has confirmed within aadauth.group_cache_ttl, and those \
                         whose token names the group, sign in still.",
                    ),
                    Some(error.kind.hint()),
                );
            }
            (Line::Recovery, _) => {
                log::line(Level::Log, "the directory answers again", None, None);
            }
            (Line::Problem | Line::Nothing, _) => {}
        }
    }
}

impl State {
    fn note(&mut self, now: Instant, failure: Option<ErrorKind>) -> Line {
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

/// Whether it is the configuration that wants mending, not the directory or the way to it.
fn is_ours(kind: ErrorKind) -> bool {
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
    fn each_change_is_written_once() {
        let now = Instant::now();
        let mut state = State::default();
        assert_eq!(state.note(now, None), Line::Nothing);
        assert_eq!(state.note(now, DOWN), Line::Problem);
        assert_eq!(state.note(now + REPEAT * 9, DOWN), Line::Nothing);
        assert_eq!(state.note(now + REPEAT * 9, SLOW), Line::Problem);
        assert_eq!(state.note(now + REPEAT * 9, None), Line::Recovery);
        assert_eq!(state.note(now + REPEAT * 9, None), Line::Nothing);
        assert_eq!(state.note(now + REPEAT * 20, SLOW), Line::Problem);
    }

    #[test]
    fn one_that_comes_and_goes_does_not_fill_the_log() {
        let now = Instant::now();
        let mut state = State::default();
        let mut lines = 0;
        for second in 0..60 {
            let at = now + Duration::from_secs(second);
            for outcome in [SLOW, None, SLOW, None] {
                lines += u32::from(state.note(at, outcome) != Line::Nothing);
            }
        }
        assert_eq!(lines, 2);
        assert_eq!(state.note(now + REPEAT, SLOW), Line::Problem);
    }
}
