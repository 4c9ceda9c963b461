//! Live sessions: who is behind every backend that a token has opened, and what ends them.
//!
//! A backend enters the table before its sign-in looks at the revocations for the last time, and the
//! session worker ([`crate::sessions::worker`]) loads the revocations before it looks at the table. So
//! whoever is revoked while he signs in is either refused by the one or ended by the other.
//!
//! Sessions are ended by SIGTERM, so that it is PostgreSQL which says where a backend may die: never in
//! the middle of a commit.

mod error;
mod function;
mod install;
mod view;
pub mod worker;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use entra_token::{PrincipalKind, Reason, RevocableIds};

use crate::pg::ending as pg_ending;
use crate::pg::latch::{self, Process};
use crate::pg::log::{self, Level};
use crate::shared::shmem;
use crate::{clock, settings};

use crate::shared::sessions::revocations::RevocationList;
use crate::shared::sessions::table::{Place, Session};
use crate::shared::sessions::termination::Ending;

/// How long a sign-in waits for the list of revocations to be loaded.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);

/// The tables that the session worker and the functions trust.
pub const TABLES: [&str; 1] = ["revoked_principals"];

struct Own {
    session: Session,
    /// The sign-in has been announced, so that its end is as well.
    is_announced: bool,
}

thread_local! {
    // Empty in the postmaster, and a backend is a process of one thread. Nothing that SQL does changes it.
    static OWN: RefCell<Option<Own>> = const { RefCell::new(None) };
}

/// Puts this backend's session into the table, in place of what it had there.
///
/// # Errors
/// The process has no place in it.
pub fn enter(session: Session) -> Result<(), Reason> {
    let own = Process::own().ok_or(Reason::InternalError)?;
    shmem::change_sessions(|places| {
        let place = place_of(places, own).ok_or(Reason::InternalError)?;
        shmem::set_ending(own, None);
        *place = Place(Some(session));
        Ok(())
    })?;
    OWN.replace(Some(Own {
        session,
        is_announced: false,
    }));
    Ok(())
}

/// The sign-in is in the log; from now on the end of the session is to be, too.
pub fn announced() {
    OWN.with_borrow_mut(|own| {
        if let Some(own) = own {
            own.is_announced = true;
        }
    });
}

/// Takes this backend's session out of the table, if it has one there.
pub fn leave() {
    let Some(own) = OWN.take() else { return };
    let ending = shmem::own_ending();
    if let Some(process) = Process::own() {
        shmem::change_sessions(|places| {
            if let Some(place) = place_of(places, process) {
                *place = Place::EMPTY;
            }
            shmem::set_ending(process, None);
        });
    }
    if own.is_announced {
        announce_end(&own.session, ending);
    }
}

/// This backend's session, as it was when it was signed in to.
pub fn own() -> Option<Session> {
    OWN.with_borrow(|own| own.as_ref().map(|own| own.session))
}

/// Waits until the revocations are loaded, two seconds at most. The wait serves interrupts.
///
/// # Errors
/// `revocations-unavailable`.
pub fn await_revocations() -> Result<(), Reason> {
    let deadline = Instant::now() + PATIENCE;
    while !shmem::revocations(RevocationList::is_loaded) {
        if Instant::now() >= deadline {
            return Err(Reason::RevocationsUnavailable);
        }
        latch::wait(LOOK);
    }
    Ok(())
}

/// Whether a sign-in or session with these ids is revoked now.
///
/// # Errors
/// `revocations-unavailable`: nobody knows.
pub fn is_revoked(ids: &RevocableIds) -> Result<bool, Reason> {
    let now = clock::micros();
    shmem::revocations(|list| {
        list.is_loaded()
            .then(|| ids.any(|id| list.contains(id, now)))
            .ok_or(Reason::RevocationsUnavailable)
    })
}

/// Ends every session of which `ending` says why.
///
/// A session can't leave the table meanwhile, so that each pid is still that session's.
fn end(ending: impl Fn(&Session) -> Option<Ending>) {
    shmem::change_sessions(|places| {
        for (number, place) in (0..).zip(places.iter()) {
            let Some(session) = &place.0 else { continue };
            let Some(process) = Process::from_number(number) else {
                continue;
            };
            let already = shmem::ending_of(process);
            // Another signal changes nothing for a backend that has not come to an end yet.
            if let Some(ending) = already.or_else(|| ending(session)) {
                shmem::set_ending(process, Some(ending));
                pg_ending::terminate(session.pid);
            }
        }
    });
}

/// Ends the sessions of everybody who is revoked.
pub fn end_revoked() {
    let now = clock::micros();
    shmem::revocations(|list| {
        let is_revoked = |session: &Session| session.ids.any(|id| list.contains(id, now));
        end(|session| is_revoked(session).then_some(Ending::Revoked));
    });
}

/// Ends the sessions whose tokens have expired.
pub fn end_expired() {
    let (now, clock_skew) = (clock::micros() / 1_000_000, settings::clock_skew());
    end(|session| {
        session
            .is_expired(now, clock_skew)
            .then_some(Ending::Expired)
    });
}

/// Who a session is of, in the words that queries written for Azure look for.
pub fn person(kind: PrincipalKind, name: Option<&str>, app_id: Option<uuid::Uuid>) -> String {
    match (kind, name, app_id) {
        (PrincipalKind::Service, _, Some(app_id)) => format!("appid={app_id}"),
        (_, name, _) => format!("UPN={}", name.unwrap_or_default()),
    }
}

fn place_of(places: &mut [Place], process: Process) -> Option<&mut Place> {
    places.get_mut(usize::try_from(process.number()).ok()?)
}

fn announce_end(session: &Session, ending: Option<Ending>) {
    let upn = session.upn.as_str();
    let person = person(session.kind, Some(upn), session.app_id);
    let millis = clock::micros().saturating_sub(session.signed_in_at).max(0) / 1000;
    let (hours, minutes, seconds) = (millis / 3_600_000, millis / 60_000 % 60, millis / 1000 % 60);
    let cause = ending.map_or(String::new(), |ending| format!(" ({})", ending.cause()));
    let message = format!(
        "Microsoft Entra ID session ended{cause}: {person} oid={} role=\"{}\" duration={hours}:{minutes:02}:{seconds:02}.{:03}",
        session.object_id,
        session.role.as_str(),
        millis % 1000
    );
    log::line(Level::Log, &message, None, None);
}
