//! Directory lookups by the server's processes: through shared memory, since only the network worker uses
//! the network.
//!
//! A query waits in the table ([`crate::shared::directory::table`]) until the worker takes it, and its
//! answer returns the same way. The wait is bounded and serves interrupts, so that a canceled statement, a
//! shutdown or the authentication timeout ends it. Group memberships are cached
//! ([`crate::shared::directory::groups`]).

mod log;
pub mod worker;

use std::time::{Duration, Instant};

use entra_api::{DirectorySettings, ErrorKind, Principal};
use entra_token::PrincipalKind;
use uuid::Uuid;

use crate::pg::latch::{self, Process};
use crate::shared::bytes::Bytes;
use crate::shared::directory::lookup_error::LookupError;
use crate::shared::directory::query::{Answer, Query};
use crate::shared::directory::scope::Scope;
use crate::shared::directory::table::{Expired, GRACE_PERIOD, Ticket};
use crate::shared::shmem;
use crate::shared::workers::Worker;
use crate::{clock, settings};

/// The result of a membership lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    pub is_member: bool,
    /// Whether it comes from the cache.
    pub is_cached: bool,
}

/// Finds the principal with this user principal name (users) or display name (others).
///
/// # Errors
/// [`LookupError`]; within [`ErrorKind`] there is none of that name, or more than one.
pub fn find_by_name(name: &str) -> Result<Principal, LookupError> {
    let name = Bytes::new(name.as_bytes()).ok_or_else(|| LookupError::Directory {
        kind: ErrorKind::NotFound,
        message: "the name is longer than that of any principal".to_owned(),
    })?;
    find(Query::ByName(name))
}

/// Finds the principal with this object id.
///
/// # Errors
/// [`LookupError`].
pub fn find_by_object_id(object_id: Uuid) -> Result<Principal, LookupError> {
    find(Query::ByObjectId(object_id))
}

/// Finds the service principal of the application with this id.
///
/// # Errors
/// [`LookupError`].
pub fn find_by_app_id(app_id: Uuid) -> Result<Principal, LookupError> {
    find(Query::ByAppId(app_id))
}

/// Whether the principal is in the group, directly or through other groups: from the cache, or else from
/// the directory. `kind` is the principal's: a user or a service principal.
///
/// If it is not to wait for the directory, the answer is there at a later call by this process.
///
/// # Errors
/// [`LookupError`]; `TimedOut` also if it is not to wait.
pub fn membership(
    kind: PrincipalKind,
    member: Uuid,
    group: Uuid,
    waits: bool,
) -> Result<Membership, LookupError> {
    let settings = settings::directory().ok_or(LookupError::NotConfigured)?;
    let scope = Scope::from_settings(&settings).ok_or(LookupError::NotConfigured)?;
    let (ttl, now) = (settings::group_cache_ttl(), clock::micros());
    let known = shmem::groups(|cache| cache.lookup(&scope, member, group, ttl, now));
    if let Some(is_member) = known {
        return Ok(Membership {
            is_member,
            is_cached: true,
        });
    }
    let query = Query::Membership {
        kind,
        member,
        group,
    };
    let answer = if waits {
        submit_in(scope, query)
    } else {
        submit_without_waiting(scope, query)
    };
    match answer? {
        Answer::Member(is_member) => Ok(Membership {
            is_member,
            is_cached: false,
        }),
        _ => Err(mismatched_answer()),
    }
}

/// Checks that the server may make all requests that it may need.
///
/// # Errors
/// [`LookupError`].
pub fn probe() -> Result<(), LookupError> {
    match submit(Query::Probe)? {
        Answer::Ready => Ok(()),
        _ => Err(mismatched_answer()),
    }
}

/// Removes the group's memberships from the cache, so that the directory is queried again.
pub fn forget_group(group: Uuid) {
    shmem::change_groups(|cache| cache.invalidate(group));
}

fn find(query: Query) -> Result<Principal, LookupError> {
    match submit(query)? {
        Answer::Found(principal) => Ok(principal.into()),
        _ => Err(mismatched_answer()),
    }
}

fn submit(query: Query) -> Result<Answer, LookupError> {
    let settings: DirectorySettings = settings::directory().ok_or(LookupError::NotConfigured)?;
    let scope = Scope::from_settings(&settings).ok_or(LookupError::NotConfigured)?;
    submit_in(scope, query)
}

/// Submits the query and waits for the answer.
fn submit_in(scope: Scope, query: Query) -> Result<Answer, LookupError> {
    let own = Process::own().ok_or(LookupError::WorkerNotRunning)?;
    let timeout = settings::directory_timeout();
    let worker = shmem::worker(Worker::Network);
    // Under the lock: a worker that ends answers the queries after it has left its entry.
    let ticket = shmem::change_queries(|table| {
        if !worker.is_running() {
            return Err(LookupError::WorkerNotRunning);
        }
        table.ask(own, scope, query, clock::micros(), timeout)
    });
    let handle = QueryHandle(ticket?);
    worker.wake();
    handle.wait(timeout + GRACE_PERIOD)?.into_result()
}

/// Submits the query, unless this process has and its time is not over, and returns the answer if it is there.
fn submit_without_waiting(scope: Scope, query: Query) -> Result<Answer, LookupError> {
    let own = Process::own().ok_or(LookupError::WorkerNotRunning)?;
    let timeout = settings::directory_timeout();
    let worker = shmem::worker(Worker::Network);
    let answer = shmem::change_queries(|table| {
        if !worker.is_running() {
            return Err(LookupError::WorkerNotRunning);
        }
        table.ask_again(own, scope, query, clock::micros(), timeout)
    });
    worker.wake();
    answer?.ok_or(LookupError::TimedOut)?.into_result()
}

/// A query of this process in the table. Dropping it removes the query. A FATAL drops nothing, and then
/// the query stays until it expires.
struct QueryHandle(Ticket);

impl QueryHandle {
    fn wait(self, timeout: Duration) -> Result<Answer, LookupError> {
        let deadline = Instant::now() + timeout;
        loop {
            match shmem::change_queries(|table| table.collect(self.0)) {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(Expired) => return Err(LookupError::TimedOut),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LookupError::TimedOut);
            }
            // One millisecond more, since the latch's timeout has millisecond resolution.
            latch::wait(left + Duration::from_millis(1));
        }
    }
}

impl Drop for QueryHandle {
    fn drop(&mut self) {
        shmem::change_queries(|table| table.leave(self.0));
    }
}

/// An answer of the wrong kind, which the table never gives.
fn mismatched_answer() -> LookupError {
    LookupError::Directory {
        kind: ErrorKind::BadAnswer,
        message: "the answer does not match the query".to_owned(),
    }
}

/// How many directory queries occupy a slot, for the test that none is ever lost.
#[cfg(feature = "fault-injection")]
#[pgrx::pg_extern(schema = "aadauth")]
fn directory_slots_taken() -> i64 {
    let taken = shmem::queries(|table| table.taken(clock::micros()));
    i64::try_from(taken).unwrap_or(i64::MAX)
}
