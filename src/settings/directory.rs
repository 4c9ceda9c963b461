//! The settings of the directory: its endpoint, the credential, timeouts and the cache.

use std::path::PathBuf;
use std::time::Duration;

use entra_api::{CredentialSource, DirectorySettings, HttpSettings, check_proxy, graph_origin};
use entra_token::{Authority, guid};
use pgrx::guc::PostgresGucEnum;

use super::general::{AbsolutePath, authority, ca_file, duration, tenant, value};
use crate::pg::guc::{Rule, Text, define_settings};

/// The setting that turns group sync on.
pub const GROUP_SYNC: &str = "pgaadauth.enable_group_sync";

/// The maximum of `aadauth.directory_timeout`.
pub const DIRECTORY_TIMEOUT_MAX: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, PostgresGucEnum)]
enum CredentialName {
    #[name = c"none"]
    None,
    #[name = c"client_secret"]
    ClientSecret,
    #[name = c"client_certificate"]
    ClientCertificate,
    #[name = c"managed_identity"]
    ManagedIdentity,
    #[name = c"workload_identity"]
    WorkloadIdentity,
}

define_settings! {
    CREDENTIAL: CredentialName = CredentialName::None, choice(
        c"aadauth.credential",
        c"How the server authenticates to Entra for queries to Microsoft Graph.",
        c"none: the directory is not queried.",
    );
    CLIENT_ID: Text = None, text::<ApplicationId>(
        c"aadauth.client_id",
        c"The application id that the credential belongs to, a GUID.",
    );
    CLIENT_SECRET_FILE: Text = None, text::<AbsolutePath>(
        c"aadauth.client_secret_file",
        c"The file that holds the client secret.",
    );
    CLIENT_CERTIFICATE_FILE: Text = None, text::<AbsolutePath>(
        c"aadauth.client_certificate_file",
        c"The file (PEM) that holds the client certificate and its private key.",
    );
    FEDERATED_TOKEN_FILE: Text = None, text::<AbsolutePath>(
        c"aadauth.federated_token_file",
        c"The file that holds the token of a workload identity.",
    );
    GRAPH_ENDPOINT: Text = None, text::<GraphOrigin>(
        c"aadauth.graph_endpoint",
        c"A Microsoft Graph endpoint to use instead of the cloud's, such as https://localhost:8443.",
    );
    HTTPS_PROXY: Text = None, text::<Proxy>(
        c"aadauth.https_proxy",
        c"A proxy for all HTTPS requests, such as http://proxy.example.com:3128.",
    );
    GROUP_CACHE_TTL: i32 = 600, seconds(
        c"aadauth.group_cache_ttl",
        c"How long a group membership that the directory has confirmed is cached; 0 disables the cache.",
        0..=24 * 3600,
    );
    GROUPS_CLAIM_IS_COMPLETE: bool = false, switch(
        c"aadauth.groups_claim_is_complete",
        c"Refuse a principal whose token names groups without the role's, without asking the directory.",
    );
    DIRECTORY_TIMEOUT: i32 = 5, seconds(
        c"aadauth.directory_timeout",
        c"How long a query to the directory may take.",
        1..=DIRECTORY_TIMEOUT_MAX.as_secs() as i32,
    );
    ENABLE_GROUP_SYNC: bool = false, switch(
        c"pgaadauth.enable_group_sync",
        c"Give each member of a mapped group a role of their own.",
    );
    GROUP_SYNC_INTERVAL: i32 = 1800, seconds(
        c"aadauth.group_sync_interval",
        c"How often the members of mapped groups are looked up.",
        60..=24 * 3600,
    );
}

/// The directory to query; `None` if no credential is set or a setting that it requires is missing.
pub fn directory() -> Option<DirectorySettings> {
    let credential = credential().ok().flatten()?;
    let authority = authority();
    let graph = value(&GRAPH_ENDPOINT).unwrap_or_else(|| graph_origin(authority.cloud).to_owned());
    Some(DirectorySettings {
        tenant: tenant()?,
        authority,
        graph,
        client_id: client_id(),
        credential,
        http: http(),
    })
}

/// Whether a `groups` claim without a group proves that its principal is not in it, as when the app registration emits all
/// security groups.
pub fn groups_claim_is_complete() -> bool {
    GROUPS_CLAIM_IS_COMPLETE.get()
}

