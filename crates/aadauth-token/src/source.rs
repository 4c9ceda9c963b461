//! Where a token comes from.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use entra_api::{CredentialSource, HttpSettings};
use entra_client::access_token::AccessToken;
use entra_client::application::Application;
use entra_client::user::UserSignIn;
use entra_token::{Audience, Authority, Cloud};
use uuid::Uuid;

use crate::az;
use crate::cache::Cache;
use crate::device_code::{self, TIME_LIMIT};

/// The Azure CLI, which `register-app` allows to ask for tokens on behalf of users.
const AZURE_CLI: Uuid = Uuid::from_u128(0x04b07795_8ddb_461a_bbee_02f9e1bf7b46);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SourceKind {
    /// The identity that Azure gives this machine, container or App Service application
    ManagedIdentity,
    /// A pod's service account token (AZURE_FEDERATED_TOKEN_FILE)
    WorkloadIdentity,
    /// What `az login` signed in
    Az,
    /// A user who enters a code in a browser, anywhere; later tokens need no code
    DeviceCode,
}

/// Which token to ask for, and whom.
#[derive(Debug, Args)]
pub struct Request {
    /// Where the token comes from
    #[arg(long, value_name = "SOURCE", required = true)]
    from: Option<SourceKind>,

    /// What the token is for: the server's application id URI or application id, or `ossrdbms` for
    /// Azure's database resource
    #[arg(long, value_name = "URI", env = "AADAUTH_AUDIENCE", required = true)]
    audience: Option<String>,

    /// The tenant
    #[arg(long, value_name = "GUID", env = "AZURE_TENANT_ID", value_parser = guid)]
    tenant: Option<Uuid>,

    /// The managed or workload identity [env: AZURE_CLIENT_ID]; for users, the application that they sign in
    /// with [default: the Azure CLI's]
    #[arg(long, value_name = "GUID", value_parser = guid)]
    client_id: Option<Uuid>,

    /// The token of a workload identity
    #[arg(long, value_name = "FILE", env = "AZURE_FEDERATED_TOKEN_FILE")]
    token_file: Option<PathBuf>,

    /// Cloud of the tenant: public, usgov or china [default: that of --authority-host, or public]
    #[arg(long)]
    cloud: Option<Cloud>,

    /// Entra's address, if not the cloud's: https://host[:port]
    #[arg(long, value_name = "URL", env = "AZURE_AUTHORITY_HOST")]
    authority_host: Option<String>,

    /// The only certificate authorities that Entra's certificate may be of [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// A proxy, as http://host:port
    #[arg(long, value_name = "URL")]
    https_proxy: Option<String>,
}

/// Where tokens for one resource come from.
pub enum Source {
    Application(Application),
    Az(String, Option<Uuid>),
    User(UserSignIn, Option<Cache>),
}

impl Request {
    /// # Errors
    ///
    /// What is missing or malformed, in one sentence.
    pub fn source(&self) -> Result<Source, String> {
        let authority = self.authority()?;
        let resource = self.resource(authority.cloud)?;
        let http = HttpSettings {
            ca_file: self.ca_file.clone(),
            proxy: self.https_proxy.clone(),
        };
        let application = |credential, client_id, tenant| {
            Application::new(&credential, client_id, tenant, &authority, &resource, &http)
                .map(Source::Application)
                .map_err(|error| error.message)
        };
        match self.from.ok_or("--from is missing")? {
            SourceKind::ManagedIdentity => application(
                CredentialSource::ManagedIdentity,
                self.identity()?,
                Uuid::nil(),
            ),
            SourceKind::WorkloadIdentity => {
                let path = self.token_file.clone().ok_or(
                    "a workload identity needs --token-file, or AZURE_FEDERATED_TOKEN_FILE",
                )?;
                let client = self
                    .identity()?
                    .ok_or("a workload identity needs --client-id, or AZURE_CLIENT_ID")?;
                let credential = CredentialSource::WorkloadIdentity(path);
                application(credential, Some(client), self.tenant()?)
            }
            SourceKind::Az => Ok(Source::Az(resource, self.tenant)),
            SourceKind::DeviceCode => {
                let (client, tenant) = (self.client_id.unwrap_or(AZURE_CLI), self.tenant()?);
                let sign_in = UserSignIn::new(client, tenant, &authority, &resource, &http)
                    .map_err(|error| error.message)?;
                let client = client.to_string();
                let cache =
                    Cache::of(&[authority.login(), &tenant.to_string(), &client, &resource]);
                Ok(Source::User(sign_in, cache))
            }
        }
    }

