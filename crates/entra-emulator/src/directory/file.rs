//! The directory file: TOML, as `directory.toml` beside this crate's manifest explains it.

use std::num::NonZeroU32;

use serde::Deserialize;
use toml::Spanned;
use uuid::Uuid;

use super::credential::FederatedCredential;
use super::model::{IdentityKind, Secret};

/// A problem and the byte it begins at.
pub(super) struct Fault {
    pub at: usize,
    pub problem: String,
}

pub(super) fn fault<Value>(at: &Spanned<Value>, problem: String) -> Fault {
    Fault {
        at: at.span().start,
        problem,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub tenant: Vec<FileTenant>,
    #[serde(default)]
    pub resource: Vec<FileResource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileTenant {
    pub id: Spanned<Uuid>,
    pub name: String,
    pub domains: Spanned<Vec<String>>,
    #[serde(default)]
    pub user: Vec<FileUser>,
    #[serde(default)]
    pub group: Vec<FileGroup>,
    #[serde(default)]
    pub application: Vec<FileApplication>,
    #[serde(default)]
    pub managed_identity: Vec<FileIdentity>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileUser {
    pub upn: Spanned<String>,
    pub oid: Spanned<Uuid>,
    pub name: String,
    pub password: Option<Secret>,
    #[serde(default)]
    pub mfa: bool,
    #[serde(default = "yes")]
    pub enabled: bool,
    pub mail: Option<String>,
    pub home: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileGroup {
    pub name: String,
    pub oid: Spanned<Uuid>,
    #[serde(default)]
    pub members: Vec<Spanned<String>>,
    pub generated_members: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileApplication {
    pub name: String,
    pub client_id: Spanned<Uuid>,
    pub oid: Spanned<Uuid>,
    #[serde(default)]
    pub secrets: Vec<Spanned<Secret>>,
    #[serde(default)]
    pub certificates: Vec<Spanned<String>>,
    #[serde(default)]
    pub federated_credentials: Vec<FederatedCredential>,
    #[serde(default)]
    pub public_client: bool,
    #[serde(default)]
    pub redirect_uris: Vec<Spanned<String>>,
    #[serde(default)]
    pub graph_permissions: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileIdentity {
    pub name: String,
    pub kind: Spanned<IdentityKind>,
    pub client_id: Spanned<Uuid>,
    pub oid: Spanned<Uuid>,
    pub resource_id: Option<String>,
    #[serde(default)]
    pub graph_permissions: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileResource {
    pub name: String,
    pub audiences: Vec<Spanned<String>>,
    pub app_id: Spanned<Uuid>,
    pub version: Option<Spanned<i64>>,
    #[serde(default)]
    pub groups: bool,
    #[serde(default = "yes")]
    pub idtyp: bool,
    pub token_lifetime: Option<NonZeroU32>,
}

fn yes() -> bool {
    true
}
