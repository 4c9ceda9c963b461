//! The limit on what the server log has of refused sign-ins (`aadauth.log_rate`): as many of one reason in a second,
//! and then one line that says how many were left out. The audit has, or counts, each of them.

use std::time::Duration;

use entra_token::Reason;

use crate::pg::log::{self, Level};
use crate::shared::log_lines::LeftOut;
use crate::shared::shmem;
use crate::shared::workers::Worker;
use crate::{clock, settings};

/// Whether a sign-in that is refused now for `reason` is logged. Call it once for each.
pub fn admit(reason: Reason) -> bool {
    let rate = settings::log_rate();
    // Without LOG, the count would not be there either.
    if rate == 0 || log::omits_log() {
        return true;
    }
    let admission = shmem::log_lines().admit(reason, second(), rate);
    if let Some(earlier) = admission.earlier {
        log_count(earlier);
    }
    if admission.is_first_left_out {
        shmem::worker(Worker::Session).wake();
    }
    admission.is_logged
}

/// Logs how many were left out in the seconds that are over, and returns how long until the next call. For the session
/// worker, which runs on standbys, too.
pub fn report() -> Duration {
    let (left_out, is_pending) = shmem::log_lines().take(second());
    left_out.into_iter().for_each(log_count);
    if is_pending {
        Duration::from_secs(1)
    } else {
        // Until it is woken.
        Duration::MAX
    }
}

/// Logs how many were left out, in this second as well: the server may be about to stop.
pub fn report_all() {
    let (left_out, _) = shmem::log_lines().take(u32::MAX);
    left_out.into_iter().for_each(log_count);
}

fn log_count(left_out: LeftOut) {
    let LeftOut {
        reason,
        second,
        count,
    } = left_out;
    let message =
        format!("left out the log lines of {count} sign-ins that were refused for \"{reason}\"");
    let detail = clock::timestamp(i64::from(second) * 1_000_000).map(|time| {
        format!(
            "They were refused in the second that began at {}.",
            log::time(time)
        )
    });
    log::line(
        Level::Log,
        &message,
        detail.as_deref(),
        Some(
            "The audit counts each. aadauth.log_rate says how many of one reason are logged in a second.",
        ),
    );
}

/// Since the Unix epoch.
fn second() -> u32 {
    u32::try_from(clock::micros() / 1_000_000).unwrap_or_default()
}
