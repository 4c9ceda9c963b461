//! The managed identity endpoint of virtual machines, part of their instance metadata service.
//!
//! Microsoft: "How to use managed identities for Azure resources on an Azure VM to acquire an
//! access token". Plain HTTP, as the real one at 169.254.169.254.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Emulator, Shared, locked, now};
use crate::directory::{Directory, IdentityKind, ManagedIdentity, Subject};
use crate::token::{MintError, Token, TokenRequest, mint};

/// The versions in which the service has this endpoint; the first one there was.
const OLDEST_VERSION: &str = "2018-02-01";
/// A cached token is handed out until this many seconds before it expires.
const RENEWAL: i64 = 12 * 3600;

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(rename = "api-version")]
    api_version: Option<String>,
    resource: Option<String>,
    client_id: Option<String>,
    object_id: Option<String>,
    msi_res_id: Option<String>,
    /// What `msi_res_id` is called in other services of Azure.
    mi_res_id: Option<String>,
}

pub(super) async fn token(
    State(emulator): State<Shared>,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, Objection> {
    // Both keep requests out that somebody made a server on the machine forward.
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
    let resource = asked
        .resource
        .as_deref()
        .filter(|resource| !resource.is_empty())
        .ok_or_else(|| {
            refused(
                "invalid_request",
                "Required query variable 'resource' is missing",
            )
        })?;
    let directory = emulator.directory();
    let identity = chosen_identity(&directory, &asked)?;
    let token = cached_token(&emulator, &directory, identity, resource)?;
    // Every number is text here.
    Ok(Json(json!({
        "access_token": token.text,
        "client_id": identity.client_id,
        "expires_in": (token.expires_on - now()).to_string(),
        "expires_on": token.expires_on.to_string(),
        "ext_expires_in": (token.expires_on - now()).to_string(),
        "not_before": token.not_before.to_string(),
        "resource": resource,
        "token_type": "Bearer",
    })))
}

/// What the service objects to. Its errors carry no codes.
pub(super) struct Objection {
    status: StatusCode,
    error: &'static str,
    description: String,
}

impl IntoResponse for Objection {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.error, "error_description": self.description });
        (self.status, Json(body)).into_response()
    }
}

fn refused(error: &'static str, description: &str) -> Objection {
    Objection {
        status: StatusCode::BAD_REQUEST,
        error,
        description: description.to_owned(),
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(place, byte)| match place {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

/// The identity that is named, else the machine's own, else the only one there is.
fn chosen_identity<'a>(
    directory: &'a Directory,
    asked: &Asked,
) -> Result<&'a ManagedIdentity, Objection> {
    let mut all = directory
        .tenants
        .iter()
        .flat_map(|tenant| tenant.managed_identities.iter());
    let not_found = || refused("invalid_request", "Identity not found");
    let resource_id = asked.msi_res_id.as_deref().or(asked.mi_res_id.as_deref());
    match (
        asked.client_id.as_deref(),
        asked.object_id.as_deref(),
        resource_id,
    ) {
        (None, None, None) => {
            let identities: Vec<&ManagedIdentity> = all.collect();
            let system = identities
                .iter()
                .find(|one| one.kind == IdentityKind::System);
            match (system, identities.as_slice()) {
                (Some(identity), _) | (None, [identity]) => Ok(identity),
                (None, []) => Err(not_found()),
                (None, _) => Err(refused(
                    "invalid_request",
                    "Multiple user assigned identities exist, please specify the clientId / \
                     resourceId of the identity in the token request",
                )),
            }
        }
        (Some(id), None, None) => all
            .find(|one| same_id(one.client_id, id))
            .ok_or_else(not_found),
        (None, Some(id), None) => all
            .find(|one| same_id(one.object_id, id))
            .ok_or_else(not_found),
        (None, None, Some(id)) => all
            .find(|one| one.resource_id.eq_ignore_ascii_case(id))
            .ok_or_else(not_found),
        _ => Err(refused(
            "invalid_request",
            "The identity is named in more than one way",
        )),
    }
}

fn same_id(own: Uuid, asked: &str) -> bool {
    Uuid::try_parse(asked).ok() == Some(own)
}

fn cached_token(
    emulator: &Emulator,
    directory: &Directory,
    identity: &ManagedIdentity,
    resource: &str,
) -> Result<Token, Objection> {
    let place = (identity.object_id, resource.to_owned());
    let mut cache = locked(&emulator.managed_tokens);
    let keys = emulator.keys();
    if let Some(token) = cache.get(&place) {
        // A key is retired in earnest only when no token of its is left; here on request.
        let known = keys
            .published()
            .iter()
            .any(|key| key.key_id() == token.key_id);
        if known && token.expires_on - now() > RENEWAL {
            return Ok(token.clone());
        }
    }
    let request = TokenRequest::new(
        Subject::ManagedIdentity(identity.object_id.to_string()),
        resource,
        emulator.authority.clone(),
        now(),
    );
    let token = mint(directory, &keys, &request).map_err(|error| match error {
        MintError::Resource { name, .. } => refused(
            "invalid_resource",
            &format!("AADSTS500011: The resource principal named {name} was not found."),
        ),
        other => Objection {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            error: "server_error",
            description: other.to_string(),
        },
    })?;
    cache.insert(place, token.clone());
    Ok(token)
}
