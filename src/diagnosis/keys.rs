//! The signing keys and the worker that fetches them.

use std::time::Duration;

use entra_token::TokenVersion;

use super::finding::{Code, Finding};
use crate::settings::{self, Authentication};
use crate::shared::keys::stored::Source;
use crate::shared::shmem;
use crate::shared::workers::Worker;
use crate::{clock, keys};

const PLACE: &str = "aadauth.signing_keys";

pub fn check() -> Vec<Finding> {
    if settings::authentication() == Authentication::Postgresql || settings::tenant().is_none() {
        return Vec::new();
    }
    clock_off().into_iter().chain(missing_or_old()).collect()
}

/// By the date in the authority's last response.
fn clock_off() -> Option<Finding> {
    // The date has whole seconds, and the response takes time to arrive.
    const TOLERANCE: i64 = 5;
    let ahead = keys::clock_check()?.ahead;
    if ahead.abs() <= settings::clock_skew().max(TOLERANCE) {
        return None;
    }
    let direction = if ahead > 0 { "ahead of" } else { "behind" };
    Some(Finding::new(
        Code::ClockOff,
        "clock",
        format!(
            "This machine's clock is {} seconds {direction} the authority's, more than aadauth.clock_skew allows, so tokens \
             are refused as expired or not yet valid.",
            ahead.abs()
        ),
        "Synchronize the machine's clock with a time server (chrony, systemd-timesyncd).",
    ))
}

fn missing_or_old() -> Option<Finding> {
    let (sets, problem) = shmem::keys(|table| {
        let sets = TokenVersion::ALL.map(|version| table.snapshot(None, version));
        (sets, table.last_attempt().1)
    });
    if !shmem::worker(Worker::Network).is_running() {
        return Some(worker_not_running());
    }
    let because = match &problem {
        Some(problem) => format!(" The last attempt to renew them failed: {problem}."),
        None => String::new(),
    };
    let remedy = "Fix the cause of the last failure: check the network between this machine and the authority, \
                  the system's certificate authorities (Debian's package ca-certificates), aadauth.ca_file and aadauth.jwks_file. The keys are fetched again every few minutes, and on reload.";
    let oldest = sets
        .iter()
        .flatten()
        .filter(|(sourced, _)| sourced.source != Source::File)
        .map(|(sourced, _)| sourced.fetched_at)
        .min();
    let age = oldest.map_or(Duration::ZERO, |at| {
        Duration::from_micros(
            clock::micros()
                .saturating_sub(at)
                .try_into()
                .unwrap_or_default(),
        )
    });
    let limit = settings::signing_key_max_age();
    let hours = age.as_secs() / 3600;
    let (code, state) = if age > limit {
        (
            Code::SigningKeysMissing,
            format!(
                "The signing keys are {hours} hours old; keys older than aadauth.signing_key_max_age are not used.{because}"
            ),
        )
    } else if !keys::are_served() {
        (
            Code::SigningKeysMissing,
            format!("There are no signing keys, so every token is refused.{because}"),
        )
    } else if age >= keys::WARNING_AGE || problem.is_some() {
        let left = (limit.as_secs() / 3600).saturating_sub(hours);
        let state = match oldest {
            // Those of a file do not age.
            None => "The signing keys could not be renewed, and are still used.".to_owned(),
            Some(_) => format!(
                "The signing keys are {hours} hours old, and are used for {left} hours more."
            ),
        };
        (Code::SigningKeysNotRenewed, state + &because)
    } else {
        return None;
    };
    Some(Finding::new(code, PLACE, state, remedy))
}

fn worker_not_running() -> Finding {
    Finding::new(
        Code::NetworkWorkerNotRunning,
        "max_worker_processes",
        "The background worker \"aadauth network worker\" is not running, so signing keys are not renewed.",
        "Raise max_worker_processes, and restart the server; if it is high enough, the server log has the reason why the worker ended.",
    )
}
