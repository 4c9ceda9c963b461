//! What an application proves to Entra who it is with.

use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use entra_api::credential_file::{
    read_certificate, read_federated_token, read_secret, unusable_certificate,
};
use entra_api::wiped::Wiped;
use entra_api::{
    CredentialSource, DirectoryError, DirectorySettings, ErrorKind, HttpSettings, graph_origin,
};
use entra_token::Authority;
use uuid::Uuid;

use crate::access_token::{self, AccessToken};
use crate::entra;
use crate::failure::Failure;
use crate::http::{Http, Request};
use crate::managed_identity::Endpoint;

/// Hosts of Microsoft Graph other than [`graph_origin`]'s.
/// <https://learn.microsoft.com/graph/deployments>
const FURTHER_GRAPHS: [&str; 1] = ["https://dod-graph.microsoft.us"];
const SUFFIX: &str = "/.default";

/// How an application asks for tokens for one resource. Files are read again for each.
pub(crate) struct Credential {
    proof: Proof,
    token_url: String,
    login: String,
    scope: String,
}

enum Proof {
    Secret(Uuid, PathBuf),
    Certificate(Uuid, PathBuf),
    Federated(Uuid, PathBuf),
    Managed(Option<Uuid>, Endpoint),
}

impl Credential {
    /// For Graph, as the settings say.
    pub(crate) fn for_graph(settings: &DirectorySettings) -> Result<Credential, DirectoryError> {
        Credential::new(
            &settings.credential,
            settings.client_id,
            settings.tenant,
            &settings.authority,
            graph_resource(settings),
        )
    }

    /// For `resource`, an application id URI, or an application id.
    pub(crate) fn new(
        source: &CredentialSource,
        client_id: Option<Uuid>,
        tenant: Uuid,
        authority: &Authority,
        resource: &str,
    ) -> Result<Credential, DirectoryError> {
        let needed = || {
            client_id.ok_or_else(|| {
                let message = "aadauth.client_id is not set";
                DirectoryError::new(ErrorKind::CredentialUnusable, message)
            })
        };
        let proof = match source {
            CredentialSource::ClientSecret(path) => Proof::Secret(needed()?, path.clone()),
            CredentialSource::ClientCertificate(path) => {
                Proof::Certificate(needed()?, path.clone())
            }
            CredentialSource::WorkloadIdentity(path) => Proof::Federated(needed()?, path.clone()),
            CredentialSource::ManagedIdentity => {
                let endpoint = Endpoint::from_environment(|name| std::env::var(name).ok())?;
                Proof::Managed(client_id, endpoint)
            }
        };
        let login = authority.login();
        let tenant = tenant.as_hyphenated();
        Ok(Credential {
            proof,
            token_url: format!("{login}/{tenant}/oauth2/v2.0/token"),
            login: login.to_owned(),
            scope: format!("{resource}{SUFFIX}"),
        })
    }

