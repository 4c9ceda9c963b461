//! What a directory file must keep to, beyond its syntax.

use std::collections::HashMap;
use std::path::Path;

use toml::Spanned;
use uuid::Uuid;

use super::credential::Certificate;
use super::file::{
    Fault, File, FileApplication, FileGroup, FileIdentity, FileResource, FileTenant, FileUser,
    fault,
};
use super::graph::PERMISSIONS;
use super::members::{Names, generate, generated_members};
use super::model::{
    Application, Directory, Guest, Home, IdentityKind, ManagedIdentity, Resource, SUBSCRIPTION,
    Tenant, User,
};
use super::redirect_uri::RedirectUri;
use crate::authority::TokenVersion;

/// What must be unique in the whole file, with the field that used it first.
#[derive(Default)]
pub(super) struct Check<'a> {
    ids: HashMap<Uuid, &'static str>,
    names: HashMap<String, &'static str>,
    system_identity: bool,
    /// The directory that names of other files are seen from.
    beside: Option<&'a Path>,
}

impl<'a> Check<'a> {
    pub(super) fn new(beside: Option<&'a Path>) -> Check<'a> {
        Check {
            beside,
            ..Check::default()
        }
    }

    pub(super) fn directory(mut self, file: File) -> Result<Directory, Fault> {
        if file.tenant.is_empty() {
            return Err(Fault {
                at: 0,
                problem: "there is no [[tenant]]".to_owned(),
            });
        }
        let tenants = file
            .tenant
            .into_iter()
            .map(|tenant| self.tenant(tenant))
            .collect::<Result<_, _>>()?;
        let mut resources = file
            .resource
            .into_iter()
            .map(|resource| self.resource(resource))
            .collect::<Result<Vec<_>, _>>()?;
        let has_graph = resources.iter().any(Resource::is_graph);
        resources.extend((!has_graph).then(Resource::graph));
        Ok(Directory { tenants, resources })
    }

    fn tenant(&mut self, tenant: FileTenant) -> Result<Tenant, Fault> {
        self.new_id("id", &tenant.id)?;
        if tenant.domains.get_ref().is_empty() {
            return Err(fault(
                &tenant.domains,
                "domains: a tenant needs at least one".to_owned(),
            ));
        }
        for domain in tenant.domains.get_ref() {
            self.new_name("domains", &tenant.domains, domain)?;
        }
        let domains = tenant.domains.into_inner();
        let mut users = tenant
            .user
            .into_iter()
            .map(|user| self.user(user, &domains))
            .collect::<Result<Vec<_>, _>>()?;
        let applications = tenant
            .application
            .into_iter()
            .map(|application| self.application(application))
            .collect::<Result<Vec<_>, _>>()?;
        let managed_identities = tenant
            .managed_identity
            .into_iter()
            .map(|identity| self.managed_identity(identity))
            .collect::<Result<Vec<_>, _>>()?;
        for group in &tenant.group {
            self.new_id("oid", &group.oid)?;
        }

        let generated = self.generated(&tenant.group, *tenant.id.get_ref(), &domains)?;

        let mut names = Names::default();
        for user in &users {
            names.add(&user.upn, user.object_id);
        }
        for application in &applications {
            names.add(&application.name, application.object_id);
        }
        for identity in &managed_identities {
            names.add(&identity.name, identity.object_id);
        }
        for group in &tenant.group {
            names.add(&group.name, *group.oid.get_ref());
        }
        let groups = tenant
            .group
            .into_iter()
            .map(|group| names.resolve(group, &generated))
            .collect::<Result<Vec<_>, _>>()?;
        users.extend(generated);
        let mut tenant = Tenant {
            id: tenant.id.into_inner(),
            name: tenant.name,
            domains,
            users,
            groups,
            applications,
            managed_identities,
            index: Default::default(),
        };
        tenant.index();
        Ok(tenant)
    }

    /// As many made-up users as the largest group wants.
    fn generated(
        &mut self,
        groups: &[FileGroup],
        tenant: Uuid,
        domains: &[String],
    ) -> Result<Vec<User>, Fault> {
        let mut wanted = 0;
        for group in groups {
            wanted = wanted.max(generated_members(group)?);
        }
        let domain = domains.first().map_or("", String::as_str);
        let users = generate(wanted, tenant, domain);
        let Some(at) = groups
            .iter()
            .find_map(|group| group.generated_members.as_ref())
        else {
            return Ok(users);
        };
        for user in &users {
            self.claim_id("generated_members", at, user.object_id)?;
            self.new_name("generated_members", at, &user.upn)?;
        }
        Ok(users)
    }

    fn user(&mut self, user: FileUser, domains: &[String]) -> Result<User, Fault> {
        self.new_id("oid", &user.oid)?;
        self.new_name("upn", &user.upn, user.upn.get_ref())?;
        let domain = user
            .upn
            .get_ref()
            .rsplit_once('@')
            .map(|(_, domain)| domain);
        if !domain.is_some_and(|one| domains.iter().any(|own| own.eq_ignore_ascii_case(one))) {
            return Err(fault(
                &user.upn,
                format!(
                    "upn: must end in @ and a domain of the tenant ({})",
                    domains.join(", ")
                ),
            ));
        }
        let guest = match (user.mail, user.home) {
            (Some(mail), Some(home)) => Some(Guest {
                mail,
                home: parse_home(&home)?,
            }),
            (None, None) => None,
            _ => {
                return Err(fault(
                    &user.upn,
                    "mail and home: a guest has both, a member neither".to_owned(),
                ));
            }
        };
        Ok(User {
            upn: user.upn.into_inner(),
            object_id: user.oid.into_inner(),
            name: user.name,
            password: user.password,
            mfa: user.mfa,
            enabled: user.enabled,
            guest,
        })
    }

    fn application(&mut self, application: FileApplication) -> Result<Application, Fault> {
        self.new_id("client_id", &application.client_id)?;
        self.new_id("oid", &application.oid)?;
        for secret in &application.secrets {
            if secret.get_ref().is("") {
                return Err(fault(
                    secret,
                    "secrets: a secret must not be empty".to_owned(),
                ));
            }
        }
        Ok(Application {
            client_id: application.client_id.into_inner(),
            object_id: application.oid.into_inner(),
            name: application.name,
            secrets: application
                .secrets
                .into_iter()
                .map(Spanned::into_inner)
                .collect(),
            certificates: application
                .certificates
                .iter()
                .map(|text| self.certificate(text))
                .collect::<Result<_, _>>()?,
            federated_credentials: application.federated_credentials,
            public_client: application.public_client,
            redirect_uris: application
                .redirect_uris
                .iter()
                .map(redirect_uri)
                .collect::<Result<_, _>>()?,
            graph_permissions: graph_permissions(application.graph_permissions)?,
        })
    }

    fn certificate(&self, text: &Spanned<String>) -> Result<Certificate, Fault> {
        Certificate::read(text.get_ref(), self.beside)
            .map_err(|problem| fault(text, format!("certificates: {problem}")))
    }

    fn managed_identity(&mut self, identity: FileIdentity) -> Result<ManagedIdentity, Fault> {
        self.new_id("client_id", &identity.client_id)?;
        self.new_id("oid", &identity.oid)?;
        let kind = *identity.kind.get_ref();
        if kind == IdentityKind::System && std::mem::replace(&mut self.system_identity, true) {
            return Err(fault(
                &identity.kind,
                "kind: the machine has one identity of kind \"system\" at most".to_owned(),
            ));
        }
        let resource_id = identity.resource_id.unwrap_or_else(|| {
            let provider = match kind {
                IdentityKind::System => "Microsoft.Compute/virtualMachines",
                IdentityKind::User => "Microsoft.ManagedIdentity/userAssignedIdentities",
            };
            format!(
                "/subscriptions/{}/resourcegroups/emulator/providers/{provider}/{}",
                SUBSCRIPTION, identity.name
            )
        });
        Ok(ManagedIdentity {
            client_id: identity.client_id.into_inner(),
            object_id: identity.oid.into_inner(),
            name: identity.name,
            kind,
            resource_id,
            graph_permissions: graph_permissions(identity.graph_permissions)?,
        })
    }

    fn resource(&mut self, resource: FileResource) -> Result<Resource, Fault> {
        self.new_id("app_id", &resource.app_id)?;
        for audience in &resource.audiences {
            self.new_name("audiences", audience, audience.get_ref())?;
        }
        let version = match &resource.version {
            None => TokenVersion::V1,
            Some(version) => match version.get_ref() {
                1 => TokenVersion::V1,
                2 => TokenVersion::V2,
                other => {
                    return Err(fault(
                        version,
                        format!("version: {other} is neither 1 nor 2"),
                    ));
                }
            },
        };
        Ok(Resource {
            name: resource.name,
            audiences: resource
                .audiences
                .into_iter()
                .map(Spanned::into_inner)
                .collect(),
            app_id: resource.app_id.into_inner(),
            version,
            groups: resource.groups,
            idtyp: resource.idtyp,
            token_lifetime: resource.token_lifetime,
        })
    }

    fn new_id(&mut self, field: &'static str, id: &Spanned<Uuid>) -> Result<(), Fault> {
        self.claim_id(field, id, *id.get_ref())
    }

    fn claim_id<Value>(
        &mut self,
        field: &'static str,
        at: &Spanned<Value>,
        id: Uuid,
    ) -> Result<(), Fault> {
        match self.ids.insert(id, field) {
            Some(other) => Err(fault(
                at,
                format!("{field}: {id} is already used as {other} of another record"),
            )),
            None => Ok(()),
        }
    }

    fn new_name<Value>(
        &mut self,
        field: &'static str,
        at: &Spanned<Value>,
        name: &str,
    ) -> Result<(), Fault> {
        match self.names.insert(name.to_lowercase(), field) {
            Some(_) => Err(fault(at, format!("{field}: \"{name}\" occurs twice"))),
            None => Ok(()),
        }
    }
}

fn redirect_uri(text: &Spanned<String>) -> Result<RedirectUri, Fault> {
    RedirectUri::parse(text.get_ref())
        .map_err(|problem| fault(text, format!("redirect_uris: {problem}")))
}

fn parse_home(home: &Spanned<String>) -> Result<Home, Fault> {
    if home.get_ref() == "live.com" {
        return Ok(Home::MicrosoftAccount);
    }
    Uuid::try_parse(home.get_ref())
        .map(Home::Tenant)
        .map_err(|_| {
            fault(
                home,
                format!(
                    "home: \"{}\" is neither live.com nor a tenant's GUID",
                    home.get_ref()
                ),
            )
        })
}

fn graph_permissions(permissions: Vec<Spanned<String>>) -> Result<Vec<String>, Fault> {
    let known = |permission: Spanned<String>| {
        if PERMISSIONS.contains(&permission.get_ref().as_str()) {
            return Ok(permission.into_inner());
        }
        let problem = format!(
            "graph_permissions: \"{}\" is none of {}",
            permission.get_ref(),
            PERMISSIONS.join(", ")
        );
        Err(fault(&permission, problem))
    };
    permissions.into_iter().map(known).collect()
}
