//! The part of Microsoft Graph (v1.0) that says who is who and who is in which group, on the
//! authority's own address.
//!
//! Microsoft: "Microsoft Graph REST API v1.0 endpoint reference", the pages on users, groups,
//! service principals, directory objects and organizations. What real Graph does and what clients
//! get wrong is kept: `accountEnabled` of users only where it is selected, casts only as advanced
//! queries, no service principals among the members of a group without a cast, ids alone of
//! members that the caller may not read.

mod caller;
mod error;
mod object;
mod page;
mod query;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::form::percent_decoded;
use super::{Emulator, Shared};
use crate::directory::{Identity, Object, Tenant};

use caller::Caller;
use error::GraphError;
use object::Kind;
use query::Options;

/// Where Graph begins.
pub(super) const ROOT: &str = "/v1.0";
const LARGEST_BODY: usize = 1 << 20;
const CHECKED_GROUPS: usize = 20;
const IDS_AT_ONCE: usize = 1000;
const CONTENT_TYPE: &str = "application/json;odata.metadata=minimal;odata.streaming=true;\
                            IEEE754Compatible=false;charset=utf-8";
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("client-request-id");

pub(super) async fn answer(State(emulator): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answer = match to_bytes(body, LARGEST_BODY).await {
        Ok(body) => respond(&emulator, &parts, &body),
        Err(_) => Err(GraphError::malformed("The request is too large.")),
    };
    let request_id = Uuid::new_v4();
    let client_request_id = parts
        .headers
        .get(&CLIENT_REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .map_or_else(|| request_id.to_string(), str::to_owned);
    let (status, body) = match answer {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => (error.status, error.body(request_id, &client_request_id)),
    };
    let mut response = (status, body.to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    for (name, id) in [
        (REQUEST_ID, request_id.to_string()),
        (CLIENT_REQUEST_ID, client_request_id),
    ] {
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert(name, id);
        }
    }
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer realm=\"\", error=\"invalid_token\"");
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Everything that an answer depends on, beside the path.
struct Question<'a> {
    caller: Caller<'a>,
    tenant: &'a Tenant,
    options: Options,
    /// The caller accepts answers from an index that may lag, as advanced queries ask.
    eventual: bool,
    /// The address of Graph, and what was asked there.
    root: String,
    path: &'a str,
    query: &'a str,
}

fn respond(emulator: &Emulator, parts: &Parts, body: &[u8]) -> Result<Value, GraphError> {
    let directory = emulator.directory();
    let caller = Caller::of(emulator, &directory, &parts.headers)?;
    let path = parts.uri.path();
    let query = parts.uri.query().unwrap_or_default();
    let consistency = parts.headers.get("consistencylevel");
    let question = Question {
        tenant: caller.tenant,
        caller,
        options: Options::parse(query)?,
        eventual: consistency
            .is_some_and(|level| level.as_bytes().eq_ignore_ascii_case(b"eventual")),
        root: format!("{}{ROOT}", emulator.authority.address()),
        path,
        query,
    };
    let segments = segments(path)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let unknown = || {
        let last = segments.last().copied().unwrap_or_default();
        GraphError::malformed(format!("Resource not found for the segment '{last}'."))
    };
    match (&parts.method, segments.as_slice()) {
        (&Method::GET, ["organization"]) => question.organization(),
        (&Method::GET, [set]) => question.list(kind_of_set(set).ok_or_else(unknown)?),
        (&Method::GET, ["directoryobjects", id]) => question.directory_object(id),
        (&Method::GET, [set, key]) => question.entity(kind_of_set(set).ok_or_else(unknown)?, key),
        (&Method::GET, ["groups", id, "members", cast @ ..]) => question.members(id, false, cast),
        (&Method::GET, ["groups", id, "transitivemembers", cast @ ..]) => {
            question.members(id, true, cast)
        }
        (&Method::POST, ["directoryobjects", "getbyids" | "microsoft.graph.getbyids"]) => {
            question.by_ids(&read(body)?)
        }
        (
            &Method::POST,
            [
                "directoryobjects",
                key,
                "checkmembergroups" | "microsoft.graph.checkmembergroups",
            ],
        ) => question.check_member_groups(None, key, &read(body)?),
        (
            &Method::POST,
            [
                set,
                key,
                "checkmembergroups" | "microsoft.graph.checkmembergroups",
            ],
        ) => {
            let kind = kind_of_set(set).ok_or_else(unknown)?;
            question.check_member_groups(Some(kind), key, &read(body)?)
        }
        _ => Err(unknown()),
    }
}

