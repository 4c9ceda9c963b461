//! Requests for group sync, and the worker's state, in shared memory.
//!
//! A plain value: the lock is taken in [`crate::shared::shmem`]. Times are microseconds since the Unix
//! epoch.

use super::bytes::Bytes;
use super::request_counter::RequestCounter;

/// The requests for a run, and their outcome.
pub struct SyncState {
    /// Grows whenever a worker starts.
    epoch: u64,
    /// The worker is connected, and group sync is on as far as it knows.
    is_ready: bool,
    /// For a run.
    requests: RequestCounter,
    /// The number of the run in progress, and of the last that began.
    current_run: Option<i64>,
    last_run: i64,
    next_run: Option<i64>,
    /// Why the worker cannot run, or why the last run failed.
    problem: Option<Bytes<512>>,
}

/// A request, by which its outcome is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    epoch: u64,
    number: u64,
    /// The last run that had begun when the request was made.
    after: i64,
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// No run that began after the request has ended.
    Pending,
    /// The worker that received it has ended, or has stopped group sync.
    Gone,
    /// The runs after the first number, up to the second, answer it.
    Done { after: i64, last: i64 },
    /// The run that began after the request failed as a whole.
    Failed(String),
}

impl SyncState {
    pub const EMPTY: SyncState = SyncState {
        epoch: 0,
        is_ready: false,
        requests: RequestCounter::NONE,
        current_run: None,
        last_run: 0,
        next_run: None,
        problem: None,
    };

    /// Requests a run that begins from now on.
    ///
    /// # Errors
    /// No worker will begin one; the text says why, if that is known.
    pub fn ask(&mut self) -> Result<Ticket, Option<String>> {
        if !self.is_ready {
            return Err(self.problem());
        }
        Ok(Ticket {
            epoch: self.epoch,
            number: self.requests.make(),
            after: self.last_run,
        })
    }

    pub fn reply(&self, ticket: &Ticket) -> Reply {
        if self.epoch != ticket.epoch {
            return Reply::Gone;
        }
        if self.requests.is_answered(ticket.number) {
            return match self.problem() {
                Some(problem) => Reply::Failed(problem),
                None => Reply::Done {
                    after: ticket.after,
                    last: self.last_run,
                },
            };
        }
        Reply::Pending
    }

    /// The run in progress, when the next is due, and why the last one failed.
    pub fn runs(&self) -> (Option<i64>, Option<i64>, Option<String>) {
        (self.current_run, self.next_run, self.problem())
    }

    /// The number of the last run that began.
    pub fn last_run(&self) -> i64 {
        self.last_run
    }

    /// Whether a request waits for an answer.
    pub fn has_request(&self) -> bool {
        self.requests.is_open()
    }

    /// Notes that a worker starts, or ends: earlier requests are not answered any more.
    pub fn restart(&mut self) {
        self.requests.answer(self.requests.last());
        *self = SyncState {
            epoch: self.epoch + 1,
            is_ready: false,
            current_run: None,
            next_run: None,
            problem: None,
            ..*self
        };
    }

    /// Notes that the worker does group sync, and takes requests.
    pub fn set_ready(&mut self) {
        self.is_ready = true;
    }

    /// Notes that a run begins. It answers the earlier requests.
    pub fn begin(&mut self, run: i64) {
        self.current_run = Some(run);
        self.last_run = run;
        self.next_run = None;
    }

    /// Notes that an attempt that answers the requests up to that number has ended, with a problem or without.
    pub fn end(&mut self, last_request: u64, problem: Option<&str>) {
        self.requests.answer(last_request);
        self.current_run = None;
        self.problem = problem.map(Bytes::cut);
    }

    /// Answers all requests with the problem, and takes no more.
    pub fn refuse(&mut self, problem: &str) {
        self.is_ready = false;
        self.end(self.requests.last(), Some(problem));
    }

    /// The number of the last request.
    pub fn last_request(&self) -> u64 {
        self.requests.last()
    }

    pub fn set_next_run(&mut self, next_run: i64) {
        self.next_run = Some(next_run);
    }

    fn problem(&self) -> Option<String> {
        self.problem.map(|problem| problem.as_str().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn working() -> SyncState {
        let mut state = SyncState::EMPTY;
        state.restart();
        state.set_ready();
        state
    }

    #[test]
    fn a_run_that_was_in_progress_is_no_answer() {
        let mut state = working();
        let answers = state.last_request();
        state.begin(1);
        let ticket = state.ask().unwrap();
        assert_eq!(state.reply(&ticket), Reply::Pending);
        state.end(answers, None);
        assert_eq!(state.reply(&ticket), Reply::Pending);
        assert!(state.has_request());
        let answers = state.last_request();
        state.begin(2);
        assert_eq!(state.reply(&ticket), Reply::Pending);
        state.end(answers, None);
        assert_eq!(state.reply(&ticket), Reply::Done { after: 1, last: 2 });
        assert!(!state.has_request());
    }

    #[test]
    fn a_worker_that_is_not_ready_takes_no_request() {
        let mut state = SyncState::EMPTY;
        assert_eq!(state.ask(), Err(None));
        state.restart();
        assert_eq!(state.ask(), Err(None));
        state.refuse("no table");
        assert_eq!(state.ask(), Err(Some("no table".to_owned())));
        state.set_ready();
        assert!(state.ask().is_ok());
    }

    #[test]
    fn a_worker_that_ends_leaves_no_request_pending() {
        for restarted in [false, true] {
            let mut state = working();
            let ticket = state.ask().unwrap();
            state.begin(1);
            state.restart();
            if restarted {
                state.restart();
                state.set_ready();
                let answers = state.last_request();
                state.begin(2);
                state.end(answers, None);
            }
            assert_eq!(state.reply(&ticket), Reply::Gone);
        }
        let mut state = working();
        let ticket = state.ask().unwrap();
        state.refuse("no table");
        assert_eq!(state.reply(&ticket), Reply::Failed("no table".to_owned()));
    }

    #[test]
    fn a_run_that_fails_says_why() {
        let mut state = working();
        let ticket = state.ask().unwrap();
        let answers = state.last_request();
        state.begin(1);
        state.end(answers, Some("no space left"));
        assert_eq!(
            state.reply(&ticket),
            Reply::Failed("no space left".to_owned())
        );
        let ticket = state.ask().unwrap();
        let answers = state.last_request();
        state.begin(2);
        state.end(answers, None);
        assert_eq!(state.reply(&ticket), Reply::Done { after: 1, last: 2 });
    }
}
