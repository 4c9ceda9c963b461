//! The table of queries to the directory in shared memory, between the askers and the worker.
//!
//! Everything here is a plain value: the lock is taken in [`crate::shared::shmem`], time and settings are
//! arguments. Times are microseconds since the Unix epoch.
//!
//! A query is in one slot from when it is asked until its answer is collected. Each has a unique ticket: an asker takes
//! only what is under its own ticket, so that a slot that was reused cannot give it the answer to another query. The
//! worker answers by the query and its scope, not by the slot. A slot is free again when its time is over, whatever
//! becomes of its asker: no exit callback is needed, and a killed backend cannot keep it.

use std::time::Duration;

use super::lookup_error::{LookupError, SLOTS};
use super::query::{Answer, Query};
use super::scope::Scope;
use crate::clock::micros_in;
use crate::pg::latch::Process;
use crate::settings::DIRECTORY_TIMEOUT_MAX;

/// How much longer than the timeout an asker waits, so that the worker can say why there is no answer.
pub const GRACE_PERIOD: Duration = Duration::from_millis(500);

/// How many queries a process may have without waiting for them.
pub const MAX_UNAWAITED: usize = 32;

/// The number of one query, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

impl Ticket {
    /// After every other.
    pub const LAST: Ticket = Ticket(u64::MAX);
}

/// There is no query under a ticket: its time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired;

/// A query that has no answer yet, for the worker.
#[derive(Clone, Copy)]
pub struct PendingQuery {
    pub ticket: Ticket,
    pub query: Query,
    pub scope: Scope,
    pub asked_at: i64,
    /// From when on an answer is too late.
    pub due_at: i64,
}

#[derive(Clone, Copy)]
struct Slot {
    ticket: Ticket,
    asker: Process,
    scope: Scope,
    query: Query,
    asked_at: i64,
    due_at: i64,
    answer: Option<Answer>,
}

/// The queries to the worker.
pub struct QueryTable {
    last_ticket: Ticket,
    slots: [Option<Slot>; SLOTS],
}

impl QueryTable {
    pub const EMPTY: QueryTable = QueryTable {
        last_ticket: Ticket(0),
        slots: [None; SLOTS],
    };

    /// Adds a query that is live for `timeout` and [`GRACE_PERIOD`].
    ///
    /// # Errors
    /// [`LookupError::Busy`].
    pub fn ask(
        &mut self,
        asker: Process,
        scope: Scope,
        query: Query,
        now: i64,
        timeout: Duration,
    ) -> Result<Ticket, LookupError> {
        let free = self
            .slots
            .iter_mut()
            .find(|slot| !slot.is_some_and(|slot| slot.is_live(now)));
        let slot = free.ok_or(LookupError::Busy)?;
        let ticket = Ticket(self.last_ticket.0 + 1);
        self.last_ticket = ticket;
        *slot = Some(Slot {
            ticket,
            asker,
            scope,
            query,
            asked_at: now,
            due_at: now.saturating_add(micros_in(timeout.min(DIRECTORY_TIMEOUT_MAX))),
            answer: None,
        });
        Ok(ticket)
    }

    /// The answer to the query, if the asker has asked it before and the answer is there. Otherwise it is asked, for an
    /// asker that does not wait; each may have at most [`MAX_UNAWAITED`] queries.
    ///
    /// # Errors
    /// [`LookupError::Busy`].
    pub fn ask_again(
        &mut self,
        asker: Process,
        scope: Scope,
        query: Query,
        now: i64,
        timeout: Duration,
    ) -> Result<Option<Answer>, LookupError> {
        let slots = self.slots.iter().flatten();
        let own: Vec<Slot> = slots
            .filter(|slot| slot.asker == asker && slot.is_live(now))
            .copied()
            .collect();
        let asked = own
            .iter()
            .find(|slot| slot.query == query && slot.scope == scope);
        match asked {
            Some(slot) if slot.answer.is_some() => {
                self.leave(slot.ticket);
                Ok(slot.answer)
            }
            Some(_) => Ok(None),
            None if own.len() >= MAX_UNAWAITED => Err(LookupError::Busy),
            None => self.ask(asker, scope, query, now, timeout).map(|_| None),
        }
    }

    /// Takes the answer under the ticket and frees its slot; `None` if there is none yet.
    ///
    /// # Errors
    /// The ticket has expired.
    pub fn collect(&mut self, ticket: Ticket) -> Result<Option<Answer>, Expired> {
        let answer = self.slot(ticket).ok_or(Expired)?.answer;
        if answer.is_some() {
            self.leave(ticket);
        }
        Ok(answer)
    }

    /// Frees the ticket's slot.
    pub fn leave(&mut self, ticket: Ticket) {
        for slot in &mut self.slots {
            if slot.is_some_and(|slot| slot.ticket == ticket) {
                *slot = None;
            }
        }
    }

    /// Answers all pending queries when the worker ends, and returns the processes to wake.
    pub fn stop(&mut self) -> Vec<Process> {
        let pending = self.slots.iter_mut().flatten();
        let pending = pending.filter(|slot| slot.answer.is_none());
        pending
            .map(|slot| {
                slot.answer = Some(Answer::WorkerStopped);
                slot.asker
            })
            .collect()
    }

    /// The pending queries, the oldest first.
    pub fn pending(&self, now: i64) -> Vec<PendingQuery> {
        let slots = self.slots.iter().flatten();
        let mut pending: Vec<_> = slots
            .filter(|slot| slot.answer.is_none() && now < slot.due_at && slot.is_live(now))
            .map(|slot| PendingQuery {
                ticket: slot.ticket,
                query: slot.query,
                scope: slot.scope,
                asked_at: slot.asked_at,
                due_at: slot.due_at,
            })
            .collect();
        pending.sort_unstable_by_key(|query| query.ticket);
        pending
    }

    /// Answers the query for all askers of that directory, up to the ticket `newest`, and returns the processes to wake.
    pub fn answer(
        &mut self,
        scope: &Scope,
        query: &Query,
        newest: Ticket,
        answer: Answer,
    ) -> Vec<Process> {
        let slots = self.slots.iter_mut().flatten();
        let asked = slots.filter(|slot| {
            slot.answer.is_none()
                && slot.query == *query
                && slot.scope == *scope
                && slot.ticket <= newest
        });
        asked
            .map(|slot| {
                slot.answer = Some(answer);
                slot.asker
            })
            .collect()
    }

    /// The last ticket that was issued.
    pub fn last_ticket(&self) -> Ticket {
        self.last_ticket
    }

    /// How many slots are taken.
    #[cfg(any(test, feature = "fault-injection"))]
    pub fn taken(&self, now: i64) -> usize {
        let slots = self.slots.iter().flatten();
        slots.filter(|slot| slot.is_live(now)).count()
    }

    fn slot(&self, ticket: Ticket) -> Option<&Slot> {
        self.slots
            .iter()
            .flatten()
            .find(|slot| slot.ticket == ticket)
    }
}

impl Slot {
    /// Whether its asker may still wait. A clock that was set back must not keep it.
    fn is_live(&self, now: i64) -> bool {
        let last = self.due_at.saturating_add(micros_in(GRACE_PERIOD));
        let longest = micros_in(DIRECTORY_TIMEOUT_MAX).saturating_add(micros_in(GRACE_PERIOD));
        (now..=now.saturating_add(longest)).contains(&last)
    }
}

#[cfg(test)]
mod tests;
