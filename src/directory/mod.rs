//! The directory, as a process of the server asks it: through shared memory, since only the network
//! worker talks to the network.
//!
//! A question waits in the [`table`], from where the worker takes it; the answer comes back the same
//! way. The wait is bounded and serves interrupts, so that a cancelled query, a shutdown or the
//! authentication timeout ends it. What the directory says of groups is kept in the [`groups`] cache.

mod log;
pub mod worker;

use std::time::{Duration, Instant};

use entra_api::{DirectorySettings, ErrorKind, Principal};
use entra_token::PrincipalKind;
use uuid::Uuid;

use crate::pg::latch::{self, Process};
use crate::shared::bytes::Bytes;
use crate::shared::directory::lookup_error::Answerless;
use crate::shared::directory::question::{Answer, Question};
use crate::shared::directory::scope::Scope;
use crate::shared::directory::table::{Expired, GRACE, Ticket};
use crate::shared::shmem;
use crate::{clock, settings};

/// What is known of a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    pub is_member: bool,
    /// Whether the directory had been asked before, and wasn't for this.
    pub is_cached: bool,
}

/// Looks for the principal whose user principal name (users) or display name (others) this is.
///
/// # Errors
/// [`Answerless`]; within [`ErrorKind`] there is none of that name, or more than one.
pub fn find_by_name(name: &str) -> Result<Principal, Answerless> {
    let name = Bytes::new(name.as_bytes()).ok_or_else(|| Answerless::Directory {
        kind: ErrorKind::NotFound,
        message: "no principal has a name as long as that".to_owned(),
    })?;
    find(Question::ByName(name))
}

/// Looks for the principal with this object id.
///
/// # Errors
/// [`Answerless`].
pub fn find_by_object_id(object_id: Uuid) -> Result<Principal, Answerless> {
    find(Question::ByObjectId(object_id))
}

/// Looks for the service principal of the application with this id.
///
/// # Errors
/// [`Answerless`].
pub fn find_by_app_id(app_id: Uuid) -> Result<Principal, Answerless> {
    find(Question::ByAppId(app_id))
}

/// Whether the principal is in the group, directly or through other groups: from the cache, else from
/// the directory. `kind` is that of the principal, a user or a service principal.
///
/// # Errors
/// [`Answerless`].
pub fn membership(
    kind: PrincipalKind,
    member: Uuid,
    group: Uuid,
) -> Result<Membership, Answerless> {
    let settings = settings::directory().ok_or(Answerless::NotConfigured)?;
    let scope = Scope::of(&settings).ok_or(Answerless::NotConfigured)?;
    let (ttl, now) = (settings::group_cache_ttl(), clock::micros());
    let known = shmem::groups(|cache| cache.lookup(&scope, member, group, ttl, now));
    if let Some(is_member) = known {
        return Ok(Membership {
            is_member,
            is_cached: true,
        });
    }
    let question = Question::Membership {
        kind,
        member,
        group,
    };
    match ask_in(scope, question)? {
        Answer::Member(is_member) => Ok(Membership {
            is_member,
            is_cached: false,
        }),
        _ => Err(unfitting()),
    }
}

/// Whether the directory lets the server ask all that it may have to ask.
///
/// # Errors
/// [`Answerless`].
pub fn probe() -> Result<(), Answerless> {
    match ask(Question::Probe)? {
        Answer::Ready => Ok(()),
        _ => Err(unfitting()),
    }
}

/// Forgets who is in the group, so that the directory is asked again.
pub fn forget_group(group: Uuid) {
    shmem::change_groups(|cache| cache.forget(group));
}

fn find(question: Question) -> Result<Principal, Answerless> {
    match ask(question)? {
        Answer::Found(principal) => Ok(principal.into()),
        _ => Err(unfitting()),
    }
}

fn ask(question: Question) -> Result<Answer, Answerless> {
    let settings: DirectorySettings = settings::directory().ok_or(Answerless::NotConfigured)?;
    let scope = Scope::of(&settings).ok_or(Answerless::NotConfigured)?;
    ask_in(scope, question)
}

/// Puts the question and waits for the answer.
fn ask_in(scope: Scope, question: Question) -> Result<Answer, Answerless> {
    let own = Process::own().ok_or(Answerless::WorkerNotRunning)?;
    let patience = settings::directory_timeout();
    let (ticket, worker) = shmem::change_questions(|table| {
        let ticket = table.ask(own, scope, question, clock::micros(), patience);
        (ticket, table.worker())
    });
    let asked = Asked(ticket?);
    if let Some(worker) = worker {
        worker.wake();
    }
    asked.wait(patience + GRACE)?.into_result()
}

/// A question of this process in the table. Dropped, it is there no longer; a FATAL drops nothing, and
/// then it's there until its time is over.
struct Asked(Ticket);

impl Asked {
    fn wait(self, patience: Duration) -> Result<Answer, Answerless> {
        let deadline = Instant::now() + patience;
        loop {
            match shmem::change_questions(|table| table.collect(self.0)) {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(Expired) => return Err(Answerless::TimedOut),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Answerless::TimedOut);
            }
            // One millisecond more, since the latch's clock has no finer step.
            latch::wait(left + Duration::from_millis(1));
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        shmem::change_questions(|table| table.leave(self.0));
    }
}

/// An answer to another question, which the table does not give.
fn unfitting() -> Answerless {
    Answerless::Directory {
        kind: ErrorKind::BadAnswer,
        message: "the answer does not belong to the question".to_owned(),
    }
}

/// How many questions to the directory take up a slot, for the test that none is ever lost.
#[cfg(feature = "fault-injection")]
#[pgrx::pg_extern(schema = "aadauth")]
fn directory_slots_taken() -> i64 {
    let taken = shmem::questions(|table| table.taken(clock::micros()));
    i64::try_from(taken).unwrap_or(i64::MAX)
}
