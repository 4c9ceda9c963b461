//! Answers requests as a fault wants it.

use std::future::{Ready, ready};
use std::io;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum_server::accept::Accept;
use serde_json::{Value, json};

use super::emulator::{Shared, locked};
use super::faults::Fault;

/// The largest body that the emulator makes, and more.
const WHOLE_BODY: usize = 1 << 24;

/// Accepts connections, unless the emulator is down.
#[derive(Clone)]
pub(super) struct Gate(pub(super) Shared);

impl<Stream, Service> Accept<Stream, Service> for Gate {
    type Stream = Stream;
    type Service = Service;
    type Future = Ready<io::Result<(Stream, Service)>>;

    fn accept(&self, stream: Stream, service: Service) -> Self::Future {
        if locked(&self.0.faults).down {
            locked(&self.0.requests).count_refused_connection();
            return ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        ready(Ok((stream, service)))
    }
}

/// Answers `request` as `fault` wants it.
pub(super) async fn disturb(
    fault: Fault,
    emulator: &Shared,
    request: Request,
    next: Next,
) -> Response {
    match fault {
        Fault::Slow(milliseconds) => {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            next.run(request).await
        }
        Fault::Down => (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::CONNECTION, "close")],
        )
            .into_response(),
        Fault::Unavailable => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Fault::Error => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Fault::Throttled(seconds) => (
            StatusCode::TOO_MANY_REQUESTS,
            [(header::RETRY_AFTER, seconds.to_string())],
        )
            .into_response(),
        Fault::Garbage => json_answer(b"{\"keys\":[\xff\xfe\0garbage".to_vec()),
        Fault::Huge(size) => {
            let mut body = b"{\"keys\":[],\"filler\":\"".to_vec();
            body.resize(size.saturating_sub(2).max(body.len()), b'x');
            body.extend_from_slice(b"\"}");
            json_answer(body)
        }
        Fault::Redirect(address) => match HeaderValue::from_str(&address) {
            Ok(address) => (StatusCode::FOUND, [(header::LOCATION, address)]).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        },
        Fault::Truncated => {
            let mut body = whole_body(next.run(request).await).await;
            body.truncate(body.len() / 2);
            json_answer(body)
        }
        Fault::EmptyKeys => replaced(next.run(request).await, "keys", |_| json!([])).await,
        Fault::WrongIssuer => {
            replaced(next.run(request).await, "issuer", |issuer| {
                let host = emulator.authority.host();
                json!(
                    issuer
                        .as_str()
                        .unwrap_or_default()
                        .replace(host, "login.example.com")
                )
            })
            .await
        }
        Fault::WrongKeysHost => {
            replaced(next.run(request).await, "jwks_uri", |address| {
                let host = emulator.authority.host();
                json!(
                    address
                        .as_str()
                        .unwrap_or_default()
                        .replace(host, "keys.example.com")
                )
            })
            .await
        }
    }
}

fn json_answer(body: Vec<u8>) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        Body::from(body),
    )
        .into_response()
}

async fn whole_body(response: Response) -> Vec<u8> {
    to_bytes(response.into_body(), WHOLE_BODY)
        .await
        .map(Vec::from)
        .unwrap_or_default()
}

/// The same document with another value for `member`; a document without it stays as it is.
async fn replaced(
    response: Response,
    member: &str,
    value: impl FnOnce(&Value) -> Value,
) -> Response {
    let (parts, body) = response.into_parts();
    let body = whole_body(Response::from_parts(parts.clone(), body)).await;
    let mut document: Value = match serde_json::from_slice(&body) {
        Ok(document) => document,
        Err(_) => return Response::from_parts(parts, Body::from(body)),
    };
    if let Some(old) = document.get_mut(member) {
        *old = value(old);
    }
    json_answer(document.to_string().into_bytes())
}
