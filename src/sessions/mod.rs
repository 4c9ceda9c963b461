//! Live sessions: the principal of each backend that was opened with a token, and how sessions are ended.
//!
//! A backend enters the table before its sign-in checks the revocations for the last time, and the session
//! worker ([`crate::sessions::worker`]) loads the revocations before it reads the table. So a principal
//! that is revoked while signing in is either refused by the sign-in or ended by the worker.
//!
//! Sessions are ended by SIGTERM, so that PostgreSQL decides where a backend may exit: never in the middle
//! of a commit.

mod error;
mod functions;
mod install;
mod marker;
mod revoked_principals;
mod view;
pub mod worker;

use std::cell::RefCell;
use std::time::Duration;

use entra_token::{PrincipalKind, Reason, RevocableIds};

use crate::pg::latch::Process;
use crate::pg::log::{self, Level};
use crate::pg::termination;
use crate::shared::shmem;
use crate::{clock, settings};

use crate::shared::sessions::revocations::RevocationList;
use crate::shared::sessions::table::{Place, Session};
use crate::shared::sessions::termination::TerminationReason;
use crate::shared::workers::Worker;
use crate::text::{SanitizedText, in_field};

/// How long a sign-in waits for the list of revocations to be loaded.
const LOAD_TIMEOUT: Duration = Duration::from_secs(2);

struct Own {
    session: Session,
    /// The sign-in has been accepted, so that the session's end may be logged.
    has_begun: bool,
}

thread_local! {
    // Empty in the postmaster, and a backend has one thread. SQL cannot change it.
    static OWN: RefCell<Option<Own>> = const { RefCell::new(None) };
}

/// Puts this backend's session into the table, replacing its previous entry.
///
/// # Errors
/// The process has no place in the table.
pub fn enter(session: Session) -> Result<(), Reason> {
    let own = Process::own().ok_or(Reason::InternalError)?;
    shmem::change_sessions(|places| {
        let place = place_of(places, own).ok_or(Reason::InternalError)?;
        shmem::set_termination(own, None);
        *place = Place(Some(session));
        Ok(())
    })?;
    OWN.replace(Some(Own {
        session,
        has_begun: false,
    }));
    Ok(())
}

/// Notes that the sign-in has been accepted: from here on the session may have an end to log.
pub fn begin() {
    OWN.with_borrow_mut(|own| {
        if let Some(own) = own {
            own.has_begun = true;
        }
    });
}

/// Removes this backend's session from the table, if it is there.
pub fn leave() {
    let Some(own) = OWN.take() else { return };
    let reason = shmem::own_termination();
    if let Some(process) = Process::own() {
        shmem::change_sessions(|places| {
            if let Some(place) = place_of(places, process) {
                *place = Place::EMPTY;
            }
            shmem::set_termination(process, None);
        });
    }
    // What we have ended is logged in any case.
    if own.has_begun && (reason.is_some() || settings::logs_session_ends()) {
        announce_end(&own.session, reason);
    }
}

/// This backend's session, as it was at the sign-in.
pub fn own() -> Option<Session> {
    OWN.with_borrow(|own| own.as_ref().map(|own| own.session))
}

/// [`own`], if it is known who uses the session: not if members of a group share it through a pooler.
pub fn own_principal() -> Option<Session> {
    own().filter(|session| !session.is_shared())
}

/// Waits until the revocations are loaded, two seconds at most. The wait serves interrupts.
///
/// # Errors
/// `revocations-unavailable`.
pub fn await_revocations() -> Result<(), Reason> {
    let is_loaded = || shmem::revocations(RevocationList::is_loaded).then_some(());
    shmem::worker(Worker::Session)
        .wait_for(LOAD_TIMEOUT, is_loaded)
        .ok_or(Reason::RevocationsUnavailable)
}

/// Whether a sign-in or session with these ids is revoked now.
///
/// # Errors
/// `revocations-unavailable`.
pub fn is_revoked(ids: &RevocableIds) -> Result<bool, Reason> {
    let now = clock::micros();
    shmem::revocations(|list| {
        list.is_loaded()
            .then(|| ids.any(|id| list.contains(id, now)))
            .ok_or(Reason::RevocationsUnavailable)
    })
}

/// Ends every session of which `reason` says why.
///
/// The lock keeps sessions in the table, so that each pid is still that session's.
fn end(reason: impl Fn(&Session) -> Option<TerminationReason>) {
    shmem::change_sessions(|places| {
        for (number, place) in (0..).zip(places.iter()) {
            let Some(session) = &place.0 else { continue };
            let Some(process) = Process::from_number(number) else {
                continue;
            };
            let already = shmem::termination_of(process);
            // A backend that was signaled before and still runs may be signaled again.
            if let Some(reason) = already.or_else(|| reason(session)) {
                shmem::set_termination(process, Some(reason));
                termination::terminate(session.pid);
            }
        }
    });
}

/// Ends the sessions of everybody who is revoked.
pub fn end_revoked() {
    let now = clock::micros();
    shmem::revocations(|list| {
        let is_revoked = |session: &Session| session.ids.any(|id| list.contains(id, now));
        end(|session| is_revoked(session).then_some(TerminationReason::Revoked));
    });
}

/// Ends the sessions whose tokens have expired.
pub fn end_expired() {
    let (now, clock_skew) = (clock::micros() / 1_000_000, settings::clock_skew());
    end(|session| {
        session
            .is_expired(now, clock_skew)
            .then_some(TerminationReason::Expired)
    });
}

/// Ends the sessions that no longer have the identity that their role has now. Returns whether there are any, which may
/// not have ended yet.
pub fn end_outdated(is_outdated: impl Fn(&Session) -> bool) -> bool {
    let is_there = shmem::sessions(|places| {
        let mut sessions = places.iter().filter_map(|place| place.0.as_ref());
        sessions.any(&is_outdated)
    });
    if is_there {
        end(|session| is_outdated(session).then_some(TerminationReason::Remapped));
    }
    is_there
}

/// The principal of a session, in the format that log queries written for Azure expect.
pub fn person(kind: PrincipalKind, name: Option<&str>, app_id: Option<uuid::Uuid>) -> String {
    match (kind, name, app_id) {
        (PrincipalKind::Service, _, Some(app_id)) => format!("appid={app_id}"),
        (_, name, _) => format!("UPN={}", in_field(&name.unwrap_or_default())),
    }
}

fn place_of(places: &mut [Place], process: Process) -> Option<&mut Place> {
    places.get_mut(usize::try_from(process.number()).ok()?)
}

fn announce_end(session: &Session, reason: Option<TerminationReason>) {
    let upn = session.upn.as_str();
    let person = person(session.kind, Some(upn), session.app_id);
    let millis = clock::micros().saturating_sub(session.signed_in_at).max(0) / 1000;
    let (hours, minutes, seconds) = (millis / 3_600_000, millis / 60_000 % 60, millis / 1000 % 60);
    let cause = reason.map_or(String::new(), |reason| format!(" ({})", reason.cause()));
    let pooler = if session.is_pooled() {
        format!(
            " pooler=\"{}\"",
            in_field(&SanitizedText::from(session.pooler.as_str()))
        )
    } else {
        String::new()
    };
    let message = format!(
        "Microsoft Entra ID session ended{cause}: {person} oid={} role=\"{}\"{pooler} duration={hours}:{minutes:02}:{seconds:02}.{:03}",
        session.object_id,
        in_field(&SanitizedText::from(session.role.as_str())),
        millis % 1000
    );
    log::line(Level::Log, &message, None, None);
}
