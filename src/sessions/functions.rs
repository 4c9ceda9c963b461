//! The SQL functions that revoke principals, and restore them.
//!
//! PUBLIC may execute them, and each checks whether this session may map roles, as the functions that map
//! roles do. The session worker makes the change, so that it is in force when the function returns, whatever becomes of
//! the transaction, and no lock of another session can delay it unnoticed.

use std::cell::Cell;

use pgrx::prelude::*;
use uuid::Uuid;

use super::error::RevocationError;
use crate::pg::latch::Process;
use crate::pg::log::{self, Level};
use crate::pg::text::SqlText;
use crate::pg::{exit, privileges, server};
use crate::principals;
use crate::principals::admin::privilege;
use crate::principals::mapped::MappedRoles;
use crate::shared::bytes::Bytes;
use crate::shared::sessions::requests::{
    Answer, COMMIT_TIMEOUT, Change, MAX_REASON, Request, TIMEOUT, Ticket,
};
use crate::shared::shmem;
use crate::shared::workers::Worker;

/// Denies sign-in to a principal until that time: to a user, to a group and all who sign in through it, or
/// to a service by either of its ids. Its sessions end at once, and a ROLLBACK does not undo it.
#[pg_extern(schema = "aadauth", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
pub(super) fn revoke(
    object_id: Option<pgrx::Uuid>,
    until: default!(Option<TimestampWithTimeZone>, "'infinity'"),
    reason: default!(Option<SqlText>, "NULL"),
) {
    let revoke = || {
        let object_id = prepare("revoke", object_id)?;
        let roles = manageable_roles(object_id)?;
        let until = i64::from(until.ok_or(RevocationError::Null("until"))?);
        if until <= i64::from(clock_timestamp()) {
            return Err(RevocationError::Past);
        }
        let reason = reason.map(|SqlText(text)| {
            Bytes::<MAX_REASON>::new(text.as_bytes())
                .ok_or(RevocationError::ReasonTooLong(text.len()))
        });
        let reason = reason.transpose()?;
        let sessions = request(object_id, Change::Revoke { until }, reason)?;
        if roles.is_empty() {
            log::line(
                Level::Notice,
                &format!("object id {object_id} is not mapped to a role"),
                Some(
                    "Sign-ins of this principal through a mapped group, or as an application with this id, are denied as well.",
                ),
                None,
            );
        }
        let noun = if sessions == 1 { "session" } else { "sessions" };
        let message = format!("terminating {sessions} {noun} of the principal");
        log::line(Level::Notice, &message, None, None);
        Ok(())
    };
    revoke().unwrap_or_else(|error: RevocationError| error.raise())
}

/// Allows a principal to sign in again. A ROLLBACK does not undo it.
#[pg_extern(schema = "aadauth", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
pub(super) fn restore(object_id: Option<pgrx::Uuid>) {
    let restore = || {
        let object_id = prepare("restore", object_id)?;
        manageable_roles(object_id)?;
        request(object_id, Change::Restore, None).map(drop)
    };
    restore().unwrap_or_else(|error: RevocationError| error.raise())
}

/// Refuses sessions that may not call the function, and their own principal.
fn prepare(function: &'static str, object_id: Option<pgrx::Uuid>) -> Result<Uuid, RevocationError> {
    principals::ensure_may_change(function)?;
    let object_id = object_id.ok_or(RevocationError::Null("object_id"))?;
    // Its rights would be judged by what the transaction has changed, and may take back.
    if server::has_written() && !privileges::is_superuser(privileges::current_user()) {
        return Err(RevocationError::HasChanges);
    }
    let object_id = Uuid::from_bytes(*object_id.as_bytes());
    ensure_not_own(object_id)?;
    Ok(object_id)
}

