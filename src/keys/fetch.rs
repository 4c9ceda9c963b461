//! Fetching metadata and signing keys over HTTPS. Runs on a thread of its own: nothing here may call
//! PostgreSQL.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use entra_client::{Http, HttpError, HttpSettings, Response};
use entra_token::{KeySet, KeySetError, Metadata, MetadataError, TokenVersion};
use thiserror::Error;

use crate::clock;
use crate::shared::keys::scope::Scope;
use crate::shared::keys::table::ClockCheck;

/// For one document, from the first byte sent to the last one received.
const TOTAL: Duration = Duration::from_secs(10);

/// What a fetch has brought.
pub struct Fetched {
    /// The set of each token version, or why there is none.
    pub sets: Vec<Result<KeySet, FetchError>>,
    /// By the first answer that had a time, of whatever status.
    pub clock: Option<ClockCheck>,
}

/// Why there are no new keys. Says nothing of what the authority sent.
#[derive(Debug, Error)]
pub enum FetchError {
    #[error("{0}")]
    Client(HttpError),
    #[error("the fetch ended without a result: {0}")]
    Thread(String),
    #[error("{url}: {problem}")]
    Transport { url: String, problem: HttpError },
    #[error("{url}: the server answered with status {status}")]
    Status { url: String, status: u16 },
    #[error("{url}: {problem}")]
    Metadata { url: String, problem: MetadataError },
    #[error("{url}: {problem}")]
    Keys { url: String, problem: KeySetError },
}

impl FetchError {
    /// Whether it is this machine that wants mending, not the authority or the way to it.
    pub fn is_ours(&self) -> bool {
        matches!(self, FetchError::Client(_) | FetchError::Thread(_))
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            FetchError::Client(
                HttpError::CaUnreadable { .. }
                | HttpError::CaEmpty(_)
                | HttpError::CaMalformed { .. },
            ) => {
                "Set aadauth.ca_file to a readable PEM file of CA certificates, or unset it to use the system's."
            }
            FetchError::Client(HttpError::Proxy(_)) => {
                "Set aadauth.https_proxy to http://host:port, or unset it."
            }
            FetchError::Client(_) | FetchError::Thread(_) => {
                "Install the system's CA certificates (Debian: ca-certificates), or set aadauth.ca_file."
            }
            FetchError::Transport {
                problem: HttpError::Transport(problem),
                ..
            } if problem.contains("certificate") => {
                "If the authority's certificate comes from a CA of your own, set aadauth.ca_file to that CA's certificate."
            }
            FetchError::Status {
                status: 400 | 404, ..
            }
            | FetchError::Metadata { .. } => {
                "Check aadauth.tenant_id, aadauth.cloud and aadauth.authority_host."
            }
            FetchError::Transport {
                problem: HttpError::TooLarge(_),
                ..
            }
            | FetchError::Status { .. }
            | FetchError::Keys { .. } => {
                "The authority answers, but not with usable keys; if it goes on, ask those who run it."
            }
            FetchError::Transport { .. } => {
                "Check aadauth.authority_host, and that this machine can reach it: name resolution, routes, firewall, aadauth.https_proxy."
            }
        }
    }
}

/// Fetches the key sets of both token versions and hands over what it has brought.
///
/// Goes to the authority's own origin only: [`Http`] follows no redirects, and [`Metadata::parse`]
/// refuses keys that lie elsewhere.
pub fn fetch(scope: &Scope, settings: &HttpSettings, deliver: impl FnOnce(Fetched)) {
    let http = match Http::new(settings) {
        Ok(http) => http,
        Err(error) => return deliver(Fetched::nothing(FetchError::Client(error))),
    };
    let fetch = Fetch {
        http,
        scope,
        clock: OnceLock::new(),
    };
    // Side by side: somebody may be waiting.
    let sets = thread::scope(|threads| {
        let v2 = threads.spawn(|| fetch.set(TokenVersion::V2));
        let v1 = fetch.set(TokenVersion::V1);
        let lost = |_| Err(FetchError::Thread("its thread panicked".to_owned()));
        [v1, v2.join().unwrap_or_else(lost)]
    });
    // Before the client is dropped: that waits for its threads, one of which may hang in getaddrinfo.
    deliver(Fetched {
        sets: sets.into(),
        clock: fetch.clock.get().copied(),
    });
}

impl Fetched {
    /// There was no fetch at all.
    pub fn nothing(error: FetchError) -> Fetched {
        Fetched {
            sets: vec![Err(error)],
            clock: None,
        }
    }
}

struct Fetch<'a> {
    http: Http,
    scope: &'a Scope,
    clock: OnceLock<ClockCheck>,
}

impl Fetch<'_> {
    fn set(&self, version: TokenVersion) -> Result<KeySet, FetchError> {
        let scope = self.scope;
        let issuer = scope.issuer(version);
        let url = scope.authority.metadata_url(version, scope.tenant);
        let document = self.get(&url)?;
        let metadata = Metadata::parse(&document.body, &issuer, &scope.authority)
            .map_err(|problem| FetchError::Metadata { url, problem })?;
        let url = metadata.jwks_uri;
        let document = self.get(&url)?;
        KeySet::from_jwks(version, &issuer, scope.tenant, &document.body)
            .map_err(|problem| FetchError::Keys { url, problem })
    }

    fn get(&self, url: &str) -> Result<Response, FetchError> {
        let url = || url.to_owned();
        let response = self
            .http
            .get(&url(), Instant::now() + TOTAL)
            .map_err(|problem| FetchError::Transport {
                url: url(),
                problem,
            })?;
        if let Some(date) = response.date {
            let _ = self.clock.set(ClockCheck::new(clock::micros(), date));
        }
        match response.status {
            200 => Ok(response),
            status => Err(FetchError::Status { url: url(), status }),
        }
    }
}
