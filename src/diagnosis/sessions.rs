//! The list of revoked principals, and the worker that loads it.

use super::finding::{Code, Finding};
use crate::settings;
use crate::shared::sessions::revocations::RevocationList;
use crate::shared::shmem;
use crate::shared::workers::Worker;

const PLACE: &str = "aadauth.database";

pub fn check() -> Option<Finding> {
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
