//! Questions to the directory as they lie in shared memory, between those who ask and the worker.
//!
//! Everything here is a plain value: the lock is taken in [`crate::shared::shmem`], time and settings are
//! arguments. Times are microseconds since the Unix epoch.
//!
//! A question is in one slot from when it is asked until its answer is collected. Each has a ticket
//! that no other ever has: an asker takes what is under its own ticket and nothing else, so that a slot
//! which changed hands can't give it another's answer. The worker answers by the question and its scope,
//! not by the slot. A slot is free again when its time is over, whatever became of its asker: no exit
//! callback has to give it back, and a killed backend can't keep it.

use std::time::Duration;

use super::lookup_error::{Answerless, SLOTS};
use super::question::{Answer, Question};
use super::scope::Scope;
use crate::pg::latch::Process;
use crate::settings::DIRECTORY_TIMEOUT_MAX;

/// How much longer its asker waits: for the worker to say why there is no answer.
pub const GRACE: Duration = Duration::from_millis(500);

/// The number of one question, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

impl Ticket {
    /// After every other.
    pub const LAST: Ticket = Ticket(u64::MAX);
}

/// There is nothing under a ticket: its time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired;

/// A question that has no answer yet, as the worker sees it.
#[derive(Clone, Copy)]
pub struct Open {
    pub ticket: Ticket,
    pub question: Question,
    pub scope: Scope,
    pub asked_at: i64,
    /// When an answer comes too late.
    pub due_at: i64,
}

#[derive(Clone, Copy)]
struct Slot {
    ticket: Ticket,
    asker: Process,
    scope: Scope,
    question: Question,
    asked_at: i64,
    due_at: i64,
    answer: Option<Answer>,
}

/// The questions, and the worker that answers them.
pub struct QuestionTable {
    worker: Option<Process>,
    last_ticket: Ticket,
    slots: [Option<Slot>; SLOTS],
}

impl QuestionTable {
    pub const EMPTY: QuestionTable = QuestionTable {
        worker: None,
        last_ticket: Ticket(0),
        slots: [None; SLOTS],
    };

    /// Puts a question for which there are `patience` and [`GRACE`].
    ///
    /// # Errors
    /// [`Answerless::WorkerNotRunning`], [`Answerless::Busy`].
    pub fn ask(
        &mut self,
        asker: Process,
        scope: Scope,
        question: Question,
        now: i64,
        patience: Duration,
    ) -> Result<Ticket, Answerless> {
        if self.worker.is_none() {
            return Err(Answerless::WorkerNotRunning);
        }
        let free = self
            .slots
            .iter_mut()
            .find(|slot| !slot.is_some_and(|slot| slot.is_live(now)));
        let slot = free.ok_or(Answerless::Busy)?;
        let ticket = Ticket(self.last_ticket.0 + 1);
        self.last_ticket = ticket;
        *slot = Some(Slot {
            ticket,
            asker,
            scope,
            question,
            asked_at: now,
            due_at: now.saturating_add(micros(patience.min(DIRECTORY_TIMEOUT_MAX))),
            answer: None,
        });
        Ok(ticket)
    }

    /// Takes the answer that is under the ticket and frees its slot; `None` when there is none yet.
    ///
    /// # Errors
    /// The ticket is no longer good.
    pub fn collect(&mut self, ticket: Ticket) -> Result<Option<Answer>, Expired> {
        let answer = self.slot(ticket).ok_or(Expired)?.answer;
        if answer.is_some() {
            self.leave(ticket);
        }
        Ok(answer)
    }

    /// Frees the ticket's slot: its asker has gone.
    pub fn leave(&mut self, ticket: Ticket) {
        for slot in &mut self.slots {
            if slot.is_some_and(|slot| slot.ticket == ticket) {
                *slot = None;
            }
        }
    }

    pub fn worker(&self) -> Option<Process> {
        self.worker
    }

    /// Notes that the worker runs as that process, or not at all, and returns who is to be woken: what
    /// was asked before is answered by nobody.
    pub fn set_worker(&mut self, worker: Option<Process>) -> Vec<Process> {
        self.worker = worker;
        let open = self.slots.iter_mut().flatten();
        let open = open.filter(|slot| slot.answer.is_none());
        open.map(|slot| {
            slot.answer = Some(Answer::WorkerStopped);
            slot.asker
        })
        .collect()
    }

    /// The questions that wait for an answer, the oldest first.
    pub fn open(&self, now: i64) -> Vec<Open> {
        let slots = self.slots.iter().flatten();
        let mut open: Vec<_> = slots
            .filter(|slot| slot.answer.is_none() && now < slot.due_at && slot.is_live(now))
            .map(|slot| Open {
                ticket: slot.ticket,
                question: slot.question,
                scope: slot.scope,
                asked_at: slot.asked_at,
                due_at: slot.due_at,
            })
            .collect();
        open.sort_unstable_by_key(|open| open.ticket);
        open
    }

    /// Answers the question for all who have asked it of that directory, up to the ticket `newest`, and
    /// returns who is to be woken.
    pub fn answer(
        &mut self,
        scope: &Scope,
        question: &Question,
        newest: Ticket,
        answer: Answer,
    ) -> Vec<Process> {
        let slots = self.slots.iter_mut().flatten();
        let asked = slots.filter(|slot| {
            slot.answer.is_none()
                && slot.question == *question
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

    /// The last ticket that was given out.
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
        let last = self.due_at.saturating_add(micros(GRACE));
        let longest = micros(DIRECTORY_TIMEOUT_MAX).saturating_add(micros(GRACE));
        (now..=now.saturating_add(longest)).contains(&last)
    }
}

fn micros(duration: Duration) -> i64 {
    duration.as_micros().try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
