//! The warning that signing keys grow old.

use std::time::{Duration, Instant};

use entra_token::TokenVersion;

use crate::pg::log::{self, Level};
use crate::shared::keys::scope::Scope;
use crate::shared::keys::stored::Source;
use crate::shared::shmem;
use crate::{clock, settings};

/// From what age on keys are warned about.
pub const OLD: Duration = Duration::from_secs(24 * 3600);
/// How often.
const WARN_EVERY: Duration = Duration::from_secs(3600);

/// Remembers when it was last given.
#[derive(Default)]
pub struct AgeWarning {
    given_at: Option<Instant>,
}

impl AgeWarning {
    /// Writes it where it is due: fetched keys are a day old, and the last warning an hour.
    pub fn check(&mut self, now: Instant, scope: &Scope) {
        let is_recent = |at| now.saturating_duration_since(at) < WARN_EVERY;
        if self.given_at.is_some_and(is_recent) {
            return;
        }
        let Some(age) = oldest_age().filter(|age| *age >= OLD) else {
            return;
        };
        let limit = settings::signing_key_max_age();
        let (hours, limit_hours) = (age.as_secs() / 3600, limit.as_secs() / 3600);
        let message = format!(
            "signing keys of {} are {hours} hours old",
            scope.authority.login()
        );
        let detail = if age > limit {
            format!(
                "Beyond aadauth.signing_key_max_age ({limit_hours} hours) they serve no more: Entra \
                 sign-ins are refused."
            )
        } else {
            format!(
                "They serve until they are {limit_hours} hours old (aadauth.signing_key_max_age)."
            )
        };
        let hint =
            "The last_error in the view aadauth.signing_keys says why there are no newer ones.";
        log::line(Level::Warning, &message, Some(&detail), Some(hint));
        self.given_at = Some(now);
    }
}

/// The age of the oldest keys that were fetched.
fn oldest_age() -> Option<Duration> {
    let fetched_at = shmem::keys(|table| {
        let sets = TokenVersion::ALL.map(|version| table.snapshot(None, version));
        let ageing = sets
            .into_iter()
            .flatten()
            .filter(|(set, _)| set.source != Source::File);
        ageing.map(|(set, _)| set.fetched_at).min()
    })?;
    let age = clock::micros().saturating_sub(fetched_at);
    Some(Duration::from_micros(age.try_into().unwrap_or_default()))
}