/// The setting that names the chosen credential's file, and the file.
pub fn credential_file() -> Option<(&'static str, PathBuf)> {
    match credential().ok().flatten()? {
        CredentialSource::ClientSecret(file) => Some(("aadauth.client_secret_file", file)),
        CredentialSource::ClientCertificate(file) => {
            Some(("aadauth.client_certificate_file", file))
        }
        CredentialSource::WorkloadIdentity(file) => Some(("aadauth.federated_token_file", file)),
        CredentialSource::ManagedIdentity => None,
    }
}

/// Why there is no directory although a credential is chosen: the setting that is missing.
pub fn missing_for_directory() -> Option<&'static str> {
    match credential() {
        Err(missing) => Some(missing),
        Ok(Some(_)) if tenant().is_none() => Some("aadauth.tenant_id"),
        Ok(_) => None,
    }
}

/// Why the directory that the settings ask for is not used: the setting to look at, and the problem, a sentence.
pub fn directory_problem() -> Option<(&'static str, String)> {
    if let Some(missing) = missing_for_directory() {
        let problem = format!(
            "aadauth.credential is set, but {missing} is not, so the directory is not used."
        );
        return Some((missing, problem));
    }
    (group_sync_is_enabled() && directory().is_none()).then(|| {
        let problem = "Group sync is enabled, but no directory is configured that lists the members of groups.";
        (GROUP_SYNC, problem.to_owned())
    })
}

/// How to make HTTPS requests, for the directory and the signing keys.
pub fn http() -> HttpSettings {
    HttpSettings {
        ca_file: ca_file(),
        proxy: value(&HTTPS_PROXY),
    }
}

/// How long a group membership is cached; zero means that it is not.
pub fn group_cache_ttl() -> Duration {
    duration(&GROUP_CACHE_TTL)
}

/// How long a query to the directory may take.
pub fn directory_timeout() -> Duration {
    duration(&DIRECTORY_TIMEOUT)
}

pub fn group_sync_is_enabled() -> bool {
    ENABLE_GROUP_SYNC.get()
}

pub fn group_sync_interval() -> Duration {
    duration(&GROUP_SYNC_INTERVAL)
}

/// `Err` is the setting that the chosen credential lacks.
fn credential() -> Result<Option<CredentialSource>, &'static str> {
    let file = |setting, name| value(setting).map(PathBuf::from).ok_or(name);
    let source = match CREDENTIAL.get() {
        CredentialName::None => return Ok(None),
        // The machine's only identity, or the one that aadauth.client_id names.
        CredentialName::ManagedIdentity => return Ok(Some(CredentialSource::ManagedIdentity)),
        CredentialName::ClientSecret => {
            CredentialSource::ClientSecret(file(&CLIENT_SECRET_FILE, "aadauth.client_secret_file")?)
        }
        CredentialName::ClientCertificate => CredentialSource::ClientCertificate(file(
            &CLIENT_CERTIFICATE_FILE,
            "aadauth.client_certificate_file",
        )?),
        CredentialName::WorkloadIdentity => CredentialSource::WorkloadIdentity(file(
            &FEDERATED_TOKEN_FILE,
            "aadauth.federated_token_file",
        )?),
    };
    client_id().ok_or("aadauth.client_id")?;
    Ok(Some(source))
}

fn client_id() -> Option<uuid::Uuid> {
    value(&CLIENT_ID).and_then(|text| guid::parse(&text))
}

struct ApplicationId;

impl Rule for ApplicationId {
    fn check(value: &str) -> Result<(), String> {
        let refused = "The value must be an application (client) id, a GUID.";
        guid::parse(value)
            .map(drop)
            .ok_or_else(|| refused.to_owned())
    }
}

struct GraphOrigin;

impl Rule for GraphOrigin {
    fn check(value: &str) -> Result<(), String> {
        let refused = "The value must be an origin, https://host or https://host:port in lower case, \
                       with no path and no trailing slash.";
        Authority::check_host(value).map_err(|_| refused.to_owned())
    }
}

struct Proxy;

impl Rule for Proxy {
    fn check(value: &str) -> Result<(), String> {
        check_proxy(value).map_err(|problem| format!("This is not accepted: {problem}."))
    }
}
