//! Tokens in the name of users: by password, by a refresh token, and what they have in common with those by a code.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::emulator::locked;
use super::super::error::Refusal;
use super::super::unproven::Unproven;
use super::exchange::{ANYBODY, Exchange, Issued};
use super::refresh_tokens::SignedIn;
use super::scope::UserScope;
use crate::authority::TokenVersion;
use crate::clock::now;
use crate::directory::{Directory, Identity, Object, Subject, Tenant, User};
use crate::token::{Proof, TokenRequest, id_token};

impl<'a> Exchange<'a> {
    pub(super) fn password(&self) -> Result<Issued, Refusal> {
        let parameter = |value: &'a Option<String>, name| {
            value.as_deref().ok_or(Refusal::ParameterMissing(name))
        };
        let name = parameter(&self.grant.username, "username")?;
        let password = parameter(&self.grant.password, "password")?;
        let tenant = self.tenant_of(name)?;
        let client = self.client_of_user(tenant)?;
        let scope = self.scope_of_user(None)?;
        let Some(Identity::User(user)) = tenant.user(name) else {
            return Err(Unproven::UserNotFound {
                name: name.to_owned(),
                tenant: tenant.name.clone(),
            }
            .into());
        };
        if !user.password.as_ref().is_some_and(|own| own.is(password)) {
            return Err(Unproven::PasswordWrong.into());
        }
        let signed_in = SignedIn {
            tenant: tenant.id,
            user: user.object_id,
            client,
            proof: Proof::PasswordAlone,
        };
        self.issue_to(signed_in, &scope, None)
    }

    pub(super) fn refresh(&self) -> Result<Issued, Refusal> {
        let token = self.grant.refresh_token.as_deref();
        let token = token.ok_or(Refusal::ParameterMissing("refresh_token"))?;
        let signed_in = locked(&self.emulator.refresh_tokens)
            .find(token)
            .ok_or(Unproven::RefreshTokenUnknown)?;
        let tenant = tenant_with(self.directory, signed_in.tenant)?;
        if self.client_of_user(tenant)? != signed_in.client {
            return Err(Unproven::RefreshTokenUnknown.into());
        }
        let scope = self.scope_of_user(None)?;
        self.issue_to(signed_in, &scope, None)
    }

    /// Everything that a client gets for a user who signed in. `nonce` is what it wants to find in the ID token.
    pub(super) fn issue_to(
        &self,
        signed_in: SignedIn,
        scope: &UserScope,
        nonce: Option<&str>,
    ) -> Result<Issued, Refusal> {
        let tenant = tenant_with(self.directory, signed_in.tenant)?;
        let Some(Object::Principal(Identity::User(user))) = tenant.object(signed_in.user) else {
            return Err(Unproven::UserNotFound {
                name: signed_in.user.to_string(),
                tenant: tenant.name.clone(),
            }
            .into());
        };
        if !user.enabled {
            return Err(Unproven::UserDisabled.into());
        }
        let request = TokenRequest {
            client: Some(signed_in.client),
            proof: signed_in.proof,
            ..self.request(Subject::User(user.object_id.to_string()), &scope.resource)
        };
        Ok(Issued {
            token: self.mint(tenant, &request)?,
            resource: scope.resource.clone(),
            beside: self.beside(tenant, user, signed_in, scope, nonce)?,
        })
    }

    fn beside(
        &self,
        tenant: &Tenant,
        user: &User,
        signed_in: SignedIn,
        scope: &UserScope,
        nonce: Option<&str>,
    ) -> Result<Map<String, Value>, Refusal> {
        let mut beside = Map::new();
        let mut set = |name: &str, value: Value| beside.insert(name.to_owned(), value);
        let resource = &scope.resource;
        let granted = match self.version {
            TokenVersion::V1 => "user_impersonation".to_owned(),
            TokenVersion::V2 => format!("{resource}/user_impersonation {resource}/.default"),
        };
        set("scope", json!(granted));
        if scope.id_token {
            let (keys, authority) = (self.emulator.keys(), &self.emulator.authority);
            let client = signed_in.client;
            let token = id_token(&keys, authority, (tenant, user), client, nonce, now())
                .map_err(|error| Refusal::Internal(error.to_string()))?;
            set("id_token", json!(token));
        }
        if self.grant.client_info.as_deref() == Some("1") {
            let info = json!({ "uid": user.object_id, "utid": tenant.id }).to_string();
            set("client_info", json!(URL_SAFE_NO_PAD.encode(info)));
        }
        if scope.refresh_token {
            let token = locked(&self.emulator.refresh_tokens).issue(signed_in)?;
            set("refresh_token", json!(token));
        }
        Ok(beside)
    }

    /// The tenant of the path, or the one that has the user, where the path names none.
    fn tenant_of(&self, user: &str) -> Result<&'a Tenant, Refusal> {
        if !ANYBODY.contains(&self.place) {
            return self.tenant();
        }
        let domain = user.rsplit_once('@').map_or("", |(_, domain)| domain);
        let found = self.directory.tenant(domain);
        found.ok_or_else(|| Refusal::TenantNotFound(domain.to_owned()))
    }
}

pub(super) fn tenant_with(directory: &Directory, id: Uuid) -> Result<&Tenant, Refusal> {
    let found = directory.tenants.iter().find(|tenant| tenant.id == id);
    found.ok_or_else(|| Refusal::TenantNotFound(id.to_string()))
}
