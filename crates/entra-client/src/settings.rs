//! Which directory to ask and as whom, and what it answers about.

use std::path::PathBuf;

use entra_token::{Authority, Cloud, PrincipalKind};
use uuid::Uuid;

use crate::http::HttpSettings;

/// With what the server proves to Entra who it is.
///
/// A file must be a regular one, owned by the process's user without access for group and others,
/// or by root with at most 0640: what PostgreSQL demands of a TLS key
/// (`check_ssl_key_file_permissions` in `be-secure-common.c`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// A file that holds the secret of an app registration, on one line.
    ClientSecret(PathBuf),
    /// A PEM file that holds a certificate of an app registration and its RSA private key.
    ClientCertificate(PathBuf),
    /// The identity that Azure gives the machine or the App Service application.
    ManagedIdentity,
    /// A file that holds a token of another issuer which the app registration trusts; somebody
    /// else writes it anew before it expires.
    WorkloadIdentity(PathBuf),
}

/// Which directory to ask, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectorySettings {
    /// The tenant whose directory is asked.
    pub tenant: Uuid,
    /// Who issues the tokens with which Graph is asked.
    pub authority: Authority,
    /// Origin of Microsoft Graph, `https://host[:port]`; see [`graph_origin`].
    pub graph: String,
    /// The app registration, or with a managed identity the one among several; only there may it
    /// be absent.
    pub client_id: Option<Uuid>,
    /// What proves it.
    pub credential: CredentialSource,
    /// The way out.
    pub http: HttpSettings,
}

/// Origin of Microsoft Graph in a cloud.
/// <https://learn.microsoft.com/graph/deployments>
pub const fn graph_origin(cloud: Cloud) -> &'static str {
    match cloud {
        Cloud::Public => "https://graph.microsoft.com",
        Cloud::UsGov => "https://graph.microsoft.us",
        Cloud::China => "https://microsoftgraph.chinacloudapi.cn",
    }
}

/// A principal as the directory knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// User, group or service principal.
    pub kind: PrincipalKind,
    /// What identifies it.
    pub object_id: Uuid,
    /// For people to read, never to decide by: a user's principal name, the display name of others.
    pub name: String,
    /// The application that a service principal stands for.
    pub app_id: Option<Uuid>,
    /// False for an account that may not sign in. Groups are always enabled.
    pub enabled: bool,
}
