//! The list of revoked principals, the worker that loads it, and what a recovery may have taken from it.

use std::fs;
use std::time::{Duration, SystemTime};

use super::finding::{Code, Finding};
use crate::pg::server;
use crate::settings;
use crate::shared::sessions::revocations::RevocationList;
use crate::shared::shmem;
use crate::shared::workers::Worker;

const PLACE: &str = "aadauth.database";

/// How long after a promotion or recovery the finding is shown.
const SHOWN: Duration = Duration::from_secs(7 * 24 * 3600);

pub fn check() -> Vec<Finding> {
    [list(), recovered()].into_iter().flatten().collect()
}

/// A promoted standby may not have received the last changes, and a backup does not have them.
fn recovered() -> Option<Finding> {
    let history = server::timeline_history()?;
    let at = fs::metadata(history).ok()?.modified().ok()?;
    // A time in the future is one of a clock that was set back.
    let is_recent = SystemTime::now()
        .duration_since(at)
        .map_or(true, |age| age < SHOWN);
    is_recent.then(|| {
        Finding::new(
            Code::RevocationsRecovered,
            "aadauth.revoked_principals",
            "The server was promoted or recovered from a backup within the last week. Principals that were revoked after the \
             point up to which it was recovered are not revoked here.",
            "Compare aadauth.revocations with the server log from before, where each change is logged as \"principal revoked\" \
             or \"principal restored\", and revoke again what is missing. The finding ends a week after the recovery.",
        )
    })
}

fn list() -> Option<Finding> {
    let database = settings::database();
    let worker = shmem::worker(Worker::Session);
    let runs = worker.is_running();
    if runs && worker.problem().is_none() {
        return None;
    }
    let cause = if runs {
        "The server log has the cause, in the message that begins with \"revocations are not read\"."
    } else {
        "The aadauth session worker is not connected to the database: create the database or set aadauth.database, and \
         reload; max_worker_processes must allow the worker to start. The server log has the cause."
    };
    Some(if shmem::revocations(RevocationList::is_loaded) {
        Finding::new(
            Code::RevocationsNotRenewed,
            PLACE,
            format!(
                "The list of revoked principals can no longer be read from database \"{database}\"; the list that was read last is in force."
            ),
            cause,
        )
    } else {
        Finding::new(
            Code::RevocationsNotLoaded,
            PLACE,
            format!(
                "The list of revoked principals could not be read from database \"{database}\"; sign-ins with tokens are refused."
            ),
            cause,
        )
    })
}
