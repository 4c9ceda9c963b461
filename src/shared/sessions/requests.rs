//! Requests to revoke and to restore principals, from the sessions that make them to the session worker, in shared memory.
//!
//! A plain value: the lock is taken in [`crate::shared::shmem`].
//!
//! A request is there for as long as its session waits for the answer, and no longer: whatever ends the wait frees its
//! place. So the worker carries out nothing that nobody waits for.

use std::time::Duration;

use uuid::Uuid;

use crate::pg::latch::Process;
use crate::shared::bytes::Bytes;

/// How long a session waits for its request to be carried out.
pub const TIMEOUT: Duration = Duration::from_secs(2);
/// How much longer, when the worker has begun to commit it.
pub const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum length of a reason, in bytes.
pub const MAX_REASON: usize = 1000;
/// How many requests there may be at a time, how many of these places are for superusers only, and how many one principal
/// may have.
const PLACES: usize = 24;
const FOR_SUPERUSERS: usize = 8;
const FOR_ONE_PRINCIPAL: usize = 4;

/// What is to be changed, and for whom.
#[derive(Clone, Copy)]
pub struct Request {
    pub object_id: Uuid,
    pub change: Change,
    /// Why, for those who read the list.
    pub reason: Option<Bytes<MAX_REASON>>,
    /// The principal that makes the request, or the local role.
    pub by: Bytes<256>,
    /// The object id of that principal.
    pub by_id: Option<Uuid>,
    pub by_superuser: bool,
}

#[derive(Clone, Copy)]
pub enum Change {
    Revoke {
        /// As PostgreSQL has it: microseconds since 2000-01-01, `i64::MAX` for infinity.
        until: i64,
    },
    Restore,
}

#[derive(Clone, Copy)]
#[expect(clippy::large_enum_variant, reason = "it is in shared memory")]
pub enum Answer {
    /// The change is committed and in force; that many sessions end.
    Done { sessions: u32 },
    /// There is nothing to restore.
    NotRevoked,
    /// Only a superuser may end or shorten what a superuser has revoked.
    RevokedBySuperuser,
    /// The list is full.
    TooMany,
    /// What is left of the list is for superusers.
    TooManyByAdmins,
    /// This admin has revoked too many principals.
    TooManyByOneAdmin,
    /// The worker ended while it committed the change.
    Unknown,
    /// Nothing has changed. The message completes "could not change the revocations: ".
    Failed {
        is_locked: bool,
        message: Bytes<512>,
        hint: Bytes<512>,
    },
}

/// The number of one request, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

#[derive(Clone, Copy)]
#[expect(clippy::large_enum_variant, reason = "it is in shared memory")]
enum State {
    Pending,
    /// The worker carries it out, and has not begun to commit.
    Taken,
    Committing,
    Answered(Answer),
}

#[derive(Clone, Copy)]
struct Place {
    ticket: Ticket,
    session: Process,
    request: Request,
    state: State,
}

/// The requests that were made, and their answers.
pub struct Requests {
    last: u64,
    places: [Option<Place>; PLACES],
}

impl Requests {
    pub const EMPTY: Requests = Requests {
        last: 0,
        places: [None; PLACES],
    };

    /// Makes a request for the session with that process.
    ///
    /// # Errors
    /// `None`: there are too many.
    pub fn ask(&mut self, session: Process, request: Request) -> Option<Ticket> {
        let free = self.places.iter().filter(|place| place.is_none()).count();
        let taken = self.places.iter().flatten();
        let own = taken.filter(|place| place.request.by_id == request.by_id);
        if !request.by_superuser && (free <= FOR_SUPERUSERS || own.count() >= FOR_ONE_PRINCIPAL) {
            return None;
        }
        let free = self.places.iter_mut().find(|place| place.is_none())?;
        self.last += 1;
        let ticket = Ticket(self.last);
        *free = Some(Place {
            ticket,
            session,
            request,
            state: State::Pending,
        });
        Some(ticket)
    }

    /// Takes the oldest pending request, for the worker.
    pub fn take(&mut self) -> Option<(Ticket, Request)> {
        let places = self.places.iter_mut().flatten();
        let pending = places.filter(|place| matches!(place.state, State::Pending));
        let place = pending.min_by_key(|place| place.ticket)?;
        place.state = State::Taken;
        Some((place.ticket, place.request))
    }

    /// Notes that the worker is about to commit; `false` if it must not, as the session no longer waits.
    pub fn commit(&mut self, ticket: Ticket) -> bool {
        let place = self.place(ticket);
        place.map(|place| place.state = State::Committing).is_some()
    }

    /// Answers the request; does nothing if its session no longer waits.
    pub fn answer(&mut self, ticket: Ticket, answer: Answer) {
        if let Some(place) = self.place(ticket) {
            place.state = State::Answered(answer);
        }
    }

    /// Answers all pending requests.
    pub fn answer_pending(&mut self, answer: Answer) {
        for place in self.places.iter_mut().flatten() {
            if matches!(place.state, State::Pending) {
                place.state = State::Answered(answer);
            }
        }
    }

    /// The answer, if there is one yet. Its place is free then.
    pub fn collect(&mut self, ticket: Ticket) -> Option<Answer> {
        let State::Answered(answer) = self.place(ticket)?.state else {
            return None;
        };
        self.leave(ticket);
        Some(answer)
    }

    /// Withdraws the request, so that it has no effect; `false` if it is too late for that.
    pub fn withdraw(&mut self, ticket: Ticket) -> bool {
        let state = self.place(ticket).map(|place| place.state);
        let is_early = matches!(state, Some(State::Pending | State::Taken));
        if is_early {
            self.leave(ticket);
        }
        is_early
    }