    /// Azure sets the variable of the host in a pod, and none of the cloud.
    fn authority(&self) -> Result<Authority, String> {
        // Microsoft's libraries write it with a slash at the end.
        let host = self.authority_host.as_deref();
        let host = host
            .map(|host| host.trim_end_matches('/'))
            .filter(|host| !host.is_empty());
        let cloud = match (self.cloud, host.and_then(Cloud::of_login)) {
            (Some(given), Some(other)) if given != other => {
                return Err(format!(
                    "--cloud {given} is not the cloud of --authority-host, or AZURE_AUTHORITY_HOST, which is {other}"
                ));
            }
            // It would get the secret or the assertion in the cloud's place.
            (Some(given), None) if host.is_some() => {
                return Err(format!(
                    "--cloud {given} is not that of --authority-host, or AZURE_AUTHORITY_HOST: leave one of them out"
                ));
            }
            (given, of_host) => given.or(of_host).unwrap_or_default(),
        };
        Authority::new(cloud, host).map_err(|error| format!("--authority-host: {error}"))
    }

    /// Azure sets the variable for the identity of a machine or a pod; users do not sign in with that.
    fn identity(&self) -> Result<Option<Uuid>, String> {
        let variable = std::env::var("AZURE_CLIENT_ID").unwrap_or_default();
        match self.client_id {
            None if !variable.is_empty() => guid(&variable)
                .map(Some)
                .map_err(|problem| format!("AZURE_CLIENT_ID: {problem}")),
            given => Ok(given),
        }
    }

    fn tenant(&self) -> Result<Uuid, String> {
        self.tenant.ok_or_else(|| {
            "--tenant is missing: az account show --query tenantId -o tsv prints it".to_owned()
        })
    }

    fn resource(&self, cloud: Cloud) -> Result<String, String> {
        let audience = self.audience.as_deref().ok_or("--audience is missing")?;
        let audiences = Audience::parse_list(audience, cloud)
            .map_err(|error| format!("--audience: {error}"))?;
        match (audiences.as_slice(), audience.contains(',')) {
            ([first, ..], false) => Ok(first.to_string()),
            _ => Err("--audience: a token is for one audience".to_owned()),
        }
    }
}

impl Source {
    /// The first token of a run.
    ///
    /// # Errors
    ///
    /// Why there is none, and what to do, without any part of a token.
    pub fn first_token(&self) -> Result<AccessToken, String> {
        self.token(true)
    }

    /// A later one: asks nobody to sign in where nobody may be there to read it.
    ///
    /// # Errors
    ///
    /// As for the first.
    pub fn next_token(&self) -> Result<AccessToken, String> {
        self.token(io::stderr().is_terminal())
    }

    fn token(&self, may_ask: bool) -> Result<AccessToken, String> {
        match self {
            Source::Application(application) => application
                .token(Instant::now() + TIME_LIMIT)
                .map_err(|error| error.message),
            Source::Az(resource, tenant) => az::token(resource, *tenant),
            Source::User(sign_in, cache) => device_code::token(sign_in, cache.as_ref(), may_ask),
        }
    }
}

fn guid(text: &str) -> Result<Uuid, String> {
    entra_token::guid::parse(text)
        .ok_or_else(|| "not a GUID such as 6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f5".to_owned())
}
