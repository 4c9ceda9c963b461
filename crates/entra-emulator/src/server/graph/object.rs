//! Users, groups and service principals as Graph shows them.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::error::GraphError;
use crate::directory::{Identity, IdentityKind, Object, Tenant};

/// The types of object that the emulator's Graph has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Group,
    ServicePrincipal,
}

impl Kind {
    pub(super) const ALL: [Kind; 3] = [Kind::User, Kind::Group, Kind::ServicePrincipal];

    pub(super) fn of(object: &Object<'_>) -> Kind {
        match object {
            Object::Principal(Identity::User(_)) => Kind::User,
            Object::Principal(_) => Kind::ServicePrincipal,
            Object::Group(_) => Kind::Group,
        }
    }

    pub(super) fn type_name(self) -> &'static str {
        match self {
            Kind::User => "microsoft.graph.user",
            Kind::Group => "microsoft.graph.group",
            Kind::ServicePrincipal => "microsoft.graph.servicePrincipal",
        }
    }

    pub(super) fn collection(self) -> &'static str {
        match self {
            Kind::User => "users",
            Kind::Group => "groups",
            Kind::ServicePrincipal => "servicePrincipals",
        }
    }

    /// Each of these permissions lets an application read all objects of the kind. Microsoft: "Get
    /// a user", "Get group", "Get servicePrincipal".
    pub(super) fn readers(self) -> &'static [&'static str] {
        match self {
            Kind::User => &[
                "User.Read.All",
                "User.ReadWrite.All",
                "Directory.Read.All",
                "Directory.ReadWrite.All",
            ],
            Kind::Group => &[
                "GroupMember.Read.All",
                "GroupMember.ReadWrite.All",
                "Group.Read.All",
                "Group.ReadWrite.All",
                "Directory.Read.All",
                "Directory.ReadWrite.All",
            ],
            Kind::ServicePrincipal => &[
                "Application.Read.All",
                "Application.ReadWrite.All",
                "Application.ReadWrite.OwnedBy",
                "Directory.Read.All",
                "Directory.ReadWrite.All",
            ],
        }
    }

    /// What is told when nothing is selected, and what is told when it is.
    fn properties(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Kind::User => (
                &[
                    "businessPhones",
                    "displayName",
                    "givenName",
                    "jobTitle",
                    "mail",
                    "mobilePhone",
                    "officeLocation",
                    "preferredLanguage",
                    "surname",
                    "userPrincipalName",
                    "id",
                ],
                &["accountEnabled", "userType"],
            ),
            Kind::Group => (
                &[
                    "id",
                    "deletedDateTime",
                    "description",
                    "displayName",
                    "groupTypes",
                    "mail",
                    "mailEnabled",
                    "mailNickname",
                    "securityEnabled",
                    "visibility",
                ],
                &[],
            ),
            Kind::ServicePrincipal => (
                &[
                    "id",
                    "deletedDateTime",
                    "accountEnabled",
                    "alternativeNames",
                    "appDisplayName",
                    "appId",
                    "appOwnerOrganizationId",
                    "displayName",
                    "servicePrincipalNames",
                    "servicePrincipalType",
                    "tags",
                ],
                &[],
            ),
        }
    }

    /// The property as Graph spells it.
    pub(super) fn property(self, name: &str) -> Option<&'static str> {
        let (told, selected) = self.properties();
        let mut all = told.iter().chain(selected);
        all.find(|own| own.eq_ignore_ascii_case(name)).copied()
    }
}