    /// Frees the place, whatever its state: its session no longer waits.
    pub fn leave(&mut self, ticket: Ticket) {
        self.free(|place| place.ticket == ticket);
    }

    /// Frees the places of a session that ends.
    pub fn leave_all(&mut self, session: Process) {
        self.free(|place| place.session == session);
    }

    /// Called when the worker starts, for what an earlier one has left.
    pub fn restart(&mut self) {
        for place in self.places.iter_mut().flatten() {
            match place.state {
                State::Taken => place.state = State::Pending,
                State::Committing => place.state = State::Answered(Answer::Unknown),
                State::Pending | State::Answered(_) => {}
            }
        }
    }

    fn place(&mut self, ticket: Ticket) -> Option<&mut Place> {
        let mut places = self.places.iter_mut().flatten();
        places.find(|place| place.ticket == ticket)
    }

    fn free(&mut self, is_over: impl Fn(&Place) -> bool) {
        for place in &mut self.places {
            if place.as_ref().is_some_and(&is_over) {
                *place = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: i32) -> Process {
        Process::from_number(number).unwrap()
    }

    fn restore(id: u128, by_superuser: bool) -> Request {
        Request {
            object_id: Uuid::from_u128(id),
            change: Change::Restore,
            reason: None,
            by: Bytes::cut("alice"),
            by_id: Some(Uuid::from_u128(id)),
            by_superuser,
        }
    }

    fn ask(requests: &mut Requests, id: i32) -> Ticket {
        let request = restore(id.unsigned_abs().into(), true);
        requests.ask(session(id), request).unwrap()
    }

    fn taken(requests: &mut Requests) -> Option<(Ticket, u128)> {
        let (ticket, request) = requests.take()?;
        Some((ticket, request.object_id.as_u128()))
    }

    #[test]
    fn the_oldest_is_carried_out_first() {
        let mut requests = Requests::EMPTY;
        let [one, two] = [1, 2].map(|id| ask(&mut requests, id));
        assert_eq!(taken(&mut requests), Some((one, 1)));
        assert_eq!(taken(&mut requests), Some((two, 2)));
        assert_eq!(taken(&mut requests), None);
        assert!(requests.collect(one).is_none());
        assert!(requests.commit(one));
        requests.answer(one, Answer::Done { sessions: 3 });
        let answer = requests.collect(one);
        assert!(matches!(answer, Some(Answer::Done { sessions: 3 })));
        assert!(requests.collect(one).is_none());
    }

    #[test]
    fn a_withdrawn_request_is_not_committed() {
        for withdraw in [
            |requests: &mut Requests, ticket| assert!(requests.withdraw(ticket)),
            |requests: &mut Requests, ticket| requests.leave(ticket),
            |requests: &mut Requests, _| requests.leave_all(session(1)),
        ] {
            let mut requests = Requests::EMPTY;
            let ticket = ask(&mut requests, 1);
            let other = ask(&mut requests, 2);
            requests.take().unwrap();
            withdraw(&mut requests, ticket);
            assert!(!requests.commit(ticket));
            requests.answer(ticket, Answer::NotRevoked);
            assert!(requests.collect(ticket).is_none());
            assert_eq!(taken(&mut requests), Some((other, 2)));
        }
    }

    #[test]
    fn what_is_being_committed_is_not_withdrawn() {
        let mut requests = Requests::EMPTY;
        let ticket = ask(&mut requests, 1);
        requests.take().unwrap();
        assert!(requests.commit(ticket));
        assert!(!requests.withdraw(ticket));
        requests.answer(ticket, Answer::Done { sessions: 0 });
        assert!(!requests.withdraw(ticket));
        assert!(requests.collect(ticket).is_some());
    }

    #[test]
    fn some_places_are_for_superusers() {
        let mut requests = Requests::EMPTY;
        for place in 0..PLACES - FOR_SUPERUSERS {
            let id = 100 + (place / FOR_ONE_PRINCIPAL) as u128;
            assert!(requests.ask(session(1), restore(id, false)).is_some());
        }
        assert!(requests.ask(session(1), restore(1, false)).is_none());
        for id in 0..FOR_SUPERUSERS {
            ask(&mut requests, id as i32 + 2);
        }
        assert!(requests.ask(session(9), restore(9, true)).is_none());
        requests.leave_all(session(1));
        assert!(requests.ask(session(1), restore(1, false)).is_some());
    }

    #[test]
    fn one_principal_does_not_take_all_places() {
        let mut requests = Requests::EMPTY;
        for _ in 0..FOR_ONE_PRINCIPAL {
            assert!(requests.ask(session(1), restore(1, false)).is_some());
        }
        assert!(requests.ask(session(1), restore(1, false)).is_none());
        assert!(requests.ask(session(2), restore(2, false)).is_some());
    }

    #[test]
    fn a_new_worker_carries_out_what_an_earlier_one_had_only_taken() {
        let mut requests = Requests::EMPTY;
        let [first, second, third] = [1, 2, 3].map(|id| ask(&mut requests, id));
        requests.take().unwrap();
        requests.take().unwrap();
        assert!(requests.commit(second));
        requests.restart();
        assert!(matches!(requests.collect(second), Some(Answer::Unknown)));
        assert_eq!(taken(&mut requests), Some((first, 1)));
        requests.answer_pending(Answer::NotRevoked);
        assert!(matches!(requests.collect(third), Some(Answer::NotRevoked)));
        assert!(requests.collect(first).is_none());
    }
}
