//! What a directory consists of: tenants and who is in them, and the resources that tokens are for.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;

use serde::Deserialize;
use uuid::Uuid;

use super::credential::{Certificate, FederatedCredential};
use super::index::Index;
use super::redirect_uri::RedirectUri;
use crate::authority::TokenVersion;

/// The one subscription of the emulator's world.
pub const SUBSCRIPTION: &str = "5ab5c100-0000-4000-8000-0000000000aa";

/// All that a directory file says, checked.
#[derive(Clone, Debug)]
pub struct Directory {
    pub tenants: Vec<Tenant>,
    pub resources: Vec<Resource>,
}

#[derive(Clone, Debug)]
pub struct Tenant {
    pub id: Uuid,
    pub name: String,
    pub domains: Vec<String>,
    pub users: Vec<User>,
    pub groups: Vec<Group>,
    pub applications: Vec<Application>,
    pub managed_identities: Vec<ManagedIdentity>,
    pub(super) index: Index,
}

#[derive(Clone, Debug)]
pub struct User {
    pub upn: String,
    pub object_id: Uuid,
    pub name: String,
    pub password: Option<Secret>,
    /// Signs in with a second factor.
    pub mfa: bool,
    /// The account may be used.
    pub enabled: bool,
    /// Where a guest comes from; `None` for a member of the tenant.
    pub guest: Option<Guest>,
}

#[derive(Clone, Debug)]
pub struct Guest {
    pub mail: String,
    pub home: Home,
}

/// The directory that a guest's account belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// A personal Microsoft account.
    MicrosoftAccount,
    /// Another organization's tenant.
    Tenant(Uuid),
}

#[derive(Clone, Debug)]
pub struct Group {
    pub object_id: Uuid,
    pub name: String,
    /// Object ids of the direct members, groups among them.
    pub members: BTreeSet<Uuid>,
}

#[derive(Clone, Debug)]
pub struct Application {
    pub client_id: Uuid,
    /// Of the service principal.
    pub object_id: Uuid,
    pub name: String,
    pub secrets: Vec<Secret>,
    pub certificates: Vec<Certificate>,
    pub federated_credentials: Vec<FederatedCredential>,
    /// Runs where no secret can be kept, and signs users in.
    pub public_client: bool,
    /// Where users who signed in with a browser may be sent back to.
    pub redirect_uris: Vec<RedirectUri>,
    /// What it may do in Microsoft Graph.
    pub graph_permissions: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct ManagedIdentity {
    pub client_id: Uuid,
    pub object_id: Uuid,
    pub name: String,
    pub kind: IdentityKind,
    /// Azure's path of the identity, or of the machine that a system-assigned one belongs to.
    pub resource_id: String,
    /// What it may do in Microsoft Graph.
    pub graph_permissions: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityKind {
    System,
    User,
}

/// A password or client secret.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Whether this is what a caller presents. Not in constant time: the emulator guards nothing.
    pub fn is(&self, presented: &str) -> bool {
        self.0 == presented
    }
}

/// Shows nothing of it.
impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

/// An application that tokens are for.
#[derive(Clone, Debug)]
pub struct Resource {
    pub name: String,
    pub audiences: Vec<String>,
    pub app_id: Uuid,
    pub version: TokenVersion,
    /// Tokens carry the `groups` claim.
    pub groups: bool,
    /// Tokens carry the optional claim `idtyp`.
    pub idtyp: bool,
    /// In seconds, in place of what Entra gives by default.
    pub token_lifetime: Option<NonZeroU32>,
}

/// How a caller names the principal that a token shall be about. An object id is understood too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// By user principal name, or a guest's by mail address.
    User(String),
    /// An application, by name or client id.
    ServicePrincipal(String),
    /// By name, client id or resource id.
    ManagedIdentity(String),
}

