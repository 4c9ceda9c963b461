//! One request for a token, and what it is exchanged for.

use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::emulator::Emulator;
use super::super::error::Refusal;
use super::scope::{UserScope, user_scope};
use crate::authority::TokenVersion;
use crate::clock::now;
use crate::directory::{Directory, Subject, Tenant};
use crate::token::{MintError, Token, TokenRequest, mint};

/// Names under which clients ask for no tenant in particular.
pub(super) const ANYBODY: [&str; 2] = ["common", "organizations"];

/// What clients send. Not `Debug`: much of it is secret.
#[derive(Deserialize)]
pub(in crate::server) struct Grant {
    pub(super) grant_type: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<String>,
    pub(super) client_assertion_type: Option<String>,
    pub(super) client_assertion: Option<String>,
    pub(super) scope: Option<String>,
    pub(super) resource: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    /// Both names are in use for device codes.
    pub(super) device_code: Option<String>,
    pub(super) code: Option<String>,
    pub(super) redirect_uri: Option<String>,
    pub(super) code_verifier: Option<String>,
    pub(super) refresh_token: Option<String>,
    pub(super) client_info: Option<String>,
}

/// One request, and what it is answered from.
pub(super) struct Exchange<'a> {
    pub(super) emulator: &'a Emulator,
    pub(super) directory: &'a Directory,
    pub(super) version: TokenVersion,
    /// The tenant as the path names it.
    pub(super) place: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) grant: &'a Grant,
}

impl<'a> Exchange<'a> {
    /// # Errors
    /// The path names no tenant of the directory, or none in particular.
    pub(super) fn tenant(&self) -> Result<&'a Tenant, Refusal> {
        if ANYBODY.contains(&self.place) {
            return Err(Refusal::TenantMissing);
        }
        let found = self.directory.tenant(self.place);
        found.ok_or_else(|| Refusal::TenantNotFound(self.place.to_owned()))
    }

    pub(super) fn request(&self, subject: Subject, resource: &str) -> TokenRequest {
        TokenRequest::new(subject, resource, self.emulator.authority.clone(), now())
    }

    pub(super) fn mint(&self, tenant: &Tenant, request: &TokenRequest) -> Result<Token, Refusal> {
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

impl Exchange<'_> {
    /// The resource that an application wants a token for, in its own name.
    pub(super) fn resource_of_application(&self) -> Result<String, Refusal> {
        match self.version {
            TokenVersion::V1 => self.v1_resource(),
            TokenVersion::V2 => {
                let scope = self.grant.scope.as_deref();
                let scope = scope.ok_or(Refusal::ParameterMissing("scope"))?;
                // `https://x//.default` is for `https://x/`: only the suffix goes.
                scope
                    .strip_suffix("/.default")
                    .filter(|resource| !resource.is_empty() && !resource.contains(' '))
                    .map(str::to_owned)
                    .ok_or_else(|| Refusal::ScopeNotDefault(scope.to_owned()))
            }
        }
    }

    /// The same in a user's name. `earlier` is what the grant was asked for in the beginning.
    pub(super) fn scope_of_user(&self, earlier: Option<&str>) -> Result<UserScope, Refusal> {
        let scope = self.grant.scope.as_deref().or(earlier);
        match self.version {
            TokenVersion::V1 => Ok(UserScope {
                resource: self.v1_resource()?,
                id_token: false,
                // This endpoint gives them unasked.
                refresh_token: true,
            }),
            TokenVersion::V2 => user_scope(scope.ok_or(Refusal::ParameterMissing("scope"))?),
        }
    }

    fn v1_resource(&self) -> Result<String, Refusal> {
        let resource = self.grant.resource.clone();
        resource.ok_or(Refusal::ParameterMissing("resource"))
    }
}

/// What a grant was exchanged for.
pub(super) struct Issued {
    pub(super) token: Token,
    pub(super) resource: String,
    /// What users' clients get too: scope, ID token, refresh token, client info.
    pub(super) beside: Map<String, Value>,
}

impl Issued {
    /// The v1 endpoint writes its numbers as text.
    pub(super) fn answer(self, version: TokenVersion) -> Value {
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
