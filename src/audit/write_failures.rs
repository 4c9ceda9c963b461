//! Logs once that events cannot be written, and once that they are written again.

use std::io::{self, ErrorKind};

use super::aggregate;
use crate::clock;
use crate::pg::log::{self, Level};
use crate::settings::{self, AuditFailure};
use crate::shared::outcome::Outcome;
use crate::shared::shmem;
use crate::shared::spool::Quota;

/// A disk that has room for some events and not for others must not fill the log as well.
const MIN_LOG_INTERVAL: i64 = 60 * 1_000_000;

/// Records that an event could not be written, and logs it if the previous one could.
pub fn record_failure(quota: Quota, error: &io::Error) {
    let now = clock::micros();
    shmem::counters().not_recorded();
    let should_log = shmem::change_spool(|state| {
        let failures = state.write_failures_of(quota);
        failures.counted += 1;
        if failures.since == 0 {
            failures.since = now;
        }
        let should_log =
            failures.last_logged < failures.since && now - failures.last_logged > MIN_LOG_INTERVAL;
        if should_log {
            failures.last_logged = now;
        }
        should_log
    });
    if !should_log {
        return;
    }
    let (sign_ins, consequence) = match (quota, settings::audit_failure()) {
        (Quota::Half, _) => ("refused sign-ins", "They are only counted."),
        (Quota::Full, AuditFailure::Allow) => (
            "sign-ins",
            "They are accepted and only counted, because aadauth.audit_failure is \"allow\".",
        ),
        (Quota::Full, AuditFailure::Refuse) => (
            "sign-ins",
            "Valid sign-ins are refused, because aadauth.audit_failure is \"refuse\".",
        ),
    };
    let hint = match error.kind() {
        ErrorKind::QuotaExceeded => {
            "Find out why events are not moved to the table (SELECT * FROM aadauth.check_configuration()), or raise \
             aadauth.audit_spool_limit."
        }
        _ => {
            "Check free space and permissions of the directory aadauth/spool in the data directory."
        }
    };
    log::line(
        Level::Warning,
        &format!("events of {sign_ins} cannot be written: {error}"),
        Some(consequence),
        Some(hint),
    );
}

/// Logs that an event which is in the spool may not be on disk.
pub fn log_unsynced(error: &io::Error) {
    log::line(
        Level::Warning,
        &format!("could not flush the event of a sign-in to disk: {error}"),
        Some(
            "The event is recorded, but it may be lost if the machine fails, which aadauth.audit_sync is to prevent.",
        ),
        Some("Check the disk that holds the data directory."),
    );
}

/// Records that an event could be written, and logs it if the previous one could not.
pub fn record_success(quota: Quota) {
    let (has_failed, has_lost) = shmem::spool(|state| {
        let has_failed = state
            .write_failures
            .iter()
            .any(|failures| failures.since != 0);
        (has_failed, state.lost.iter().any(|lost| *lost > 0))
    });
    if has_lost {
        flush_lost();
    }
    if !has_failed {
        return;
    }
    let counted = shmem::change_spool(|state| state.end_write_failures(quota));
    if counted > 0 {
        let detail = format!("{counted} events were only counted.");
        let message = "events of sign-ins are written again";
        log::line(Level::Log, message, Some(&detail), None);
    }
}

/// Moves what is only counted in memory to the aggregate table.
fn flush_lost() {
    for outcome in Outcome::ALL {
        let lost = shmem::change_spool(|state| std::mem::take(state.lost_of(outcome)));
        if lost > 0 && aggregate::count_unrecorded(outcome, lost).is_err() {
            shmem::change_spool(|state| *state.lost_of(outcome) += lost);
        }
    }
}