/// A principal that was found.
#[derive(Clone, Copy, Debug)]
pub struct Principal<'a> {
    pub tenant: &'a Tenant,
    pub identity: Identity<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum Identity<'a> {
    User(&'a User),
    Application(&'a Application),
    ManagedIdentity(&'a ManagedIdentity),
}

/// Why a name led to no principal.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    #[error("the directory has no {kind} \"{name}\"; it has {known}")]
    NotFound {
        kind: &'static str,
        name: String,
        known: String,
    },
    #[error("the directory has {count} of {kind} \"{name}\"; name one by its object id")]
    Ambiguous {
        kind: &'static str,
        name: String,
        count: usize,
    },
}

impl Directory {
    /// The tenant with this GUID or domain.
    pub fn tenant(&self, id_or_domain: &str) -> Option<&Tenant> {
        let id = Uuid::try_parse(id_or_domain).ok();
        self.tenants.iter().find(|tenant| {
            Some(tenant.id) == id
                || tenant
                    .domains
                    .iter()
                    .any(|domain| domain.eq_ignore_ascii_case(id_or_domain))
        })
    }

    /// The resource that `audience` names: one of its URIs, with or without a trailing slash, or
    /// its application id.
    pub fn resource(&self, audience: &str) -> Option<&Resource> {
        let id = Uuid::try_parse(audience).ok();
        let uri = audience.strip_suffix('/').unwrap_or(audience);
        self.resources.iter().find(|resource| {
            Some(resource.app_id) == id
                || resource
                    .audiences
                    .iter()
                    .any(|own| own.strip_suffix('/').unwrap_or(own) == uri)
        })
    }

    /// The one principal that `subject` names, in any tenant.
    pub fn find(&self, subject: &Subject) -> Result<Principal<'_>, LookupError> {
        let (kind, name) = match subject {
            Subject::User(name) => ("user", name),
            Subject::ServicePrincipal(name) => ("application", name),
            Subject::ManagedIdentity(name) => ("managed identity", name),
        };
        let id = Uuid::try_parse(name).ok();
        let found: Vec<Principal<'_>> = self
            .principals()
            .filter(|principal| {
                principal.identity.kind() == kind && principal.identity.answers_to(name, id)
            })
            .collect();
        match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(LookupError::NotFound {
                kind,
                name: name.clone(),
                known: self.known(kind),
            }),
            several => Err(LookupError::Ambiguous {
                kind,
                name: name.clone(),
                count: several.len(),
            }),
        }
    }

    /// Names of what there is of a kind, the first of them.
    fn known(&self, kind: &'static str) -> String {
        const TOLD: usize = 20;
        let all = self
            .principals()
            .filter(|principal| principal.identity.kind() == kind);
        let mut names: Vec<&str> = all
            .map(|principal| principal.identity.label())
            .take(TOLD + 1)
            .collect();
        if names.len() > TOLD {
            names.truncate(TOLD);
            names.push("and others");
        }
        names.join(", ")
    }

    fn principals(&self) -> impl Iterator<Item = Principal<'_>> {
        self.tenants.iter().flat_map(|tenant| {
            let users = tenant.users.iter().map(Identity::User);
            let applications = tenant.applications.iter().map(Identity::Application);
            let managed = tenant
                .managed_identities
                .iter()
                .map(Identity::ManagedIdentity);
            users
                .chain(applications)
                .chain(managed)
                .map(move |identity| Principal { tenant, identity })
        })
    }
}

impl<'a> Identity<'a> {
    pub fn object_id(&self) -> Uuid {
        match self {
            Identity::User(user) => user.object_id,
            Identity::Application(application) => application.object_id,
            Identity::ManagedIdentity(identity) => identity.object_id,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Identity::User(_) => "user",
            Identity::Application(_) => "application",
            Identity::ManagedIdentity(_) => "managed identity",
        }
    }

    fn label(&self) -> &'a str {
        match self {
            Identity::User(user) => &user.upn,
            Identity::Application(application) => &application.name,
            Identity::ManagedIdentity(identity) => &identity.name,
        }
    }

    /// Whether `name`, which is `id` where it is a GUID, means this one.
    fn answers_to(&self, name: &str, id: Option<Uuid>) -> bool {
        if id == Some(self.object_id()) {
            return true;
        }
        match self {
            Identity::User(user) => {
                user.upn.eq_ignore_ascii_case(name)
                    || user
                        .guest
                        .as_ref()
                        .is_some_and(|guest| guest.mail.eq_ignore_ascii_case(name))
            }
            Identity::Application(application) => {
                id == Some(application.client_id) || application.name == name
            }
            Identity::ManagedIdentity(identity) => {
                id == Some(identity.client_id)
                    || identity.name == name
                    || identity.resource_id.eq_ignore_ascii_case(name)
            }
        }
    }
}
