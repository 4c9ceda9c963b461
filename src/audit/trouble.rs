//! Saying once that events can't be written, and once that they can again.

use std::io::{self, ErrorKind};

use super::flood;
use crate::clock;
use crate::pg::log::{self, Level};
use crate::settings::{self, AuditFailure};
use crate::shared::outcome::Outcome;
use crate::shared::shmem;
use crate::shared::spool::Share;

/// A disk on which now one event finds room and now none must not fill the log as well.
const LEAST_PAUSE: i64 = 60 * 1_000_000;

/// Notes that an event could not be written, and says so if the one before could.
pub fn say(share: Share, error: &io::Error) {
    let now = clock::micros();
    shmem::counters().not_recorded();
    let is_news = shmem::change_spool(|state| {
        let trouble = state.trouble_of(share);
        trouble.counted += 1;
        if trouble.since == 0 {
            trouble.since = now;
        }
        let is_news = trouble.said < trouble.since && now - trouble.said > LEAST_PAUSE;
        if is_news {
            trouble.said = now;
        }
        is_news
    });
    if !is_news {
        return;
    }
    let (whose, consequence) = match (share, settings::audit_failure()) {
        (Share::Half, _) => ("refused sign-ins", "They are only counted."),
        (Share::Whole, AuditFailure::Allow) => (
            "sign-ins",
            "They are only counted, and go on, since aadauth.audit_failure is \"allow\".",
        ),
        (Share::Whole, AuditFailure::Refuse) => (
            "sign-ins",
            "Good ones are refused, since aadauth.audit_failure is \"refuse\".",
        ),
    };
    let hint = match error.kind() {
        ErrorKind::QuotaExceeded => {
            "See why events are not in the table yet (SELECT * FROM aadauth.check_configuration()), or raise \
             aadauth.audit_spool_limit."
        }
        _ => "Look at the space and the permissions of the data directory's aadauth/spool.",
    };
    log::line(
        Level::Warning,
        &format!("events of {whose} can't be written: {error}"),
        Some(consequence),
        Some(hint),
    );
}

/// Says that an event which is in the spool may not be on disk.
pub fn say_unsynced(error: &io::Error) {
    log::line(
        Level::Warning,
        &format!("the event of a sign-in could not be forced to disk: {error}"),
        Some("It is recorded, unless the machine fails. aadauth.audit_sync asks for more."),
        Some("Look at the disk that holds the data directory."),
    );
}

/// Notes that an event could be written, and says so if the one before could not.
pub fn is_over(share: Share) {
    let (is_over, has_lost) = shmem::spool(|state| {
        let is_over = state.trouble.iter().all(|trouble| trouble.since == 0);
        (is_over, state.lost.iter().any(|lost| *lost > 0))
    });
    if has_lost {
        count_lost();
    }
    if is_over {
        return;
    }
    let counted = shmem::change_spool(|state| state.end_trouble(share));
    if counted > 0 {
        let detail = format!("{counted} have been counted instead.");
        let message = "events of sign-ins are written again";
        log::line(Level::Log, message, Some(&detail), None);
    }
}

/// Moves what is counted in memory alone to the flood table.
fn count_lost() {
    for outcome in Outcome::ALL {
        let lost = shmem::change_spool(|state| std::mem::take(state.lost_of(outcome)));
        if lost > 0 && flood::count_unrecorded(outcome, lost).is_err() {
            shmem::change_spool(|state| *state.lost_of(outcome) += lost);
        }
    }
}
