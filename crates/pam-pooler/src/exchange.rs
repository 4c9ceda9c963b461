//! What the PAM thread and the connection thread tell each other: one question at a time, its answer, and whether the
//! server answers at all.
//!
//! Each question has a number that is never used twice, and an answer counts only while the question of its number is
//! waited for. So an answer that comes late reaches no other login.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::settings::Settings;

/// What the server is asked. The credential is wiped when this is dropped.
pub struct Question {
    /// The role's name, in the bytes that the client sent.
    pub role: Vec<u8>,
    pub credential: Zeroizing<Vec<u8>>,
    /// The client's numeric address, or `unix`: PgBouncer's word.
    pub client: String,
}

/// The server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub verdict: Verdict,
    /// What the server said about it, for the log.
    pub notice: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    Refused,
    /// The server is fetching what it needs; the next try finds it.
    TryAgain,
}

/// A reply, or why there is none.
pub type Answer = Result<Reply, String>;

/// Ends what the connection thread waits for in the connection. Called by the PAM thread.
pub type Stop = Arc<dyn Fn() + Send + Sync>;

/// Whether the server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Nobody has asked it yet.
    Untried,
    Good,
    /// Nothing is asked until the connection thread has got an answer; the reason.
    Bad(String),
}

pub struct Exchange {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    settings: Arc<Settings>,
    health: Health,
    last_number: u64,
    /// The number of the question that a PAM thread waits for.
    awaited: Option<u64>,
    /// Until the connection thread takes it.
    question: Option<(u64, Question)>,
    /// To the awaited question.
    answer: Option<Answer>,
    stop: Option<Stop>,
}

impl State {
    /// Gives the server up until it answers again, and ends what the connection thread waits for; the reason.
    fn miss(&mut self, deadline: Duration) -> String {
        let reason = format!(
            "no answer from the server within {} ms",
            deadline.as_millis()
        );
        self.health = Health::Bad(reason.clone());
        if let Some(stop) = self.stop.take() {
            stop();
        }
        reason
    }
}

impl Exchange {
    pub fn new(settings: Arc<Settings>) -> Exchange {
        Exchange {
            state: Mutex::new(State {
                settings,
                health: Health::Untried,
                last_number: 0,
                awaited: None,
                question: None,
                answer: None,
                stop: None,
            }),
            changed: Condvar::new(),
        }
    }

    /// Asks, and waits for the answer for at most the settings' deadline. While the server does not answer, this
    /// returns at once.
    ///
    /// # Errors
    /// There is no answer; the reason, for the log.
    pub fn ask(&self, question: Question, settings: &Arc<Settings>) -> Answer {
        let until = Instant::now() + settings.deadline;
        let mut state = self.lock();
        state.settings = Arc::clone(settings);
        state = self.wait_while(state, until, |state| state.awaited.is_some());
        if state.awaited.is_some() {
            return Err("another login waits for the server".to_owned());
        }
        if let Health::Bad(reason) = &state.health {
            return Err(reason.clone());
        }
        let number = state.last_number + 1;
        state.last_number = number;
        state.awaited = Some(number);
        state.question = Some((number, question));
        self.changed.notify_all();

        state = self.wait_while(state, until, |state| state.answer.is_none());
        state.awaited = None;
        state.question = None;
        let answer = match state.answer.take() {
            Some(answer) => answer,
            None => Err(state.miss(settings.deadline)),
        };
        drop(state);
        self.changed.notify_all();
        answer
    }

    /// The next question, for the connection thread; `None` if none comes in this time.
    pub fn next(&self, time: Duration) -> Option<(u64, Question)> {
        let until = Instant::now() + time;
        let mut state = self.wait_while(self.lock(), until, |state| state.question.is_none());
        state.question.take()
    }

    /// Whether a PAM thread still waits for the answer to this question.
    pub fn is_awaited(&self, number: u64) -> bool {
        self.lock().awaited == Some(number)
    }

    /// The connection thread's answer, and the server's health. Returns `false`, and changes nothing, if nobody waits
    /// for it any more.
    pub fn answer(&self, number: u64, answer: Answer, health: Health) -> bool {
        let mut state = self.lock();
        if state.awaited != Some(number) {
            return false;
        }
        state.answer = Some(answer);
        state.health = health;
        drop(state);
        self.changed.notify_all();
        true
    }

    pub fn health(&self) -> Health {
        self.lock().health.clone()
    }

    pub fn set_health(&self, health: Health) {
        self.lock().health = health;
    }

    /// The settings of the last login.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.lock().settings)
    }

    /// What ends the connection thread's wait in the connection that it has now.
    pub fn set_stop(&self, stop: Option<Stop>) {
        self.lock().stop = stop;
    }

    /// A panic elsewhere leaves nothing half-written here: each change is a single assignment.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On the monotonic clock, as all of [`Condvar`].
    fn wait_while<'a>(
        &self,
        state: MutexGuard<'a, State>,
        until: Instant,
        mut condition: impl FnMut(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let time = until.saturating_duration_since(Instant::now());
        self.changed
            .wait_timeout_while(state, time, |state| condition(state))
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

#[cfg(test)]
mod tests;
