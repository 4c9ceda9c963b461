//! One request to Microsoft Graph, sent until there is a response or no time left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use entra_api::{DirectoryError, ErrorKind};
use reqwest::header::AUTHORIZATION;

use crate::answer::Flaw;
use crate::failure::{Again, Failure, graph_code};
use crate::http::{Http, Request, Response};
use crate::token::AppTokens;

/// How often a pause looks whether it is to end.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long, and how often, to ask.
pub(crate) struct RetryPolicy<'a> {
    deadline: Instant,
    attempts: u32,
    /// For one attempt.
    attempt: Duration,
    /// Before the second attempt; it doubles with each.
    pause: Duration,
    /// The longest pause that Graph may ask for.
    longest_pause: Duration,
    stop: Option<&'a AtomicBool>,
}

impl RetryPolicy<'_> {
    /// For a lookup that a client waits for.
    pub(crate) fn until(deadline: Instant) -> RetryPolicy<'static> {
        RetryPolicy {
            deadline,
            attempts: 3,
            attempt: Duration::MAX,
            pause: Duration::from_millis(200),
            longest_pause: Duration::MAX,
            stop: None,
        }
    }

    /// For work in the background, until `deadline` or until `stop` is set.
    pub(crate) fn in_background(deadline: Instant, stop: &AtomicBool) -> RetryPolicy<'_> {
        RetryPolicy {
            deadline,
            attempts: 6,
            attempt: Duration::from_secs(30),
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(120),
            stop: Some(stop),
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    /// Pauses before the attempt after `attempt`; false if there is to be none.
    fn pause(&self, attempt: u32, asked_for: Option<Duration>) -> bool {
        if attempt >= self.attempts {
            return false;
        }
        let doubled = self.pause.saturating_mul(1 << (attempt - 1).min(10));
        let pause = asked_for.unwrap_or_else(|| jitter(doubled));
        let now = Instant::now();
        let Some(end) = now.checked_add(pause) else {
            return false;
        };
        if pause > self.longest_pause || end >= self.deadline {
            return false;
        }
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_stopped() {
                return !self.is_stopped();
            }
            thread::park_timeout(left.min(POLL_INTERVAL));
        }
    }
}

/// Up to a quarter more, so that processes that failed together do not retry together.
fn jitter(pause: Duration) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let chance = now.map_or(0, |now| now.subsec_micros() % 256);
    pause + pause / 1024 * chance
}

/// Microsoft Graph at one origin, asked as one application.
pub(crate) struct Graph {
    pub(crate) http: Http,
    pub(crate) origin: String,
    pub(crate) tokens: AppTokens,
}

impl Graph {
    /// Asks, and returns the answer of status 200. `request` makes the request but for the token;
    /// `permission` is what it takes, for the error.
    pub(crate) fn ask(
        &self,
        request: &Request,
        permission: &str,
        policy: &RetryPolicy<'_>,
    ) -> Result<Response, Failure> {
        let mut attempt = 1;
        let mut has_new_token = false;
        loop {
            let now = Instant::now();
            let deadline = now
                .checked_add(policy.attempt)
                .map_or(policy.deadline, |end| end.min(policy.deadline));
            let failure = match self.attempt(request, permission, deadline, has_new_token) {
                Ok(Some(response)) => return Ok(response),
                Ok(None) => {
                    has_new_token = true;
                    continue;
                }
                Err(failure) => failure,
            };
            let Again::After(pause) = failure.again else {
                return Err(failure);
            };
            if !policy.pause(attempt, pause) {
                return Err(failure);
            }
            attempt += 1;
        }
    }

    /// Asks once. `None`: Graph refused the token, and it has been dropped.
    fn attempt(
        &self,
        request: &Request,
        permission: &str,
        deadline: Instant,
        has_new_token: bool,
    ) -> Result<Option<Response>, Failure> {
        let who = self.name();
        let token = self.tokens.token(deadline)?;
        let request = request
            .clone()
            .header(AUTHORIZATION, token.authorization.clone());
        let response = self
            .http
            .send(&request, deadline)
            .map_err(|problem| Failure::unanswered(&who, &problem))?;
        if response.status == 200 {
            return Ok(Some(response));
        }
        if response.status == 401 && !has_new_token {
            self.tokens.discard(&token);
            return Ok(None);
        }
        Err(Failure::busy(&who, &response).unwrap_or_else(|| self.refusal(&response, permission)))
    }

    fn refusal(&self, response: &Response, permission: &str) -> Failure {
        let who = self.name();
        let code = graph_code(response);
        let status = response.status;
        let shown = code.as_deref().unwrap_or("no error code");
        let failure = match (status, code.as_deref()) {
            (401, _) => Failure::new(
                ErrorKind::CredentialRefused,
                format!("{who} refuses the server's token ({shown})"),
            ),
            (403, _) => Failure::new(
                ErrorKind::PermissionMissing,
                format!("the server's identity lacks {permission} ({who}: {shown})"),
            ),
            // Any web server has a 404; only Graph means a principal by it.
            (404, Some("Request_ResourceNotFound")) => {
                Failure::new(ErrorKind::NotFound, "the directory has no such principal")
            }
            _ => Failure::new(
                ErrorKind::BadAnswer,
                format!("{who} answered with status {status} ({shown})"),
            ),
        };
        Failure { code, ..failure }
    }

    pub(crate) fn name(&self) -> String {
        format!("Microsoft Graph at {}", self.origin)
    }

    /// The error that a flaw of an object is.
    pub(crate) fn flaw(&self, flaw: Flaw) -> DirectoryError {
        match flaw {
            Flaw::Malformed(what) => self.malformed(what),
            Flaw::Withheld(permission) => {
                let who = self.name();
                let message = format!(
                    "the server's identity lacks {permission} ({who} withholds properties)"
                );
                DirectoryError::new(ErrorKind::PermissionMissing, message)
            }
        }
    }

    pub(crate) fn malformed(&self, what: &str) -> DirectoryError {
        Failure::malformed(&self.name(), what).error
    }
}
