//! Fetching metadata and signing keys over HTTPS. Runs on a thread of its own: nothing here may call
//! PostgreSQL.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Read;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use entra_client::HttpSettings;
use entra_token::{KeySet, KeySetError, Metadata, MetadataError, TokenVersion};
use reqwest::Certificate;
use reqwest::blocking::{Client, Response};
use reqwest::redirect::Policy;
use thiserror::Error;

use crate::keys::scope::Scope;

const CONNECT: Duration = Duration::from_secs(5);
/// For one document, from the first byte sent to the last one received.
const TOTAL: Duration = Duration::from_secs(10);
const LARGEST: usize = 1024 * 1024;

/// Why there are no new keys. Says nothing of what the authority sent.
#[derive(Debug, Error)]
pub enum FetchError {
    #[error("aadauth.ca_file {path:?} cannot be read: {problem}")]
    CaUnreadable { path: PathBuf, problem: String },
    #[error("aadauth.ca_file {path:?} holds no certificate in PEM form")]
    CaEmpty { path: PathBuf },
    #[error("aadauth.ca_file {path:?} holds something that is not a certificate: {problem}")]
    CaMalformed { path: PathBuf, problem: String },
    #[error("the HTTPS client does not work: {0}")]
    Client(String),
    #[error("{url}: {problem}")]
    Transport { url: String, problem: String },
    #[error("{url}: the server answered with status {status}")]
    Status { url: String, status: u16 },
    #[error("{url}: the answer took longer than {} s", TOTAL.as_secs())]
    Slow { url: String },
    #[error("{url}: the answer is larger than {LARGEST} bytes")]
    TooLarge { url: String },
    #[error("{url}: {problem}")]
    Metadata { url: String, problem: MetadataError },
    #[error("{url}: {problem}")]
    Keys { url: String, problem: KeySetError },
}

impl FetchError {
    /// Whether it is this machine that wants mending, not the authority or the way to it.
    pub fn is_ours(&self) -> bool {
        matches!(
            self,
            FetchError::CaUnreadable { .. }
                | FetchError::CaEmpty { .. }
                | FetchError::CaMalformed { .. }
                | FetchError::Client(_)
        )
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            FetchError::CaUnreadable { .. }
            | FetchError::CaEmpty { .. }
            | FetchError::CaMalformed { .. } => {
                "Set aadauth.ca_file to a readable PEM file of CA certificates, or unset it to use the system's."
            }
            FetchError::Client(_) => {
                "Install the system's CA certificates (Debian: ca-certificates), or set aadauth.ca_file."
            }
            FetchError::Transport { problem, .. } if problem.contains("certificate") => {
                "If the authority's certificate comes from a CA of your own, set aadauth.ca_file to that CA's certificate."
            }
            FetchError::Transport { .. } | FetchError::Slow { .. } => {
                "Check aadauth.authority_host, and that this machine can reach it: name resolution, routes, firewall."
            }
            FetchError::Status {
                status: 400 | 404, ..
            }
            | FetchError::Metadata { .. } => {
                "Check aadauth.tenant_id, aadauth.cloud and aadauth.authority_host."
            }
            FetchError::Status { .. } | FetchError::TooLarge { .. } | FetchError::Keys { .. } => {
                "The authority answers, but not with usable keys; if it goes on, ask those who run it."
            }
        }
    }
}

/// Reads the only certificates to trust.
///
/// # Errors
/// The file can't be read, or holds no certificate.
fn read_roots(path: PathBuf) -> Result<Vec<Certificate>, FetchError> {
    let content = match std::fs::read(&path) {
        Ok(content) => content,
        Err(error) => {
            return Err(FetchError::CaUnreadable {
                path,
                problem: error.to_string(),
            });
        }
    };
    match Certificate::from_pem_bundle(&content) {
        Ok(roots) if roots.is_empty() => Err(FetchError::CaEmpty { path }),
        Ok(roots) => Ok(roots),
        Err(error) => Err(FetchError::CaMalformed {
            path,
            problem: chain(&error),
        }),
    }
}

/// Fetches the key sets of both token versions and hands over each, or why there is none.
///
/// Goes to the authority's own origin only: no redirects, no proxy from the environment, and
/// [`Metadata::parse`] refuses keys that lie elsewhere.
pub fn fetch(
    scope: &Scope,
    http: &HttpSettings,
    deliver: impl FnOnce(Vec<Result<KeySet, FetchError>>),
) {
    let roots = http.ca_file.clone().map(read_roots).transpose();
    let client = match roots.and_then(client) {
        Ok(client) => client,
        Err(error) => return deliver(vec![Err(error)]),
    };
    // Side by side: somebody may be waiting.
    let sets = thread::scope(|threads| {
        let v2 = threads.spawn(|| fetch_set(&client, scope, TokenVersion::V2));
        let v1 = fetch_set(&client, scope, TokenVersion::V1);
        let lost = |_| {
            Err(FetchError::Client(
                "its thread ended without a result".to_owned(),
            ))
        };
        [v1, v2.join().unwrap_or_else(lost)]
    });
    // Before the client is dropped: that waits for its threads, one of which may hang in getaddrinfo.
    deliver(sets.into());
}

fn client(roots: Option<Vec<Certificate>>) -> Result<Client, FetchError> {
    let mut builder = Client::builder()
        .user_agent(concat!("aadauth/", env!("CARGO_PKG_VERSION")))
        .https_only(true)
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT)
        .timeout(TOTAL);
    if let Some(roots) = roots {
        builder = builder.tls_certs_only(roots);
    }
    builder
        .build()
        .map_err(|error| FetchError::Client(chain(&error)))
}

fn fetch_set(client: &Client, scope: &Scope, version: TokenVersion) -> Result<KeySet, FetchError> {
    let issuer = scope.issuer(version);
    let url = scope.authority.metadata_url(version, scope.tenant);
    let document = get(client, &url)?;
    let metadata = Metadata::parse(&document, &issuer, &scope.authority)
        .map_err(|problem| FetchError::Metadata { url, problem })?;
    let url = metadata.jwks_uri;
    let document = get(client, &url)?;
    KeySet::from_jwks(version, &issuer, scope.tenant, &document)
        .map_err(|problem| FetchError::Keys { url, problem })
}

fn get(client: &Client, url: &str) -> Result<Vec<u8>, FetchError> {
    let deadline = Instant::now() + TOTAL;
    let failed = |error: &dyn Error| FetchError::Transport {
        url: url.into(),
        problem: chain(error),
    };
    let response = client
        .get(url)
        .send()
        .map_err(|error| match error.is_timeout() {
            true => FetchError::Slow { url: url.into() },
            false => failed(&error.without_url()),
        })?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(FetchError::Status {
            url: url.into(),
            status,
        });
    }
    read(response, url, deadline)
}

/// Reads the body up to the limits. (The client's own timeout starts anew with each read.)
fn read(mut response: Response, url: &str, deadline: Instant) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = response
            .read(&mut buffer)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::TimedOut => FetchError::Slow { url: url.into() },
                _ => FetchError::Transport {
                    url: url.into(),
                    problem: chain(&error),
                },
            })?;
        if count == 0 {
            return Ok(body);
        }
        body.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if body.len() > LARGEST {
            return Err(FetchError::TooLarge { url: url.into() });
        }
        if Instant::now() > deadline {
            return Err(FetchError::Slow { url: url.into() });
        }
    }
}

/// The error and its causes on one line, each said once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            let _ = write!(text, ": {said}");
        }
        cause = error.source();
    }
    text
}
