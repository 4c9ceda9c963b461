//! The token with which Graph is asked: fetched by one thread at a time, kept until shortly before it
//! expires.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use entra_api::ErrorKind;
use entra_api::wiped::Wiped;
use reqwest::header::HeaderValue;

use crate::access_token::AccessToken;
use crate::credential::Credential;
use crate::failure::{Again, Failure};
use crate::http::Http;

/// A token is renewed this long before it expires, or after three quarters of a shorter life.
const MARGIN: Duration = Duration::from_secs(300);
/// How long a token whose renewal failed is used before the next attempt.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);
/// How long a credential that was refused is not tried again.
const REFUSAL: Duration = Duration::from_secs(10);
/// The longest that an issuer's wish for a pause is heeded without asking again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A token as a request carries it.
#[derive(Clone)]
pub(crate) struct AppToken {
    pub(crate) authorization: HeaderValue,
    number: u64,
    renew_at: Instant,
    expires_at: Instant,
}

pub(crate) struct AppTokens {
    credential: Credential,
    http: Http,
    state: Mutex<State>,
    fetched: Condvar,
}

#[derive(Default)]
struct State {
    token: Option<AppToken>,
    /// Why the last attempt failed, and until when there is no other.
    failed: Option<(Failure, Instant)>,
    is_fetching: bool,
    number: u64,
}

impl AppTokens {
    pub(crate) fn new(credential: Credential, http: Http) -> AppTokens {
        AppTokens {
            credential,
            http,
            state: Mutex::default(),
            fetched: Condvar::new(),
        }
    }

    /// The token at hand, or a new one.
    pub(crate) fn token(&self, deadline: Instant) -> Result<AppToken, Failure> {
        let mut waited = false;
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if let Some(token) = &state.token
                // While another thread renews it, it is still used.
                && now < if state.is_fetching { token.expires_at } else { token.renew_at }
            {
                return Ok(token.clone());
            }
            if state.is_fetching {
                let left = deadline.saturating_duration_since(now);
                if left.is_zero() {
                    let message = format!("{}: no token in time", self.credential.issuer());
                    return Err(Failure::new(ErrorKind::TimedOut, message));
                }
                waited = true;
                state = self
                    .fetched
                    .wait_timeout(state, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                continue;
            }
            // Those who waited for an attempt share its outcome.
            if let Some((failure, until)) = &state.failed
                && (waited || now < *until)
            {
                return Err(failure.clone());
            }
            state.is_fetching = true;
            drop(state);
            return self.renew(deadline);
        }
    }

    /// Forgets a token that Graph refused, unless there is a newer one already.
    pub(crate) fn discard(&self, refused: &AppToken) {
        let mut state = self.lock();
        if state.token.as_ref().map(|token| token.number) == Some(refused.number) {
            state.token = None;
        }
    }

    fn renew(&self, deadline: Instant) -> Result<AppToken, Failure> {
        let _attempt = Attempt(self);
        let asked = Instant::now();
        let outcome = self.fetch(deadline);
        let mut state = self.lock();
        match outcome {
            Ok((authorization, lifetime)) => {
                state.number += 1;
                let token = AppToken {
                    authorization,
                    number: state.number,
                    renew_at: asked + lifetime.saturating_sub(MARGIN.min(lifetime / 4)),
                    expires_at: asked + lifetime,
                };
                state.failed = None;
                state.token = Some(token.clone());
                Ok(token)
            }
            Err(failure) => {
                let now = Instant::now();
                if let Some(token) = state.token.as_mut().filter(|token| now < token.expires_at) {
                    token.renew_at = (now + RENEWAL_PAUSE).min(token.expires_at);
                    return Ok(token.clone());
                }
                let pause = match (failure.error.kind, failure.again) {
                    (ErrorKind::CredentialRefused, _) => REFUSAL,
                    (_, Again::After(Some(pause))) => pause.min(LONGEST_PAUSE),
                    _ => Duration::ZERO,
                };
                state.failed = Some((failure.clone(), now + pause));
                Err(failure)
            }
        }
    }

    fn fetch(&self, deadline: Instant) -> Result<(HeaderValue, Duration), Failure> {
        let token = self.credential.token(&self.http, deadline)?;
        let authorization = bearer(&token)
            .ok_or_else(|| Failure::malformed(&self.credential.issuer(), UNSENDABLE))?;
        Ok((authorization, token.lifetime()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one attempt to fetch a token. Its end wakes those who wait for it, even if it panics.
struct Attempt<'a>(&'a AppTokens);

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.0.lock().is_fetching = false;
        self.0.fetched.notify_all();
    }
}

const UNSENDABLE: &str = "has no access token that could be sent";

fn bearer(token: &AccessToken) -> Option<HeaderValue> {
    let mut text = Wiped::default();
    text.append(b"Bearer ");
    text.append(token.text());
    let text = Bytes::from_owner(text.into_bytes());
    let mut authorization = HeaderValue::from_maybe_shared(text).ok()?;
    authorization.set_sensitive(true);
    Some(authorization)
}
