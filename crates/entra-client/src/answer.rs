//! Graph's answers, as strictly as they can be read.

use entra_api::Principal;
use entra_token::{PrincipalKind, guid};
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::http::Response;

/// In bytes. Graph's display names have at most 256 characters, its user principal names 113.
const LONGEST_NAME: usize = 1024;
/// In bytes; those of Graph's have a few hundred.
const LONGEST_LINK: usize = 8 * 1024;

/// One page of a list.
#[derive(Deserialize)]
pub(crate) struct Page<T> {
    pub(crate) value: Vec<T>,
    #[serde(rename = "@odata.nextLink")]
    pub(crate) next: Option<String>,
}

/// A directory object. Properties that the application may not read are null.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Object {
    id: String,
    #[serde(rename = "@odata.type")]
    odata_type: Option<String>,
    user_principal_name: Option<String>,
    display_name: Option<String>,
    app_id: Option<String>,
    account_enabled: Option<bool>,
}

/// What is wrong with an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Not what Graph sends; says what is wrong.
    Malformed(&'static str),
    /// Properties are withheld because this permission is missing.
    Withheld(&'static str),
}

pub(crate) fn parse<T: DeserializeOwned>(response: &Response) -> Result<T, &'static str> {
    serde_json::from_slice(&response.body).map_err(|_| "is not of the form that was asked for")
}

impl Object {
    /// The kind that the object says it is of, `all` where it says nothing because all are; `None` for
    /// one of another kind, a device for example.
    pub(crate) fn kind(&self, all: Option<PrincipalKind>) -> Result<Option<PrincipalKind>, Flaw> {
        match self.odata_type.as_deref() {
            Some("#microsoft.graph.user") => Ok(Some(PrincipalKind::User)),
            Some("#microsoft.graph.group") => Ok(Some(PrincipalKind::Group)),
            Some("#microsoft.graph.servicePrincipal") => Ok(Some(PrincipalKind::Service)),
            Some(_) => Ok(None),
            None if all.is_some() => Ok(all),
            None => Err(Flaw::Malformed("has a member without a type")),
        }
    }

    /// The object as a principal of the kind that was asked for.
    pub(crate) fn principal(self, kind: PrincipalKind) -> Result<Principal, Flaw> {
        let object_id = guid::parse(&self.id).ok_or(Flaw::Malformed("has a malformed id"))?;
        let app_id = match self.app_id {
            None => None,
            Some(id) => Some(guid::parse(&id).ok_or(Flaw::Malformed("has a malformed appId"))?),
        };
        let name = match kind {
            PrincipalKind::User => self.user_principal_name,
            PrincipalKind::Group | PrincipalKind::Service => self.display_name,
        };
        let name = name.ok_or(Flaw::Withheld(permission(kind)))?;
        if name.len() > LONGEST_NAME {
            return Err(Flaw::Malformed("has a name of more than 1024 bytes"));
        }
        let enabled = match (kind, self.account_enabled) {
            (PrincipalKind::User, None) => return Err(Flaw::Withheld(permission(kind))),
            // Nullable for service principals, and groups have none.
            (_, None) => true,
            (_, Some(enabled)) => enabled,
        };
        Ok(Principal {
            kind,
            object_id,
            name,
            app_id: app_id.filter(|_| kind == PrincipalKind::Service),
            enabled,
        })
    }
}

/// The properties that are asked for.
pub(crate) fn properties(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::User => "id,userPrincipalName,accountEnabled",
        PrincipalKind::Group => "id,displayName",
        PrincipalKind::Service => "id,displayName,appId,accountEnabled",
    }
}

/// The application permission that it takes to read principals of a kind.
pub(crate) fn permission(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::User => "User.Read.All",
        PrincipalKind::Group => "GroupMember.Read.All",
        PrincipalKind::Service => "Application.Read.All",
    }
}

/// The address of a list's next page, if it is one of Graph's at `origin`: the token goes along.
pub(crate) fn next_page(link: &str, origin: &str) -> Option<String> {
    let graph = Url::parse(origin).ok()?;
    let next = Url::parse(link).ok()?;
    let is_plain = next.username().is_empty() && next.password().is_none();
    (link.len() <= LONGEST_LINK
        && next.origin() == graph.origin()
        && is_plain
        && next.path().starts_with("/v1.0/"))
    .then(|| next.into())
}

/// Whether `answer`, a list of ids, says that `group` is among the groups asked about, the only
/// one.
pub(crate) fn says_member(response: &Response, group: Uuid) -> Result<bool, &'static str> {
    let page: Page<String> = parse(response)?;
    match page.value.as_slice() {
        [] => Ok(false),
        [id] if guid::parse(id) == Some(group) => Ok(true),
        _ => Err("names another group than the one that was asked about"),
    }
}
