//! The token endpoints, v1 (`resource`) and v2 (`scope`), and the grants that Microsoft's client
//! libraries use there.
//!
//! Microsoft: "OAuth 2.0 client credentials flow", "OAuth 2.0 Resource Owner Password Credentials",
//! "OAuth 2.0 device authorization grant flow" and "Refresh tokens", all on the Microsoft identity
//! platform.

mod application;
mod assertion;
mod device_code;
mod scope;
mod unproven;
mod user;

use axum::Json;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::Refusal;
use super::{Emulator, Shared, now};
use crate::authority::TokenVersion;
use crate::directory::{Directory, Subject, Tenant};
use crate::token::{MintError, Token, TokenRequest, mint};

pub use device_code::{DeviceAnswer, DeviceOrder};
pub(super) use device_code::{DeviceCodes, device_code_v1, device_code_v2, device_page};
pub(super) use unproven::Unproven;
pub(super) use user::RefreshTokens;

const DEVICE_CODE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Names under which clients ask for no tenant in particular.
const ANYBODY: [&str; 2] = ["common", "organizations"];

/// What clients send. Not `Debug`: much of it is secret.
#[derive(Deserialize)]
pub(super) struct Grant {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    client_assertion_type: Option<String>,
    client_assertion: Option<String>,
    scope: Option<String>,
    resource: Option<String>,
    username: Option<String>,
    password: Option<String>,
    /// Both names are in use for the same thing.
    device_code: Option<String>,
    code: Option<String>,
    refresh_token: Option<String>,
    client_info: Option<String>,
}

pub(super) async fn v1(
    State(emulator): State<Shared>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    Form(grant): Form<Grant>,
) -> Result<Response, Refusal> {
    exchange(&emulator, TokenVersion::V1, &tenant, &headers, &grant)
}

pub(super) async fn v2(
    State(emulator): State<Shared>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    Form(grant): Form<Grant>,
) -> Result<Response, Refusal> {
    exchange(&emulator, TokenVersion::V2, &tenant, &headers, &grant)
}

fn exchange(
    emulator: &Emulator,
    version: TokenVersion,
    place: &str,
    headers: &HeaderMap,
    grant: &Grant,
) -> Result<Response, Refusal> {
    let exchange = Exchange {
        emulator,
        directory: &emulator.directory(),
        version,
        place,
        headers,
        grant,
    };
    let issued = match grant.grant_type.as_deref() {
        None => return Err(Refusal::ParameterMissing("grant_type")),
        Some("client_credentials") => exchange.client_credentials()?,
        Some("password") => exchange.password()?,
        Some("device_code" | DEVICE_CODE_GRANT) => exchange.device_code()?,
        Some("refresh_token") => exchange.refresh()?,
        Some(other) => return Err(Refusal::UnsupportedGrant(other.to_owned())),
    };
    let headers = [
        (header::CACHE_CONTROL, "no-store, no-cache"),
        (header::PRAGMA, "no-cache"),
    ];
    Ok((headers, Json(issued.answer(version))).into_response())
}

/// One request, and what it is answered from.
struct Exchange<'a> {
    emulator: &'a Emulator,
    directory: &'a Directory,
    version: TokenVersion,
    /// The tenant as the path names it.
    place: &'a str,
    headers: &'a HeaderMap,
    grant: &'a Grant,
}

impl<'a> Exchange<'a> {
    /// # Errors
    /// The path names no tenant of the directory, or none in particular.
    fn tenant(&self) -> Result<&'a Tenant, Refusal> {
        if ANYBODY.contains(&self.place) {
            return Err(Refusal::TenantMissing);
        }
        let found = self.directory.tenant(self.place);
        found.ok_or_else(|| Refusal::TenantNotFound(self.place.to_owned()))
    }

    fn client_credentials(&self) -> Result<Issued, Refusal> {
        let tenant = self.tenant()?;
        let (client, proof) = self.authenticated(tenant)?;
        let resource = self.resource_of_application()?;
        let request = TokenRequest {
            proof,
            ..self.request(
                Subject::ServicePrincipal(client.object_id.to_string()),
                &resource,
            )
        };
        Ok(Issued {
            token: self.mint(tenant, &request)?,
            resource,
            beside: Map::new(),
        })
    }

    fn request(&self, subject: Subject, resource: &str) -> TokenRequest {
        TokenRequest::new(subject, resource, self.emulator.authority.clone(), now())
    }

    fn mint(&self, tenant: &Tenant, request: &TokenRequest) -> Result<Token, Refusal> {
        match mint(self.directory, &self.emulator.keys(), request) {
            Ok(token) => Ok(token),
            Err(MintError::Resource { name, .. }) => Err(Refusal::ResourceNotFound {
                resource: name,
                tenant: tenant.name.clone(),
            }),
            Err(error) => Err(Refusal::Internal(error.to_string())),
        }
    }
}

/// What a grant was exchanged for.
struct Issued {
    token: Token,
    resource: String,
    /// What users' clients get too: scope, ID token, refresh token, client info.
    beside: Map<String, Value>,
}

impl Issued {
    /// The v1 endpoint writes its numbers as text.
    fn answer(self, version: TokenVersion) -> Value {
        let lifetime = self.token.expires_on - now();
        let mut answer = match version {
            TokenVersion::V1 => json!({
                "token_type": "Bearer",
                "expires_in": lifetime.to_string(),
                "ext_expires_in": lifetime.to_string(),
                "expires_on": self.token.expires_on.to_string(),
                "not_before": self.token.not_before.to_string(),
                "resource": self.resource,
                "access_token": self.token.text,
            }),
            TokenVersion::V2 => json!({
                "token_type": "Bearer",
                "expires_in": lifetime,
                "ext_expires_in": lifetime,
                "access_token": self.token.text,
            }),
        };
        if let Value::Object(members) = &mut answer {
            members.extend(self.beside);
        }
        answer
    }
}
