//! The warning that signing keys are old.

use std::time::{Duration, Instant};

use entra_token::TokenVersion;

use crate::pg::log::{self, Level};
use crate::shared::keys::scope::Scope;
use crate::shared::keys::stored::Source;
use crate::shared::shmem;
use crate::{clock, settings};

/// The age from which the warning is logged.
pub const WARNING_AGE: Duration = Duration::from_secs(24 * 3600);
/// How often the warning is repeated.
const WARN_EVERY: Duration = Duration::from_secs(3600);

/// Remembers when the warning was last logged.
#[derive(Default)]
pub struct AgeWarning {
    logged_at: Option<Instant>,
}

impl AgeWarning {
    /// Logs the warning if fetched keys are a day old, at most once an hour.
    pub fn check(&mut self, now: Instant, scope: &Scope) {
        let is_recent = |at| now.saturating_duration_since(at) < WARN_EVERY;
        if self.logged_at.is_some_and(is_recent) {
            return;
        }
        let Some(age) = oldest_age().filter(|age| *age >= WARNING_AGE) else {
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
                "Keys older than aadauth.signing_key_max_age ({limit_hours} hours) are not used: Entra \
                 sign-ins are refused."
            )
        } else {
            format!(
                "They are used until they are {limit_hours} hours old (aadauth.signing_key_max_age)."
            )
        };
        let hint = "The column last_error of the view aadauth.signing_keys shows why there are no newer ones.";
        log::line(Level::Warning, &message, Some(&detail), Some(hint));
        self.logged_at = Some(now);
    }
}

/// The age of the oldest fetched keys.
fn oldest_age() -> Option<Duration> {
    let fetched_at = shmem::keys(|table| {
        let sets = TokenVersion::ALL.map(|version| table.snapshot(None, version));
        let aging = sets
            .into_iter()
            .flatten()
            .filter(|(set, _)| set.source != Source::File);
        aging.map(|(set, _)| set.fetched_at).min()
    })?;
    let age = clock::micros().saturating_sub(fetched_at);
    Some(Duration::from_micros(age.try_into().unwrap_or_default()))
}
