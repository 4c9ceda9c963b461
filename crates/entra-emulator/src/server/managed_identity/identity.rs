//! Which identity a request is for, and its token.

use axum::http::StatusCode;
use serde::Deserialize;
use uuid::Uuid;

use super::super::emulator::{Emulator, locked};
use crate::clock::now;
use crate::directory::{Directory, IdentityKind, ManagedIdentity, Subject};
use crate::token::{MintError, Token, TokenRequest, mint};

/// A cached token is handed out until this many seconds before it expires.
const RENEWAL: i64 = 12 * 3600;

#[derive(Deserialize)]
pub(in crate::server) struct Asked {
    #[serde(rename = "api-version")]
    pub(super) api_version: Option<String>,
    resource: Option<String>,
    client_id: Option<String>,
    #[serde(alias = "principal_id")]
    object_id: Option<String>,
    msi_res_id: Option<String>,
    /// What `msi_res_id` is called in other services of Azure.
    mi_res_id: Option<String>,
}

impl Asked {
    pub(super) fn resource(&self) -> Result<&str, Rejection> {
        let resource = self
            .resource
            .as_deref()
            .filter(|resource| !resource.is_empty());
        resource.ok_or_else(|| {
            refused(
                "invalid_request",
                "Required query variable 'resource' is missing",
            )
        })
    }
}

/// Why an endpoint gives no token. Errors of managed identities carry no codes.
pub(super) struct Rejection {
    pub(super) status: StatusCode,
    pub(super) error: &'static str,
    pub(super) description: String,
}

pub(super) fn refused(error: &'static str, description: &str) -> Rejection {
    Rejection {
        status: StatusCode::BAD_REQUEST,
        error,
        description: description.to_owned(),
    }
}

/// The identity that is named, else the machine's own, else the only one there is.
pub(super) fn chosen_identity<'a>(
    directory: &'a Directory,
    asked: &Asked,
) -> Result<&'a ManagedIdentity, Rejection> {
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

pub(super) fn cached_token(
    emulator: &Emulator,
    directory: &Directory,
    identity: &ManagedIdentity,
    resource: &str,
) -> Result<Token, Rejection> {
    let place = (identity.object_id, resource.to_owned());
    let mut cache = locked(&emulator.managed_tokens);
    let keys = emulator.keys();
    if let Some(token) = cache.get(&place) {
        // Entra retires a key only when none of its tokens is left; the emulator does so on request.
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
        other => Rejection {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            error: "server_error",
            description: other.to_string(),
        },
    })?;
    cache.insert(place, token.clone());
    Ok(token)
}
