//! HTTPS as the server needs it: bounded in size and time, to the one host that is asked for.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::Read as _;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use entra_api::error::one_line;
use entra_api::wiped::Wiped;
use entra_api::{CaFileError, HttpSettings, check_proxy, read_ca_file};
use reqwest::blocking::Client;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Method, Proxy, Url};
use thiserror::Error;
use zeroize::Zeroizing;

/// For name resolution, TCP, a proxy and TLS together.
const CONNECT: Duration = Duration::from_secs(5);
/// The largest body, in bytes. Entra's metadata and keys are some 20 kB; a page of 999 members of a
/// group, with the few properties that are asked for, is some 300 kB.
pub const LARGEST_BODY: usize = 1024 * 1024;

/// Why there is no answer. Says nothing of what was sent or received.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpError {
    /// The file of certificate authorities is not usable.
    #[error(transparent)]
    CaFile(#[from] CaFileError),
    /// The proxy's address is not one.
    #[error("aadauth.https_proxy is not used: {0}")]
    Proxy(String),
    /// The client can't be set up on this machine.
    #[error("the HTTPS client does not work: {0}")]
    Client(String),
    /// The address is not one that this client goes to.
    #[error("the address is not one to be asked")]
    Address,
    /// No connection, or it broke, or what came over it is not HTTP.
    #[error("{0}")]
    Transport(String),
    /// No connection in time.
    #[error("no connection within {} s", CONNECT.as_secs())]
    SlowConnection,
    /// No complete answer in time.
    #[error("the answer took longer than {} s", .0.as_secs_f32().ceil())]
    Slow(Duration),
    /// More than the server reads.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// An answer, whatever its status.
pub struct Response {
    /// The HTTP status; redirects are not followed, so it may be one.
    pub status: u16,
    /// The body, which may hold a secret: it is wiped.
    pub body: Zeroizing<Vec<u8>>,
    /// What the server's clock said, in seconds since 1970.
    pub date: Option<i64>,
    /// How long the server asks for no further request.
    pub retry_after: Option<Duration>,
}

/// Shows no body.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .field("date", &self.date)
            .field("retry_after", &self.retry_after)
            .finish()
    }
}

/// One request.
#[derive(Clone)]
pub(crate) struct Request {
    method: Method,
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<Bytes>,
}

impl Request {
    pub(crate) fn get(url: String) -> Request {
        Request {
            method: Method::GET,
            url,
            headers: Vec::new(),
            body: None,
        }
    }

    /// The body is wiped once it is sent.
    pub(crate) fn post(url: String, kind: &'static str, body: Zeroizing<Vec<u8>>) -> Request {
        Request {
            method: Method::POST,
            url,
            headers: vec![(CONTENT_TYPE, HeaderValue::from_static(kind))],
            body: Some(Bytes::from_owner(body)),
        }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Request {
        self.headers.push((name, value));
        self
    }
}

/// An HTTPS client. Clones share their connections.
///
/// It goes to the host of the address and nowhere else: redirects are not followed, and proxies
/// named in the environment are not used. It asks for no compression, so that the limit on a body
/// is one on what it becomes as well.
///
/// Creating one starts a thread, and dropping the last clone waits for that thread, which may take
/// as long as a name is being resolved.
#[derive(Clone)]
pub struct Http {
    client: Client,
    scheme: &'static str,
}

impl Http {
    /// Reads the certificate authorities again.
    ///
    /// # Errors
    ///
    /// The file can't be read or holds no certificate, or the system has none.
    pub fn new(settings: &HttpSettings) -> Result<Http, HttpError> {
        let mut builder = Client::builder().https_only(true).no_proxy();
        if let Some(path) = &settings.ca_file {
            let roots = read_ca_file(path)?
                .iter()
                .map(|root| Certificate::from_der(root))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| HttpError::Client(chain(&error)))?;
            builder = builder.tls_certs_only(roots);
        }
        if let Some(proxy) = &settings.proxy {
            check_proxy(proxy).map_err(HttpError::Proxy)?;
            let proxy = Proxy::https(proxy).map_err(|error| HttpError::Proxy(chain(&error)))?;
            builder = builder.proxy(proxy);
        }
        Http::build(builder, "https")
    }

    /// For the endpoints of a managed identity, which are on the machine itself and speak plain HTTP.
    pub(crate) fn plain() -> Result<Http, HttpError> {
        Http::build(Client::builder().no_proxy(), "http")
    }

    fn build(
        builder: reqwest::blocking::ClientBuilder,
        scheme: &'static str,
    ) -> Result<Http, HttpError> {
        let client = builder
            .user_agent(concat!("aadauth/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(CONNECT)
            .build()
            .map_err(|error| HttpError::Client(chain(&error)))?;
        Ok(Http { client, scheme })
    }

    /// Gets what is at an `https` address.
    ///
    /// # Errors
    ///
    /// There is no complete answer of at most [`LARGEST_BODY`] bytes by `deadline`.
    pub fn get(&self, url: &str, deadline: Instant) -> Result<Response, HttpError> {
        self.send(&Request::get(url.to_owned()), deadline)
    }

    pub(crate) fn send(&self, request: &Request, deadline: Instant) -> Result<Response, HttpError> {
        let started = Instant::now();
        let slow = || HttpError::Slow(deadline.saturating_duration_since(started));
        let url = self.address(&request.url)?;
        let left = deadline.saturating_duration_since(started);
        if left.is_zero() {
            return Err(slow());
        }
        let mut builder = self
            .client
            .request(request.method.clone(), url)
            .timeout(left);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let mut response =
            builder
                .send()
                .map_err(|error| match (error.is_timeout(), error.is_connect()) {
                    (true, true) => HttpError::SlowConnection,
                    (true, false) => slow(),
                    (false, _) => HttpError::Transport(chain(&error.without_url())),
                })?;
        let text = |name| response.headers().get(name)?.to_str().ok();
        let date = text(DATE).and_then(seconds);
        let retry_after = text(RETRY_AFTER).and_then(pause);
        let status = response.status().as_u16();
        let mut body = Wiped::default();
        let mut buffer = Zeroizing::new([0; 16 * 1024]);
        loop {
            let read = response.read(&mut *buffer);
            // However the client calls it: the time is over.
            if Instant::now() >= deadline {
                return Err(slow());
            }
            let count = read.map_err(|error| HttpError::Transport(chain(&error)))?;
            if count == 0 {
                break;
            }
            body.append(buffer.get(..count).unwrap_or_default());
            if body.len() > LARGEST_BODY {
                return Err(HttpError::TooLarge(LARGEST_BODY));
            }
        }
        Ok(Response {
            status,
            body: body.into_bytes(),
            date,
            retry_after,
        })
    }

    fn address(&self, url: &str) -> Result<Url, HttpError> {
        let url = Url::parse(url).map_err(|_| HttpError::Address)?;
        let is_plain = url.username().is_empty() && url.password().is_none();
        match url.scheme() == self.scheme && url.has_host() && is_plain {
            true => Ok(url),
            false => Err(HttpError::Address),
        }
    }
}

/// The value of a Date header as seconds since 1970.
fn seconds(date: &str) -> Option<i64> {
    let date = httpdate::parse_http_date(date).ok()?;
    let since = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// The value of a Retry-After header, RFC 9110 section 10.2.3.
fn pause(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
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
    // A certificate that is not accepted is quoted in it.
    one_line(&text, 300)
}
