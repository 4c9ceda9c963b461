//! The token endpoints, v1 (`resource`) and v2 (`scope`), for client credentials with a secret.
//!
//! Microsoft: "OAuth 2.0 client credentials flow on the Microsoft identity platform".

use axum::Json;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::Refusal;
use super::form::form_decoded;
use super::{Emulator, Shared, now};
use crate::directory::{Application, Subject, Tenant};
use crate::token::{MintError, Token, TokenRequest, mint};

#[derive(Deserialize)]
pub(super) struct Grant {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    scope: Option<String>,
    resource: Option<String>,
}

pub(super) async fn v1(
    State(emulator): State<Shared>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    Form(grant): Form<Grant>,
) -> Result<Response, Refusal> {
    let resource = grant
        .resource
        .clone()
        .ok_or(Refusal::ParameterMissing("resource"));
    let (token, resource) = grant_token(&emulator, &tenant, &headers, &grant, || resource)?;
    let lifetime = (token.expires_on - now()).to_string();
    // This endpoint writes its numbers as text.
    Ok(answer(json!({
        "token_type": "Bearer",
        "expires_in": lifetime,
        "ext_expires_in": lifetime,
        "expires_on": token.expires_on.to_string(),
        "not_before": token.not_before.to_string(),
        "resource": resource,
        "access_token": token.text,
    })))
}

pub(super) async fn v2(
    State(emulator): State<Shared>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    Form(grant): Form<Grant>,
) -> Result<Response, Refusal> {
    let resource = || {
        let scope = grant
            .scope
            .as_deref()
            .ok_or(Refusal::ParameterMissing("scope"))?;
        // `https://x//.default` is for `https://x/`: only the suffix goes.
        scope
            .strip_suffix("/.default")
            .filter(|resource| !resource.is_empty() && !resource.contains(' '))
            .map(str::to_owned)
            .ok_or_else(|| Refusal::ScopeNotDefault(scope.to_owned()))
    };
    let (token, _) = grant_token(&emulator, &tenant, &headers, &grant, resource)?;
    let lifetime = token.expires_on - now();
    Ok(answer(json!({
        "token_type": "Bearer",
        "expires_in": lifetime,
        "ext_expires_in": lifetime,
        "access_token": token.text,
    })))
}

fn answer(body: Value) -> Response {
    (
        [
            (header::CACHE_CONTROL, "no-store, no-cache"),
            (header::PRAGMA, "no-cache"),
        ],
        Json(body),
    )
        .into_response()
}

/// The token, and the resource that was asked for.
fn grant_token(
    emulator: &Emulator,
    tenant: &str,
    headers: &HeaderMap,
    grant: &Grant,
    resource: impl FnOnce() -> Result<String, Refusal>,
) -> Result<(Token, String), Refusal> {
    if ["common", "organizations"].contains(&tenant) {
        return Err(Refusal::TenantMissing);
    }
    let directory = emulator.directory();
    let tenant = directory
        .tenant(tenant)
        .ok_or_else(|| Refusal::TenantNotFound(tenant.to_owned()))?;
    match grant.grant_type.as_deref() {
        None => return Err(Refusal::ParameterMissing("grant_type")),
        Some("client_credentials") => {}
        Some(other) => return Err(Refusal::UnsupportedGrant(other.to_owned())),
    }
    let client = authenticate(tenant, headers, grant)?;
    let resource = resource()?;
    let request = TokenRequest::new(
        Subject::ServicePrincipal(client.object_id.to_string()),
        &resource,
        emulator.authority.clone(),
        now(),
    );
    match mint(&directory, &emulator.keys(), &request) {
        Ok(token) => Ok((token, resource)),
        Err(MintError::Resource { name, .. }) => Err(Refusal::ResourceNotFound {
            resource: name,
            tenant: tenant.name.clone(),
        }),
        Err(error) => Err(Refusal::Internal(error.to_string())),
    }
}

/// The application whose id and secret the form or the Authorization header carries.
fn authenticate<'a>(
    tenant: &'a Tenant,
    headers: &HeaderMap,
    grant: &Grant,
) -> Result<&'a Application, Refusal> {
    let basic = basic_credentials(headers);
    let (client_id, secret) = match &basic {
        Some((client_id, secret)) => (Some(client_id), Some(secret)),
        None => (grant.client_id.as_ref(), grant.client_secret.as_ref()),
    };
    let client_id = client_id.ok_or(Refusal::ParameterMissing("client_id"))?;
    let application = tenant
        .applications
        .iter()
        .find(|application| {
            application
                .client_id
                .to_string()
                .eq_ignore_ascii_case(client_id)
        })
        .ok_or_else(|| Refusal::ApplicationNotFound {
            client_id: client_id.clone(),
            tenant: tenant.name.clone(),
        })?;
    let secret = secret.ok_or(Refusal::SecretMissing)?;
    if !application.secrets.iter().any(|own| own.is(secret)) {
        return Err(Refusal::SecretWrong {
            client_id: client_id.clone(),
        });
    }
    Ok(application)
}

/// RFC 6749 section 2.3.1: both parts are form-encoded before they are joined.
fn basic_credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let decoded = STANDARD.decode(value.strip_prefix("Basic ")?.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (client_id, secret) = text.split_once(':')?;
    Some((form_decoded(client_id)?, form_decoded(secret)?))
}
