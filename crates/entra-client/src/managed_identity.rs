//! The endpoints at which Azure gives a machine, or an application of App Service, its identity.
//!
//! The one place where plain HTTP is spoken: these endpoints have nothing else, and are on the
//! machine itself or on its own link.

use entra_api::wiped::encode;
use entra_api::{DirectoryError, ErrorKind};
use reqwest::header::{HeaderName, HeaderValue};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::http::Request;

/// Where a virtual machine, or a pod with a stand-in, asks.
const MACHINE: &str = "http://169.254.169.254";

/// Which endpoint is there, by the environment variables that Microsoft's libraries go by.
pub(crate) enum Endpoint {
    /// Azure Instance Metadata Service.
    /// <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>
    Machine { origin: String },
    /// App Service, Functions, Container Apps.
    /// <https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference>
    AppService { url: String, header: HeaderValue },
}

impl Endpoint {
    /// Chooses by the environment, which `variable` reads.
    pub(crate) fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Endpoint, DirectoryError> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        if let (Some(url), Some(header)) = (set("IDENTITY_ENDPOINT"), set("IDENTITY_HEADER")) {
            let header = Zeroizing::new(header);
            let mut header = HeaderValue::from_str(&header).map_err(|_| {
                let message = "the environment variable IDENTITY_HEADER is not fit to be sent";
                DirectoryError::new(ErrorKind::CredentialUnusable, message)
            })?;
            header.set_sensitive(true);
            return Ok(Endpoint::AppService { url, header });
        }
        let origin = set("AZURE_POD_IDENTITY_AUTHORITY_HOST").unwrap_or_else(|| MACHINE.to_owned());
        Ok(Endpoint::Machine {
            origin: origin.trim_end_matches('/').to_owned(),
        })
    }

    /// Asks for a token for `resource`, of the identity `client_id` where there are several.
    pub(crate) fn request(&self, resource: &str, client_id: Option<Uuid>) -> Request {
        let resource = encode(resource);
        let client = client_id.map_or_else(String::new, |id| format!("&client_id={id}"));
        match self {
            Endpoint::Machine { origin } => Request::get(format!(
                "{origin}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={resource}{client}"
            ))
            .header(
                HeaderName::from_static("metadata"),
                HeaderValue::from_static("true"),
            ),
            Endpoint::AppService { url, header } => Request::get(format!(
                "{url}?api-version=2019-08-01&resource={resource}{client}"
            ))
            .header(HeaderName::from_static("x-identity-header"), header.clone()),
        }
    }

    /// For error texts.
    pub(crate) fn name(&self) -> String {
        match self {
            Endpoint::Machine { origin } => format!("the managed identity endpoint at {origin}"),
            Endpoint::AppService { .. } => {
                "the managed identity endpoint in IDENTITY_ENDPOINT".to_owned()
            }
        }
    }
}
