//! The control interface: rotation of keys, faults, changes to the directory, and the count of
//! requests. Always on loopback.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::emulator::{Shared, locked};
use super::faults::FaultOrder;
use super::token_endpoint::DeviceOrder;

use crate::directory::Change;
use crate::signing_keys::SigningKeyError;

pub(super) fn routes(emulator: Shared) -> Router {
    Router::new()
        .route("/keys", get(keys))
        .route("/keys/rotate", post(rotate))
        .route("/keys/retire", post(retire))
        .route("/faults", get(faults).put(set_fault).delete(clear_faults))
        .route("/directory", post(change_directory))
        .route("/device", post(answer_device_code))
        .route("/requests", get(requests).delete(reset_requests))
        .layer(from_fn(no_browsers))
        .with_state(emulator)
}

/// A web page that is open on this machine must not order faults. Browsers send one of
/// these headers, or a Host that was made to resolve to loopback.
async fn no_browsers(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if headers.contains_key(header::ORIGIN) || !["127.0.0.1", "localhost"].contains(&name) {
        return StatusCode::FORBIDDEN.into_response();
    }
    next.run(request).await
}

async fn keys(State(emulator): State<Shared>) -> Result<Json<Value>, Failure> {
    let keys = emulator.keys();
    let published: Vec<&str> = keys.published().iter().map(|key| key.key_id()).collect();
    Ok(Json(
        json!({ "signing": keys.current()?.key_id(), "published": published }),
    ))
}

async fn rotate(State(emulator): State<Shared>) -> Result<Json<Value>, Failure> {
    let key_id = emulator.keys().rotate()?;
    Ok(Json(json!({ "signing": key_id })))
}

#[derive(Deserialize)]
struct Retirement {
    key_id: Option<String>,
}

async fn retire(
    State(emulator): State<Shared>,
    Json(asked): Json<Retirement>,
) -> Result<Json<Value>, Failure> {
    let key_id = emulator.keys().retire(asked.key_id.as_deref())?;
    Ok(Json(json!({ "retired": key_id })))
}

async fn faults(State(emulator): State<Shared>) -> Json<Value> {
    Json(locked(&emulator.faults).json())
}

async fn set_fault(State(emulator): State<Shared>, Json(order): Json<FaultOrder>) -> Response {
    let mut faults = locked(&emulator.faults);
    match faults.set(&order) {
        Ok(()) => Json(faults.json()).into_response(),
        Err(problem) => {
            (StatusCode::BAD_REQUEST, Json(json!({ "error": problem }))).into_response()
        }
    }
}

async fn clear_faults(State(emulator): State<Shared>) -> Json<Value> {
    let mut faults = locked(&emulator.faults);
    faults.clear();
    Json(faults.json())
}

async fn change_directory(State(emulator): State<Shared>, Json(change): Json<Change>) -> Response {
    match emulator.change_directory(&change) {
        Ok(object_id) => Json(json!({ "changed": object_id })).into_response(),
        Err(problem) => {
            let answer = json!({ "error": problem.to_string() });
            (StatusCode::BAD_REQUEST, Json(answer)).into_response()
        }
    }
}

async fn answer_device_code(
    State(emulator): State<Shared>,
    Json(order): Json<DeviceOrder>,
) -> Response {
    let directory = emulator.directory();
    match locked(&emulator.device_codes).answer(&directory, &order) {
        Ok(()) => Json(json!({ "answered": order.user_code })).into_response(),
        Err(problem) => {
            (StatusCode::BAD_REQUEST, Json(json!({ "error": problem }))).into_response()
        }
    }
}

async fn requests(State(emulator): State<Shared>) -> Json<Value> {
    Json(locked(&emulator.requests).json())
}

async fn reset_requests(State(emulator): State<Shared>) -> Json<Value> {
    let mut requests = locked(&emulator.requests);
    *requests = Default::default();
    Json(requests.json())
}

struct Failure(SigningKeyError);

impl From<SigningKeyError> for Failure {
    fn from(error: SigningKeyError) -> Failure {
        Failure(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.0 {
            SigningKeyError::Unknown(_) => StatusCode::NOT_FOUND,
            SigningKeyError::InUse => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({ "error": self.0.to_string() }))).into_response()
    }
}
