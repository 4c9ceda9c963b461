//! An authority's signing keys, by way of its metadata.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use entra_api::HttpSettings;
use entra_token::{Authority, KeySet, KeySetError, Metadata, MetadataError, TokenVersion};
use thiserror::Error;
use uuid::Uuid;

use crate::http::{Http, HttpError, Response};

/// For one document, from the first byte sent to the last one received.
const TOTAL: Duration = Duration::from_secs(10);

/// The results of a fetch.
pub struct Fetched {
    /// The set of each token version, or why there is none.
    pub sets: Vec<Result<KeySet, FetchError>>,
    /// By the first response that had a time, of whatever status.
    pub clock: Option<AuthorityTime>,
}

/// What an authority's clock said.
#[derive(Clone, Copy, Debug)]
pub struct AuthorityTime {
    /// When its response came.
    pub received: SystemTime,
    /// What its Date header said, in seconds since 1970.
    pub date: i64,
}

/// Why there are no new keys. Says nothing of what the authority sent.
#[allow(missing_docs, reason = "url and problem say what they are")]
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The HTTP client cannot be set up.
    #[error("{0}")]
    Client(HttpError),
    /// There was no fetch, or it did not end.
    #[error("the fetch ended without a result: {0}")]
    Thread(String),
    /// There was no response.
    #[error("{url}: {problem}")]
    Transport { url: String, problem: HttpError },
    /// The status of the response is not 200.
    #[error("{url}: the server answered with status {status}")]
    Status { url: String, status: u16 },
    /// The metadata is not usable.
    #[error("{url}: {problem}")]
    Metadata { url: String, problem: MetadataError },
    /// The key set is not usable.
    #[error("{url}: {problem}")]
    Keys { url: String, problem: KeySetError },
}

impl FetchError {
    /// Whether the cause is this machine, not the authority or the network.
    pub fn is_ours(&self) -> bool {
        matches!(self, FetchError::Client(_) | FetchError::Thread(_))
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            FetchError::Client(HttpError::CaFile(_)) => {
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
                "If the authority's certificate comes from a private CA, set aadauth.ca_file to that CA's certificate."
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
                "The authority answers, but not with usable keys; if this continues, contact its operator."
            }
            FetchError::Transport { .. } => {
                "Check aadauth.authority_host, and that this machine can reach it: name resolution, routes, firewall, aadauth.https_proxy."
            }
        }
    }
}

/// Fetches the key sets of both token versions and delivers the results.
///
/// Goes to the authority's own origin only: [`Http`] follows no redirects, and [`Metadata::parse`]
/// refuses keys that lie elsewhere.
pub fn fetch(
    authority: &Authority,
    tenant: Uuid,
    settings: &HttpSettings,
    deliver: impl FnOnce(Fetched),
) {
    let http = match Http::new(settings) {
        Ok(http) => http,
        Err(error) => return deliver(Fetched::nothing(FetchError::Client(error))),
    };
    let fetch = Fetch {
        http,
        authority,
        tenant,
        clock: OnceLock::new(),
    };
    // Side by side: sign-ins may be waiting.
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
    authority: &'a Authority,
    tenant: Uuid,
    clock: OnceLock<AuthorityTime>,
}

impl Fetch<'_> {
    fn set(&self, version: TokenVersion) -> Result<KeySet, FetchError> {
        let issuer = self.authority.issuer(version, self.tenant);
        let url = self.authority.metadata_url(version, self.tenant);
        let document = self.get(&url)?;
        let metadata = Metadata::parse(&document.body, &issuer, self.authority)
            .map_err(|problem| FetchError::Metadata { url, problem })?;
        let url = metadata.jwks_uri;
        let document = self.get(&url)?;
        KeySet::from_jwks(version, &issuer, self.tenant, &document.body)
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
            let received = SystemTime::now();
            let _ = self.clock.set(AuthorityTime { received, date });
        }
        match response.status {
            200 => Ok(response),
            status => Err(FetchError::Status { url: url(), status }),
        }
    }
}