    /// Whether the token comes over plain HTTP from the machine itself.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.proof, Proof::Managed(..))
    }

    /// Who is asked, for error texts.
    pub(crate) fn issuer(&self) -> String {
        match &self.proof {
            Proof::Managed(_, endpoint) => endpoint.name(),
            _ => format!("Entra at {}", self.login),
        }
    }

    /// Asks for a token.
    pub(crate) fn token(&self, http: &Http, deadline: Instant) -> Result<AccessToken, Failure> {
        let issuer = self.issuer();
        let response = http
            .send(&self.request()?, deadline)
            .map_err(|problem| Failure::unanswered(&issuer, &problem))?;
        if response.status != 200 {
            return Err(match self.is_local() {
                true => entra::machine_refusal(&issuer, &response),
                false => entra::refusal(&issuer, "credential", &response),
            });
        }
        access_token::read(&response).map_err(|what| Failure::malformed(&issuer, what))
    }

    /// The client that reaches the issuer.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unreachable`]: it cannot be set up.
    pub(crate) fn http(&self, settings: &HttpSettings) -> Result<Http, DirectoryError> {
        match self.is_local() {
            true => Http::plain(),
            false => Http::new(settings),
        }
        .map_err(|error| DirectoryError::new(ErrorKind::Unreachable, error.to_string()))
    }

    /// The request for a token.
    /// <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>
    fn request(&self) -> Result<Request, DirectoryError> {
        let mut form = Wiped::default();
        form.append_field("grant_type", b"client_credentials");
        form.append_field("scope", self.scope.as_bytes());
        match &self.proof {
            Proof::Managed(client_id, endpoint) => {
                let resource = self.scope.strip_suffix(SUFFIX).unwrap_or(&self.scope);
                return Ok(endpoint.request(resource, *client_id));
            }
            Proof::Secret(client_id, path) => {
                append_client(&mut form, *client_id);
                form.append_field("client_secret", &read_secret(path)?);
            }
            Proof::Certificate(client_id, path) => {
                append_client(&mut form, *client_id);
                let certificate = read_certificate(path)?;
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                let now = now.map_or(0, |now| now.as_secs() as i64);
                let assertion = certificate
                    .assert(*client_id, &self.token_url, now)
                    .map_err(|problem| unusable_certificate(path, problem))?;
                append_assertion(&mut form, &assertion);
            }
            Proof::Federated(client_id, path) => {
                append_client(&mut form, *client_id);
                append_assertion(&mut form, &read_federated_token(path)?);
            }
        }
        Ok(Request::post(
            self.token_url.clone(),
            "application/x-www-form-urlencoded",
            form.into_bytes(),
        ))
    }
}

fn append_client(form: &mut Wiped, client_id: Uuid) {
    form.append_field("client_id", client_id.to_string().as_bytes());
}

/// RFC 7523 section 2.2.
fn append_assertion(form: &mut Wiped, assertion: &[u8]) {
    form.append_field(
        "client_assertion_type",
        b"urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    );
    form.append_field("client_assertion", assertion);
}

/// What the token is for: Microsoft's Graph at that host, else, where an emulator or a gateway takes
/// its place, the cloud's.
fn graph_resource(settings: &DirectorySettings) -> &str {
    let known = entra_token::Cloud::ALL.map(graph_origin);
    if known.contains(&settings.graph.as_str()) || FURTHER_GRAPHS.contains(&settings.graph.as_str())
    {
        return &settings.graph;
    }
    graph_origin(settings.authority.cloud)
}

#[cfg(test)]
mod tests {
    use entra_api::HttpSettings;
    use entra_token::{Authority, Cloud};

    use super::*;

    #[test]
    fn the_token_is_for_the_graph_that_is_asked() {
        let settings = |cloud, graph: &str| DirectorySettings {
            tenant: Uuid::from_u128(1),
            authority: Authority { cloud, host: None },
            graph: graph.to_owned(),
            client_id: None,
            credential: CredentialSource::ManagedIdentity,
            http: HttpSettings::default(),
        };
        for (cloud, graph, expected) in [
            (
                Cloud::Public,
                "https://graph.microsoft.com",
                "https://graph.microsoft.com",
            ),
            (
                Cloud::UsGov,
                "https://graph.microsoft.us",
                "https://graph.microsoft.us",
            ),
            (
                Cloud::UsGov,
                "https://dod-graph.microsoft.us",
                "https://dod-graph.microsoft.us",
            ),
            // Microsoft's own, whatever the cloud is said to be.
            (
                Cloud::Public,
                "https://microsoftgraph.chinacloudapi.cn",
                "https://microsoftgraph.chinacloudapi.cn",
            ),
            // An emulator or a gateway in its place.
            (
                Cloud::China,
                "https://localhost:8443",
                "https://microsoftgraph.chinacloudapi.cn",
            ),
            (
                Cloud::Public,
                "https://graph.microsoft.com.example",
                "https://graph.microsoft.com",
            ),
        ] {
            assert_eq!(graph_resource(&settings(cloud, graph)), expected, "{graph}");
        }
    }
}