/// One value of an object; `name` is one that [`Kind::property`] returned.
pub(super) fn value(object: &Object<'_>, tenant: &Tenant, name: &str) -> Value {
    match (object, name) {
        (_, "id") => json!(object.object_id()),
        (_, "displayName") => json!(display_name(object)),
        (_, "businessPhones" | "groupTypes" | "tags") => json!([]),
        (Object::Principal(Identity::User(user)), name) => match name {
            "accountEnabled" => json!(user.enabled),
            "mail" => json!(user.guest.as_ref().map(|guest| &guest.mail)),
            "userPrincipalName" => json!(user.upn),
            "userType" => json!(if user.guest.is_some() {
                "Guest"
            } else {
                "Member"
            }),
            _ => Value::Null,
        },
        (Object::Group(group), name) => match name {
            "mailEnabled" => json!(false),
            "mailNickname" => json!(group.name),
            "securityEnabled" => json!(true),
            _ => Value::Null,
        },
        (Object::Principal(principal), name) => {
            let application = matches!(principal, Identity::Application(_));
            match name {
                "accountEnabled" => json!(true),
                "alternativeNames" => alternative_names(principal),
                "appDisplayName" if application => json!(display_name(object)),
                "appId" => json!(app_id(object)),
                "appOwnerOrganizationId" if application => json!(tenant.id),
                "servicePrincipalNames" => json!([app_id(object)]),
                "servicePrincipalType" if application => json!("Application"),
                "servicePrincipalType" => json!("ManagedIdentity"),
                _ => Value::Null,
            }
        }
    }
}

/// The whole object, or what `select` names of it.
///
/// # Errors
/// 400, where a name is no property of the object.
pub(super) fn shown(
    object: &Object<'_>,
    tenant: &Tenant,
    select: &[String],
) -> Result<Map<String, Value>, GraphError> {
    let kind = Kind::of(object);
    let (told, _) = kind.properties();
    let selected: Vec<&'static str> = select
        .iter()
        .map(|name| {
            kind.property(name)
                .ok_or_else(|| unknown_property(name, kind.type_name()))
        })
        .collect::<Result<_, _>>()?;
    let names = if select.is_empty() { told } else { &selected };
    let member = |name: &&'static str| ((*name).to_owned(), value(object, tenant, name));
    Ok(names.iter().map(member).collect())
}

/// The object among objects of other types: it names its type, and has those of its properties that
/// `select` names. A caller that may not read it learns its type and id.
pub(super) fn shown_among_others(
    object: &Object<'_>,
    tenant: &Tenant,
    select: &[String],
    readable: bool,
) -> Map<String, Value> {
    let kind = Kind::of(object);
    let own: Vec<String> = select
        .iter()
        .filter(|name| kind.property(name).is_some())
        .cloned()
        .collect();
    let mut shown = if !select.is_empty() && own.is_empty() {
        Map::new()
    } else {
        shown(object, tenant, &own).unwrap_or_default()
    };
    if !readable {
        for (name, value) in &mut shown {
            if name != "id" {
                *value = Value::Null;
            }
        }
    }
    shown.insert(
        "@odata.type".to_owned(),
        json!(format!("#{}", kind.type_name())),
    );
    shown
}

pub(super) fn unknown_property(name: &str, type_name: &str) -> GraphError {
    GraphError::malformed(format!(
        "Could not find a property named '{name}' on type '{type_name}'."
    ))
}

fn display_name<'a>(object: &Object<'a>) -> &'a str {
    match object {
        Object::Group(group) => &group.name,
        Object::Principal(Identity::User(user)) => &user.name,
        Object::Principal(Identity::Application(application)) => &application.name,
        Object::Principal(Identity::ManagedIdentity(identity)) => &identity.name,
    }
}

/// The application id of a service principal.
pub(super) fn app_id(object: &Object<'_>) -> Option<Uuid> {
    match object {
        Object::Principal(Identity::Application(application)) => Some(application.client_id),
        Object::Principal(Identity::ManagedIdentity(identity)) => Some(identity.client_id),
        _ => None,
    }
}

/// Of a managed identity: whether it stands on its own, and the resource that it is or belongs to.
fn alternative_names(principal: &Identity<'_>) -> Value {
    match principal {
        Identity::ManagedIdentity(identity) => {
            let explicit = match identity.kind {
                IdentityKind::System => "isExplicit=False",
                IdentityKind::User => "isExplicit=True",
            };
            json!([explicit, identity.resource_id])
        }
        _ => json!([]),
    }
}
