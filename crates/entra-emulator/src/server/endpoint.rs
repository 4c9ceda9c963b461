//! The routes, and what stands before each of them: the count of requests, and the faults.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use serde::{Deserialize, Serialize};

use super::{
    Shared, discovery, faults, graph, locked, managed_identity, token_endpoint, user_realm,
};

/// The kinds of endpoint that are counted and disturbed apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Endpoint {
    /// OpenID Connect metadata.
    Metadata,
    /// Signing keys.
    Keys,
    /// Instance discovery.
    Instance,
    /// The token endpoints.
    Token,
    /// Managed identities.
    Imds,
    /// Microsoft Graph.
    Graph,
    /// Anything else.
    Other,
}

impl Endpoint {
    pub(super) const ALL: [Endpoint; 7] = [
        Endpoint::Metadata,
        Endpoint::Keys,
        Endpoint::Instance,
        Endpoint::Token,
        Endpoint::Imds,
        Endpoint::Graph,
        Endpoint::Other,
    ];

    fn of(path: &str) -> Endpoint {
        let path = path.trim_end_matches('/');
        if path.ends_with("/.well-known/openid-configuration") {
            Endpoint::Metadata
        } else if path.ends_with("/discovery/keys") || path.ends_with("/discovery/v2.0/keys") {
            Endpoint::Keys
        } else if path.ends_with("/discovery/instance") {
            Endpoint::Instance
        } else if path == "/metadata/identity/oauth2/token" || path == APP_SERVICE {
            Endpoint::Imds
        } else if TOKENS.iter().any(|end| path.ends_with(end)) {
            Endpoint::Token
        } else if path
            .strip_prefix(graph::ROOT)
            .is_some_and(|rest| rest.starts_with('/'))
        {
            Endpoint::Graph
        } else {
            Endpoint::Other
        }
    }
}

/// Where App Service's managed identities are.
pub(super) const APP_SERVICE: &str = "/msi/token";
/// How the paths end on which tokens are had, and device codes on the way to them.
const TOKENS: [&str; 4] = [
    "/oauth2/token",
    "/oauth2/v2.0/token",
    "/oauth2/devicecode",
    "/oauth2/v2.0/devicecode",
];

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
        .route(&format!("{}/{{*path}}", graph::ROOT), any(graph::answer))
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
        .route(APP_SERVICE, get(managed_identity::app_service))
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
        Some(fault) => faults::disturb(fault, &emulator, request, next).await,
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn paths_belong_to_endpoints() {
        for (path, endpoint) in [
            ("/common/discovery/instance", Endpoint::Instance),
            (
                "/contoso.com/.well-known/openid-configuration",
                Endpoint::Metadata,
            ),
            (
                "/contoso.com/v2.0/.well-known/openid-configuration",
                Endpoint::Metadata,
            ),
            ("/common/discovery/keys", Endpoint::Keys),
            ("/common/discovery/v2.0/keys", Endpoint::Keys),
            ("/contoso.com/oauth2/token", Endpoint::Token),
            ("/contoso.com/oauth2/v2.0/token", Endpoint::Token),
            ("/contoso.com/oauth2/v2.0/devicecode", Endpoint::Token),
            ("/metadata/identity/oauth2/token", Endpoint::Imds),
            ("/msi/token", Endpoint::Imds),
            ("/metadata/identity/oauth2/token/", Endpoint::Imds),
            ("/v1.0/users/alice@contoso.com", Endpoint::Graph),
            ("/v1.0x", Endpoint::Other),
            ("/", Endpoint::Other),
        ] {
            assert_eq!(Endpoint::of(path), endpoint, "{path}");
        }
    }
}
