//! Which directory to ask, as whom, and how to get there.

use std::path::PathBuf;

use entra_token::{Authority, Cloud};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// With what the server proves to Entra who it is.
///
/// A file must be a regular one, owned by the process's user without access for group and others,
/// or by root with at most 0640: what PostgreSQL demands of a TLS key
/// (`check_ssl_key_file_permissions` in `be-secure-common.c`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CredentialSource {
    /// A file that holds the secret of an app registration, on one line.
    ClientSecret(PathBuf),
    /// A PEM file that holds a certificate of an app registration and its RSA private key.
    ClientCertificate(PathBuf),
    /// The identity that Azure gives the machine or the App Service application.
    ManagedIdentity,
    /// A file that holds a token of another issuer which the app registration trusts, and which is
    /// replaced before the token expires.
    WorkloadIdentity(PathBuf),
}

/// Which directory to ask, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// How requests leave the machine.
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

/// How requests leave the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpSettings {
    /// PEM file of the only certificate authorities to trust; absent: the system's.
    pub ca_file: Option<PathBuf>,
    /// A proxy for everything, as [`check_proxy`] accepts it.
    pub proxy: Option<String>,
}

/// Checks the address of a proxy: `http://host:port`, in lower case, with nothing behind it.
///
/// A name and a password in it are refused: settings can be read by more people than secrets may.
///
/// # Errors
///
/// One sentence without a full stop that says what is accepted.
pub fn check_proxy(proxy: &str) -> Result<(), String> {
    let accepted = "a proxy is written http://host:port, in lower case, with nothing behind it";
    let rest = proxy.strip_prefix("http://").ok_or(accepted)?;
    if rest.contains('@') {
        return Err("a proxy's address may hold no user name and no password".to_owned());
    }
    // The port of an IPv6 address stands behind the bracket.
    let has_port = rest.rfind(':') > rest.rfind(']');
    match Authority::check_host(&format!("https://{rest}")) {
        Ok(()) if has_port => Ok(()),
        _ => Err(accepted.to_owned()),
    }
}
