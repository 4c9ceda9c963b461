//! Tokens of an application or managed identity for a resource, fetched one by one.

use std::time::Instant;

use entra_api::{CredentialSource, DirectoryError, HttpSettings};
use entra_token::Authority;
use uuid::Uuid;

use crate::access_token::AccessToken;
use crate::credential::Credential;
use crate::http::Http;

/// An application or managed identity that asks for tokens for one resource.
pub struct Application {
    credential: Credential,
    http: Http,
}

impl Application {
    /// Prepares to ask; nothing is sent yet.
    ///
    /// `tenant` and `authority` are not looked at for a managed identity, and `resource` is an
    /// application id URI or an application id.
    ///
    /// # Errors
    ///
    /// The settings cannot be used, as for [`crate::Directory::new`].
    pub fn new(
        source: &CredentialSource,
        client_id: Option<Uuid>,
        tenant: Uuid,
        authority: &Authority,
        resource: &str,
        http: &HttpSettings,
    ) -> Result<Application, DirectoryError> {
        let credential = Credential::new(source, client_id, tenant, authority, resource)?;
        let http = credential.http(http)?;
        Ok(Application { credential, http })
    }

    /// Asks for a token.
    ///
    /// # Errors
    ///
    /// There is none by `deadline`; the error says whether the credential or the network is at fault.
    pub fn token(&self, deadline: Instant) -> Result<AccessToken, DirectoryError> {
        Ok(self.credential.token(&self.http, deadline)?)
    }
}
