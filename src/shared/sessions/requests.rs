//! Requests to revoke and to restore principals, from the sessions that make them to the session worker, in shared memory.
//!
//! A plain value: the lock is taken in [`crate::shared::shmem`]. Times are microseconds since the Unix epoch.
//!
//! Whatever becomes of a session or of the worker, a request keeps its place for a limited time, and is carried out only
//! while its session waits for it.

use std::time::Duration;

use uuid::Uuid;

use crate::clock::micros_in;
use crate::shared::bytes::Bytes;

/// How long a session waits for its request to be carried out.
pub const TIMEOUT: Duration = Duration::from_secs(2);
/// How much longer, when the worker has begun to commit it.
pub const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum length of a reason, in bytes.
pub const MAX_REASON: usize = 1000;
/// How many requests there may be at a time.
const PLACES: usize = 16;

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
    /// Only a superuser may end what a superuser has revoked.
    OfSuperuser,
    /// The list is full.
    TooMany,
    /// This admin has revoked too many principals.
    TooManyOfOne,
    /// The message completes "could not change the revocations: ".
    Failed {
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
    Asked(Request),
    /// The worker writes it, and has not begun to commit.
    Written,
    Committing,
    Answered(Answer),
}

#[derive(Clone, Copy)]
struct Place {
    ticket: Ticket,
    asked_at: i64,
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

    /// Makes a request; `None` if there are too many.
    pub fn ask(&mut self, request: Request, now: i64) -> Option<Ticket> {
        let free = self.places.iter_mut().find(|place| {
            !place.is_some_and(|place| place.is_younger(TIMEOUT + COMMIT_TIMEOUT, now))
        })?;
        self.last += 1;
        let ticket = Ticket(self.last);
        *free = Some(Place {
            ticket,
            asked_at: now,
            state: State::Asked(request),
        });
        Some(ticket)
    }

    /// The oldest request that nobody has begun to carry out and that its session still waits for.
    pub fn take(&mut self, now: i64) -> Option<(Ticket, Request)> {
        let places = self.places.iter_mut().flatten();
        let asked = places.filter_map(|place| match place.state {
            State::Asked(request) if place.is_younger(TIMEOUT, now) => Some((place, request)),
            _ => None,
        });
        let (place, request) = asked.min_by_key(|(place, _)| place.ticket)?;
        place.state = State::Written;
        Some((place.ticket, request))
    }

    /// Notes that the worker is about to commit; `false` if it must not, as the request was withdrawn.
    pub fn commit(&mut self, ticket: Ticket) -> bool {
        let place = self.place(ticket);
        place.map(|place| place.state = State::Committing).is_some()
    }

    pub fn answer(&mut self, ticket: Ticket, answer: Answer) {
        if let Some(place) = self.place(ticket) {
            place.state = State::Answered(answer);
        }
    }

    /// Takes the answer, and frees the place; `None` while there is none.
    pub fn collect(&mut self, ticket: Ticket) -> Option<Answer> {
        let State::Answered(answer) = self.place(ticket)?.state else {
            return None;
        };
        self.free(ticket);
        Some(answer)
    }

    /// Withdraws the request, so that it has no effect; `false` if it is too late for that.
    pub fn withdraw(&mut self, ticket: Ticket) -> bool {
        let state = self.place(ticket).map(|place| place.state);
        if matches!(state, Some(State::Asked(_) | State::Written)) {
            self.free(ticket);
            return true;
        }
        false
    }

    fn place(&mut self, ticket: Ticket) -> Option<&mut Place> {
        let mut places = self.places.iter_mut().flatten();
        places.find(|place| place.ticket == ticket)
    }

    fn free(&mut self, ticket: Ticket) {
        for place in &mut self.places {
            if place.is_some_and(|place| place.ticket == ticket) {
                *place = None;
            }
        }
    }
}

impl Place {
    /// A clock that was set back must not make it live longer.
    fn is_younger(&self, age: Duration, now: i64) -> bool {
        (self.asked_at..self.asked_at.saturating_add(micros_in(age))).contains(&now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restore(id: u128) -> Request {
        Request {
            object_id: Uuid::from_u128(id),
            change: Change::Restore,
            reason: None,
            by: Bytes::cut("alice"),
            by_id: None,
            by_superuser: true,
        }
    }

    fn taken(requests: &mut Requests, now: i64) -> Option<(Ticket, u128)> {
        let (ticket, request) = requests.take(now)?;
        Some((ticket, request.object_id.as_u128()))
    }

    #[test]
    fn the_oldest_is_carried_out_first() {
        let mut requests = Requests::EMPTY;
        let [one, two] = [1, 2].map(|id| requests.ask(restore(id), 100).unwrap());
        assert_eq!(taken(&mut requests, 101), Some((one, 1)));
        assert_eq!(taken(&mut requests, 101), Some((two, 2)));
        assert_eq!(taken(&mut requests, 101), None);
        assert!(requests.collect(one).is_none());
        assert!(requests.commit(one));
        requests.answer(one, Answer::Done { sessions: 3 });
        assert!(matches!(
            requests.collect(one),
            Some(Answer::Done { sessions: 3 })
        ));
        assert!(requests.collect(one).is_none());
    }

    #[test]
    fn what_nobody_waits_for_is_not_carried_out() {
        let mut requests = Requests::EMPTY;
        let timeout = micros_in(TIMEOUT);
        requests.ask(restore(1), 100).unwrap();
        assert_eq!(taken(&mut requests, 100 + timeout), None);
        // The clock was set back.
        assert_eq!(taken(&mut requests, 99), None);
        let ticket = requests.ask(restore(2), 100).unwrap();
        assert!(requests.withdraw(ticket));
        assert_eq!(taken(&mut requests, 200 + timeout), None);
    }

    #[test]
    fn a_withdrawn_request_is_not_committed() {
        let mut requests = Requests::EMPTY;
        let ticket = requests.ask(restore(1), 100).unwrap();
        requests.take(101).unwrap();
        assert!(requests.withdraw(ticket));
        assert!(!requests.commit(ticket));
        requests.answer(ticket, Answer::NotRevoked);
        assert!(requests.collect(ticket).is_none());
    }

    #[test]
    fn what_is_being_committed_is_not_withdrawn() {
        let mut requests = Requests::EMPTY;
        let ticket = requests.ask(restore(1), 100).unwrap();
        requests.take(101).unwrap();
        assert!(requests.commit(ticket));
        assert!(!requests.withdraw(ticket));
        requests.answer(ticket, Answer::Done { sessions: 0 });
        assert!(!requests.withdraw(ticket));
        assert!(requests.collect(ticket).is_some());
    }

    #[test]
    fn abandoned_places_become_free() {
        let mut requests = Requests::EMPTY;
        for id in 0..PLACES as u128 {
            assert!(requests.ask(restore(id), 100).is_some());
        }
        assert!(requests.ask(restore(99), 101).is_none());
        let later = 100 + micros_in(TIMEOUT + COMMIT_TIMEOUT);
        assert!(requests.ask(restore(99), later).is_some());
    }
}
