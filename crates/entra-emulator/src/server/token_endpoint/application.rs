//! How an application proves that it is what it says: a secret, its own signature, or a token of an
//! issuer that it trusts.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::super::error::Refusal;
use super::super::form::form_decoded;
use super::super::unproven::Unproven;
use super::exchange::{Exchange, Issued};
use crate::directory::{Application, Subject, Tenant};
use crate::token::{AZURE_CLI, Proof, TokenRequest};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

impl<'a> Exchange<'a> {
    pub(super) fn client_credentials(&self) -> Result<Issued, Refusal> {
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
            beside: serde_json::Map::new(),
        })
    }

    /// The application that the request comes from, which must prove itself.
    pub(super) fn authenticated(
        &self,
        tenant: &'a Tenant,
    ) -> Result<(&'a Application, Proof), Refusal> {
        let basic = basic_credentials(self.headers);
        let (client_id, secret) = match &basic {
            Some((client_id, secret)) => (Some(client_id), Some(secret)),
            None => (
                self.grant.client_id.as_ref(),
                self.grant.client_secret.as_ref(),
            ),
        };
        // A foreign issuer's assertion names no client; the parameter does.
        let client_id = client_id.ok_or(Refusal::ParameterMissing("client_id"))?;
        let application = application(tenant, client_id)?;
        if let Some(assertion) = &self.grant.client_assertion {
            if self.grant.client_assertion_type.as_deref() != Some(ASSERTION_TYPE) {
                return Err(Unproven::AssertionTypeUnknown.into());
            }
            self.check_assertion(tenant, application, assertion)?;
            return Ok((application, Proof::Assertion));
        }
        let secret = secret.ok_or(Refusal::SecretMissing)?;
        if !application.secrets.iter().any(|own| own.is(secret)) {
            return Err(Refusal::SecretWrong {
                client_id: client_id.clone(),
            });
        }
        Ok((application, Proof::Usual))
    }

    /// The application that signs a user in: one that can keep no secret, or one that proves
    /// itself.
    pub(super) fn client_of_user(&self, tenant: &'a Tenant) -> Result<Uuid, Refusal> {
        let client_id = self.grant.client_id.as_deref();
        let public = match client_id.map(Uuid::try_parse) {
            Some(Ok(AZURE_CLI)) => Some(AZURE_CLI),
            Some(Ok(id)) => {
                let application = application(tenant, &id.to_string())?;
                application.public_client.then_some(id)
            }
            _ => None,
        };
        let Some(client) = public else {
            return match self.authenticated(tenant) {
                Ok((application, _)) => Ok(application.client_id),
                Err(Refusal::SecretMissing) => Err(Refusal::CredentialMissing),
                Err(other) => Err(other),
            };
        };
        if self.grant.client_secret.is_some() || self.grant.client_assertion.is_some() {
            return Err(Refusal::PublicClientWithCredential);
        }
        Ok(client)
    }
}

fn application<'a>(tenant: &'a Tenant, client_id: &str) -> Result<&'a Application, Refusal> {
    let id = Uuid::try_parse(client_id).ok();
    tenant
        .applications
        .iter()
        .find(|application| Some(application.client_id) == id)
        .ok_or_else(|| Refusal::ApplicationNotFound {
            client_id: client_id.to_owned(),
            tenant: tenant.name.clone(),
        })
}

/// RFC 6749 section 2.3.1: both parts are form-encoded before they are joined.
fn basic_credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let decoded = STANDARD.decode(value.strip_prefix("Basic ")?.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (client_id, secret) = text.split_once(':')?;
    Some((form_decoded(client_id)?, form_decoded(secret)?))
}
