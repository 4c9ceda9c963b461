//! The endpoint that App Service and Functions give to an app, on its own machine and with a secret
//! header, in the version of 2019-08-01.
//!
//! Microsoft: "Use managed identities for App Service and Azure Functions", REST endpoint reference.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::emulator::Shared;
use super::identity::{Asked, Rejection, cached_token, chosen_identity, refused};

const VERSION: &str = "2019-08-01";
const SECRET_HEADER: &str = "x-identity-header";

pub(in crate::server) async fn app_service(
    State(emulator): State<Shared>,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Response {
    match token(&emulator, &headers, &asked) {
        Ok(answer) => Json(answer).into_response(),
        Err(rejection) => {
            let body = json!({
                "statusCode": rejection.status.as_u16(),
                "message": rejection.description,
            });
            (rejection.status, Json(body)).into_response()
        }
    }
}

fn token(emulator: &Shared, headers: &HeaderMap, asked: &Asked) -> Result<Value, Rejection> {
    let presented = headers.get(SECRET_HEADER);
    if presented.is_none_or(|value| value.as_bytes() != emulator.identity_header.as_bytes()) {
        return Err(Rejection {
            status: StatusCode::UNAUTHORIZED,
            error: "unauthorized",
            description: "The header X-IDENTITY-HEADER is missing or wrong.".to_owned(),
        });
    }
    if asked.api_version.as_deref() != Some(VERSION) {
        return Err(refused(
            "invalid_request",
            "The api-version is not supported.",
        ));
    }
    let resource = asked.resource()?;
    let directory = emulator.directory();
    let identity = chosen_identity(&directory, asked)?;
    let token = cached_token(emulator, &directory, identity, resource)?;
    Ok(json!({
        "access_token": token.text,
        "client_id": identity.client_id,
        "expires_on": token.expires_on.to_string(),
        "resource": resource,
        "token_type": "Bearer",
    }))
}