/// The roles that are mapped to the principal.
///
/// # Errors
/// This session must not revoke or restore the principal.
fn manageable_roles(object_id: Uuid) -> Result<Vec<pg_sys::Oid>, RevocationError> {
    let mapped = MappedRoles::read();
    let mut roles = Vec::new();
    for role in mapped.iter().filter(|role| role.object_id == object_id) {
        let needs_superuser = role.admin || privilege(role.role).is_some();
        if needs_superuser && !privileges::is_superuser(privileges::current_user()) {
            let name = privileges::name_of(role.role).unwrap_or_else(|| role.role.to_string());
            return Err(RevocationError::AdminPrincipal(name));
        }
        roles.push(role.role);
    }
    Ok(roles)
}

/// Refuses the principal of this session, which could otherwise lift or shorten its own revocation.
fn ensure_not_own(object_id: Uuid) -> Result<(), RevocationError> {
    let is_own = super::own().is_some_and(|session| session.ids.contain(object_id));
    if is_own && !privileges::is_superuser(privileges::current_user()) {
        return Err(RevocationError::OwnPrincipal);
    }
    Ok(())
}

/// A request that its session waits for. When it no longer does, also after an ERROR, the place is free.
struct Waiting(Ticket);

impl Waiting {
    fn new(request: Request) -> Option<Waiting> {
        thread_local! {
            static LEAVES_AT_EXIT: Cell<bool> = const { Cell::new(false) };
        }
        let own = Process::own()?;
        // A FATAL error runs no destructor.
        if !LEAVES_AT_EXIT.replace(true) {
            exit::before_exit(|| {
                if let Some(own) = Process::own() {
                    shmem::change_requests(|requests| requests.leave_all(own));
                }
            });
        }
        shmem::change_requests(|requests| requests.ask(own, request)).map(Waiting)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        shmem::change_requests(|requests| requests.leave(self.0));
    }
}

/// Has the session worker make the change, and returns how many sessions end.
fn request(
    object_id: Uuid,
    change: Change,
    reason: Option<Bytes<MAX_REASON>>,
) -> Result<u32, RevocationError> {
    let (by, by_id) = caller();
    let request = Request {
        object_id,
        change,
        reason,
        by: Bytes::cut(&by),
        by_id,
        by_superuser: privileges::is_superuser(privileges::current_user()),
    };
    let waiting = Waiting::new(request).ok_or(RevocationError::Busy)?;
    let ticket = waiting.0;
    let worker = shmem::worker(Worker::Session);
    worker.wake();
    let collect = || shmem::change_requests(|requests| requests.collect(ticket));
    let answer = match worker.wait_for(TIMEOUT, collect) {
        Some(answer) => answer,
        None if shmem::change_requests(|requests| requests.withdraw(ticket)) => {
            return Err(RevocationError::Unanswered);
        }
        None => worker
            .wait_for(COMMIT_TIMEOUT, collect)
            .ok_or(RevocationError::Unknown)?,
    };
    drop(waiting);
    match answer {
        Answer::Done { sessions } => Ok(sessions),
        Answer::NotRevoked => Err(RevocationError::NotRevoked(object_id)),
        Answer::RevokedBySuperuser => Err(RevocationError::RevokedBySuperuser),
        Answer::TooMany => Err(RevocationError::TooMany),
        Answer::TooManyByAdmins => Err(RevocationError::TooManyByAdmins),
        Answer::TooManyByOneAdmin => Err(RevocationError::TooManyByOneAdmin),
        Answer::Unknown => Err(RevocationError::Unknown),
        Answer::Failed {
            is_locked,
            message,
            hint,
        } => Err(RevocationError::Failed {
            is_locked,
            message: message.as_str().to_owned(),
            hint: (!hint.as_slice().is_empty()).then(|| hint.as_str().to_owned()),
        }),
    }
}

/// The principal that has signed in, with its object id, or the session's role if there is none or nobody knows it.
fn caller() -> (String, Option<Uuid>) {
    match super::own_principal() {
        Some(session) => (session.principal(), Some(session.object_id)),
        None => {
            let role = privileges::session_user();
            let name = privileges::name_of(role).unwrap_or_else(|| role.to_string());
            (name, None)
        }
    }
}
