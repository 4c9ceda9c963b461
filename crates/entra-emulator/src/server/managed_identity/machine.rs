//! The endpoint of virtual machines, part of their instance metadata service.
//!
//! Microsoft: "How to use managed identities for Azure resources on an Azure VM to acquire an
//! access token". Plain HTTP, as the real one at 169.254.169.254.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::emulator::Shared;
use super::identity::{Asked, Rejection, cached_token, chosen_identity, refused};
use crate::clock::now;

/// The versions in which the service has this endpoint; the first one there was.
const OLDEST_VERSION: &str = "2018-02-01";

pub(in crate::server) async fn machine(
    State(emulator): State<Shared>,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Response {
    match token(&emulator, &headers, &asked) {
        Ok(answer) => Json(answer).into_response(),
        Err(rejection) => {
            let body = json!({
                "error": rejection.error,
                "error_description": rejection.description,
            });
            (rejection.status, Json(body)).into_response()
        }
    }
}

fn token(emulator: &Shared, headers: &HeaderMap, asked: &Asked) -> Result<Value, Rejection> {
    // Both keep out requests that a server on the machine was made to forward.
    if headers
        .get("metadata")
        .is_none_or(|value| !value.as_bytes().eq_ignore_ascii_case(b"true"))
    {
        return Err(refused(
            "invalid_request",
            "Required metadata header not specified",
        ));
    }
    if headers.contains_key("x-forwarded-for") {
        return Err(refused(
            "invalid_request",
            "Forwarded requests are not served",
        ));
    }
    match asked.api_version.as_deref() {
        Some(version) if is_date(version) && version >= OLDEST_VERSION => {}
        Some(_) => {
            return Err(refused(
                "invalid_request",
                "The api-version is not supported",
            ));
        }
        None => {
            return Err(refused(
                "invalid_request",
                "Required query variable 'api-version' is missing",
            ));
        }
    }
    let resource = asked.resource()?;
    let directory = emulator.directory();
    let identity = chosen_identity(&directory, asked)?;
    let token = cached_token(emulator, &directory, identity, resource)?;
    // Every number is text here.
    Ok(json!({
        "access_token": token.text,
        "client_id": identity.client_id,
        "expires_in": (token.expires_on - now()).to_string(),
        "expires_on": token.expires_on.to_string(),
        "ext_expires_in": (token.expires_on - now()).to_string(),
        "not_before": token.not_before.to_string(),
        "resource": resource,
        "token_type": "Bearer",
    }))
}

fn is_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(place, byte)| match place {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}
