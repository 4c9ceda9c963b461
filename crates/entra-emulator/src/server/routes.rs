//! The routes, and what precedes each of them: the count of requests, and the faults.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};

use super::authorize::authorize;
use super::emulator::{Shared, locked};
use super::endpoint::{self, Endpoint};
use super::{discovery, disturb, graph, managed_identity, token_endpoint, user_realm};

pub(super) fn authority(emulator: Shared) -> Router {
    Router::new()
        .route("/common/discovery/instance", get(discovery::instance))
        .route(
            "/{tenant}/.well-known/openid-configuration",
            get(discovery::metadata_v1),
        )
        .route(
            "/{tenant}/v2.0/.well-known/openid-configuration",
            get(discovery::metadata_v2),
        )
        .route("/{tenant}/discovery/keys", get(discovery::keys_v1))
        .route("/{tenant}/discovery/v2.0/keys", get(discovery::keys_v2))
        .route("/{tenant}/oauth2/v2.0/authorize", get(authorize))
        .route("/{tenant}/oauth2/token", post(token_endpoint::v1))
        .route("/{tenant}/oauth2/v2.0/token", post(token_endpoint::v2))
        .route(
            "/{tenant}/oauth2/devicecode",
            post(token_endpoint::device_code_v1),
        )
        .route(
            "/{tenant}/oauth2/v2.0/devicecode",
            post(token_endpoint::device_code_v2),
        )
        .route(
            "/common/oauth2/deviceauth",
            get(token_endpoint::device_page),
        )
        .route("/{tenant}/userrealm/{user}", get(user_realm::user_realm))
        .route(
            &format!("{}/{{*path}}", endpoint::GRAPH),
            any(graph::answer),
        )
        .fallback(absent)
        .layer(from_fn_with_state(emulator.clone(), observe))
        .with_state(emulator)
}

pub(super) fn managed_identity(emulator: Shared) -> Router {
    Router::new()
        .route(
            "/metadata/identity/oauth2/token",
            get(managed_identity::machine),
        )
        .route(
            "/metadata/identity/oauth2/token/",
            get(managed_identity::machine),
        )
        .route(endpoint::APP_SERVICE, get(managed_identity::app_service))
        .fallback(absent)
        .layer(from_fn_with_state(emulator.clone(), observe))
        .with_state(emulator)
}

async fn absent(method: Method, uri: axum::http::Uri) -> Response {
    let text = format!("the emulator has no {method} {}\n", uri.path());
    (StatusCode::NOT_FOUND, text).into_response()
}

async fn observe(State(emulator): State<Shared>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let endpoint = Endpoint::of(&path);
    locked(&emulator.requests).count(endpoint, &path);
    let fault = locked(&emulator.faults).strike(endpoint);
    match fault {
        None => next.run(request).await,
        Some(fault) => disturb::disturb(fault, &emulator, request, next).await,
    }
}
