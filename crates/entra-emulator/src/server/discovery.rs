//! OpenID Connect discovery, the signing keys, and instance discovery.
//!
//! Documents are those of `/{tenant}/.well-known/openid-configuration` (v1) and
//! `/{tenant}/v2.0/.well-known/openid-configuration`, where `{tenant}` is a GUID, a domain or
//! `common`. They list the endpoints that the emulator has, and the authorization endpoint of v1, without
//! which Microsoft's libraries refuse them.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::emulator::Shared;
use super::error::Refusal;
use crate::authority::TokenVersion;

/// Means any tenant in the documents of `common`.
const ANY_TENANT: &str = "{tenantid}";
/// Names under which clients ask for no tenant in particular.
const ANYBODY: [&str; 2] = ["common", "organizations"];

pub(super) async fn metadata_v1(
    State(emulator): State<Shared>,
    Path(tenant): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let place = Place::find(&emulator, tenant)?;
    let host = emulator.authority.address();
    let path = &place.path;
    let mut document = common_members(&place, TokenVersion::V1, &emulator);
    extend(
        &mut document,
        json!({
            "authorization_endpoint": format!("{host}/{path}/oauth2/authorize"),
            "token_endpoint": format!("{host}/{path}/oauth2/token"),
            "device_authorization_endpoint": format!("{host}/{path}/oauth2/devicecode"),
            // One key set serves all tenants.
            "jwks_uri": format!("{host}/common/discovery/keys"),
            "claims_supported": ["sub", "iss", "aud", "exp", "iat", "amr", "nonce", "upn"],
            "microsoft_multi_refresh_token": true,
        }),
    );
    Ok(Json(document))
}

pub(super) async fn metadata_v2(
    State(emulator): State<Shared>,
    Path(tenant): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let place = Place::find(&emulator, tenant)?;
    let host = emulator.authority.address();
    let path = &place.path;
    let mut document = common_members(&place, TokenVersion::V2, &emulator);
    extend(
        &mut document,
        json!({
            "authorization_endpoint": format!("{host}/{path}/oauth2/v2.0/authorize"),
            "token_endpoint": format!("{host}/{path}/oauth2/v2.0/token"),
            "device_authorization_endpoint":
                format!("{host}/{path}/oauth2/v2.0/devicecode"),
            "jwks_uri": format!("{host}/{path}/discovery/v2.0/keys"),
            "claims_supported": [
                "sub", "iss", "aud", "exp", "iat", "nonce", "preferred_username", "name", "tid",
            ],
            "request_uri_parameter_supported": false,
        }),
    );
    Ok(Json(document))
}

pub(super) async fn keys_v1(
    State(emulator): State<Shared>,
    Path(tenant): Path<String>,
) -> Result<Json<Value>, Refusal> {
    Place::find(&emulator, tenant)?;
    Ok(Json(emulator.keys().key_set(None)))
}

/// v2 keys name the issuer that they belong to.
pub(super) async fn keys_v2(
    State(emulator): State<Shared>,
    Path(tenant): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let place = Place::find(&emulator, tenant)?;
    let issuer = emulator.authority.issuer(TokenVersion::V2, &place.tenant);
    Ok(Json(emulator.keys().key_set(Some(&issuer))))
}

#[derive(Deserialize)]
pub(super) struct InstanceQuery {
    authorization_endpoint: Option<String>,
}

/// Says which hosts are this cloud: the emulator's own address.
pub(super) async fn instance(
    State(emulator): State<Shared>,
    Query(query): Query<InstanceQuery>,
) -> Result<Json<Value>, Refusal> {
    let host = emulator.authority.address();
    let asked = query
        .authorization_endpoint
        .ok_or(Refusal::ParameterMissing("authorization_endpoint"))?;
    let tenant = asked
        .strip_prefix(host)
        .and_then(|rest| rest.split('/').nth(1))
        .filter(|tenant| !tenant.is_empty())
        .unwrap_or("common");
    let name = emulator.authority.host();
    Ok(Json(json!({
        "tenant_discovery_endpoint": format!("{host}/{tenant}/v2.0/.well-known/openid-configuration"),
        "api-version": "1.1",
        "metadata": [{
            "preferred_network": name,
            "preferred_cache": name,
            "aliases": [name],
        }],
    })))
}

/// The tenant as a document's addresses and its issuer name it.
struct Place {
    path: String,
    tenant: String,
}

impl Place {
    /// Documents name the tenant by GUID even when it was asked for by domain.
    fn find(emulator: &Shared, asked: String) -> Result<Place, Refusal> {
        if ANYBODY.contains(&asked.as_str()) {
            return Ok(Place {
                path: asked,
                tenant: ANY_TENANT.to_owned(),
            });
        }
        match emulator.directory().tenant(&asked) {
            Some(tenant) => {
                let id = tenant.id.to_string();
                Ok(Place {
                    path: id.clone(),
                    tenant: id,
                })
            }
            None => Err(Refusal::TenantNotFound(asked)),
        }
    }
}

fn common_members(place: &Place, version: TokenVersion, emulator: &Shared) -> Value {
    json!({
        "issuer": emulator.authority.issuer(version, &place.tenant),
        "token_endpoint_auth_methods_supported": [
            "client_secret_post", "private_key_jwt", "client_secret_basic",
        ],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "response_types_supported": ["code"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "tenant_region_scope": Value::Null,
        "cloud_instance_name": emulator.authority.host(),
    })
}

fn extend(document: &mut Value, more: Value) {
    if let (Value::Object(document), Value::Object(more)) = (document, more) {
        document.extend(more);
    }
}