/// The path below [`ROOT`] in lower case, as Graph compares it; `set('key')` counts as two
/// segments, `set` and `'key'`.
fn segments(path: &str) -> Result<Vec<String>, GraphError> {
    let path = path.strip_prefix(ROOT).unwrap_or(path);
    let mut segments = Vec::new();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        let segment = percent_decoded(segment)
            .ok_or_else(|| GraphError::malformed("The path is no text."))?
            .to_lowercase();
        match segment
            .strip_suffix(')')
            .and_then(|text| text.split_once('('))
        {
            Some((set, key)) => segments.extend([set.to_owned(), key.to_owned()]),
            None => segments.push(segment),
        }
    }
    Ok(segments)
}

fn kind_of_set(set: &str) -> Option<Kind> {
    Kind::ALL
        .into_iter()
        .find(|kind| kind.collection().eq_ignore_ascii_case(set))
}

fn read<Body: DeserializeOwned>(body: &[u8]) -> Result<Body, GraphError> {
    serde_json::from_slice(body).map_err(|error| {
        GraphError::malformed(format!("Unable to read JSON request payload: {error}"))
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CheckMemberGroups {
    group_ids: Vec<String>,
}

#[derive(Deserialize)]
struct GetByIds {
    ids: Vec<String>,
    #[serde(default)]
    types: Vec<String>,
}

impl<'a> Question<'a> {
    fn organization(&self) -> Result<Value, GraphError> {
        self.caller.must(&[
            "Organization.Read.All",
            "Directory.Read.All",
            "Directory.ReadWrite.All",
        ])?;
        let domains: Vec<Value> = (self.tenant.domains.iter().enumerate())
            .map(|(place, name)| {
                let initial = name.ends_with(".onmicrosoft.com");
                json!({
                    "capabilities": "Email, OfficeCommunicationsOnline",
                    "isDefault": place == 0,
                    "isInitial": initial,
                    "name": name,
                    "type": "Managed",
                })
            })
            .collect();
        Ok(json!({
            "@odata.context": self.context("organization"),
            "value": [{
                "id": self.tenant.id,
                "displayName": self.tenant.name,
                "tenantType": "AAD",
                "verifiedDomains": domains,
            }],
        }))
    }

    fn list(&self, kind: Kind) -> Result<Value, GraphError> {
        self.must_read(kind)?;
        let Some(filter) = &self.options.filter else {
            return self.page(&page::all(self.tenant, kind), Some(kind), kind.collection());
        };
        filter.check(kind)?;
        let found: Vec<Uuid> = match filter.user_principal_name() {
            Some(name) => self
                .tenant
                .user(name)
                .map(|user| user.object_id())
                .into_iter()
                .collect(),
            None => page::all(self.tenant, kind)
                .into_iter()
                .filter(|id| {
                    let object = self.tenant.object(*id);
                    object.is_some_and(|object| filter.accepts(&object, self.tenant))
                })
                .collect(),
        };
        self.page(&found, Some(kind), kind.collection())
    }

    fn entity(&self, kind: Kind, key: &str) -> Result<Value, GraphError> {
        self.must_read(kind)?;
        let object = self.find(kind, key)?;
        let mut shown = object::shown(&object, self.tenant, &self.options.select)?;
        self.add_entity_context(&mut shown, kind.collection());
        Ok(Value::Object(shown))
    }

    /// Each type needs the permission to read it; who has none learns nothing.
    fn directory_object(&self, id: &str) -> Result<Value, GraphError> {
        if !Kind::ALL
            .into_iter()
            .any(|kind| self.caller.may(kind.readers()))
        {
            return Err(GraphError::denied());
        }
        let object = self.object(id)?;
        self.caller.must(Kind::of(&object).readers())?;
        let mut shown =
            object::shown_among_others(&object, self.tenant, &self.options.select, true);
        self.add_entity_context(&mut shown, "directoryObjects");
        Ok(Value::Object(shown))
    }

    fn by_ids(&self, asked: &GetByIds) -> Result<Value, GraphError> {
        let readable: Vec<Kind> = Kind::ALL
            .into_iter()
            .filter(|kind| self.caller.may(kind.readers()))
            .collect();
        if readable.is_empty() {
            return Err(GraphError::denied());
        }
        if asked.ids.len() > IDS_AT_ONCE {
            return Err(too_many("ids", IDS_AT_ONCE));
        }
        let wanted = |kind: Kind| {
            let name = kind.type_name().trim_start_matches("microsoft.graph.");
            let named = |one: &String| {
                one.eq_ignore_ascii_case(name) || one.eq_ignore_ascii_case("directoryObject")
            };
            asked.types.is_empty() || asked.types.iter().any(named)
        };
        let mut found = Vec::new();
        for id in &asked.ids {
            let Some(object) = self.tenant.object(object_id(id)?) else {
                continue;
            };
            let kind = Kind::of(&object);
            if wanted(kind) && readable.contains(&kind) {
                let shown = object::shown_among_others(&object, self.tenant, &[], true);
                found.push(Value::Object(shown));
            }
        }
        Ok(json!({ "@odata.context": self.context("directoryObjects"), "value": found }))
    }

    /// Which of some groups the object is in, directly or through other groups.
    fn check_member_groups(
        &self,
        kind: Option<Kind>,
        key: &str,
        asked: &CheckMemberGroups,
    ) -> Result<Value, GraphError> {
        // Service principals need no permission to read groups; users and groups do.
        match kind {
            Some(Kind::User) | None => {
                self.caller.must(Kind::User.readers())?;
                self.caller.must(Kind::Group.readers())?;
            }
            Some(kind) => self.caller.must(kind.readers())?,
        }
        let object = match kind {
            Some(kind) => self.find(kind, key)?,
            None => self.object(key)?,
        };
        if asked.group_ids.len() > CHECKED_GROUPS {
            return Err(too_many("groupIds", CHECKED_GROUPS));
        }
        let groups = self.tenant.groups_of(object.object_id());
        let mut found = Vec::new();
        for id in &asked.group_ids {
            let id = object_id(id)?;
            if groups.contains(&id) {
                found.push(id);
            }
        }
        Ok(json!({ "@odata.context": self.context("Collection(Edm.String)"), "value": found }))
    }

    fn must_read(&self, kind: Kind) -> Result<(), GraphError> {
        let selects_basics = !self
            .options
            .select
            .iter()
            .any(|name| name.eq_ignore_ascii_case("accountEnabled"));
        if kind == Kind::User && selects_basics && self.caller.may(&["User.ReadBasic.All"]) {
            return Ok(());
        }
        self.caller.must(kind.readers())
    }

    /// A user by id or user principal name, a service principal by id or `appId='...'`, a group by
    /// id.
    fn find(&self, kind: Kind, key: &str) -> Result<Object<'a>, GraphError> {
        let key = key
            .strip_prefix('\'')
            .and_then(|key| key.strip_suffix('\''))
            .unwrap_or(key);
        let not_found = || GraphError::not_found(key);
        let app_id = key
            .strip_prefix("appid='")
            .and_then(|id| id.strip_suffix('\''));
        let found = match (kind, Uuid::try_parse(key).ok(), app_id) {
            (_, Some(id), _) => self.tenant.object(id),
            (Kind::User, None, _) => self.tenant.user(key).map(Object::Principal),
            (Kind::ServicePrincipal, None, Some(app_id)) => self.service_principal(app_id),
            (_, None, _) => Some(self.object(key)?),
        };
        found
            .filter(|object| Kind::of(object) == kind)
            .ok_or_else(not_found)
    }

    fn service_principal(&self, app_id: &str) -> Option<Object<'a>> {
        let app_id = Uuid::try_parse(app_id).ok()?;
        let applications = self.tenant.applications.iter().map(Identity::Application);
        let identities = self
            .tenant
            .managed_identities
            .iter()
            .map(Identity::ManagedIdentity);
        applications
            .chain(identities)
            .map(Object::Principal)
            .find(|object| object::app_id(object) == Some(app_id))
    }

    fn object(&self, id: &str) -> Result<Object<'a>, GraphError> {
        self.tenant
            .object(object_id(id)?)
            .ok_or_else(|| GraphError::not_found(id))
    }

    fn context(&self, of: &str) -> String {
        let select = &self.options.select;
        if select.is_empty() {
            return format!("{}/$metadata#{of}", self.root);
        }
        format!("{}/$metadata#{of}({})", self.root, select.join(","))
    }

    fn add_entity_context(&self, shown: &mut Map<String, Value>, set: &str) {
        let context = format!("{}/$entity", self.context(set));
        shown.insert("@odata.context".to_owned(), Value::String(context));
    }
}

fn object_id(text: &str) -> Result<Uuid, GraphError> {
    Uuid::try_parse(text)
        .map_err(|_| GraphError::bad_request(format!("Invalid object identifier '{text}'.")))
}

fn too_many(what: &str, most: usize) -> GraphError {
    GraphError::bad_request(format!(
        "Too many elements in '{what}': at most {most} are allowed."
    ))
}
