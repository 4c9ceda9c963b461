//! The part of Microsoft Graph (v1.0) that says who is who and who is in which group, on the
//! authority's own address.
//!
//! Microsoft: "Microsoft Graph REST API v1.0 endpoint reference", the pages on users, groups,
//! service principals, directory objects and organizations. What real Graph does and what clients
//! get wrong is kept: `accountEnabled` of users only where it is selected, casts only as advanced
//! queries, no service principals among the members of a group without a cast, only ids of
//! members that the caller may not read.

mod caller;
mod entity;
mod error;
mod object;
mod page;
mod query;
mod request;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::emulator::{Emulator, Shared};
use super::endpoint::GRAPH;
use super::form::percent_decoded;

use caller::Caller;
use error::GraphError;
use object::Kind;
use query::Options;
use request::{GraphRequest, object_id, too_many};

const LARGEST_BODY: usize = 1 << 20;
const CHECKED_GROUPS: usize = 20;
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

fn respond(emulator: &Emulator, parts: &Parts, body: &[u8]) -> Result<Value, GraphError> {
    let directory = emulator.directory();
    let caller = Caller::of(emulator, &directory, &parts.headers)?;
    let path = parts.uri.path();
    let query = parts.uri.query().unwrap_or_default();
    let consistency = parts.headers.get("consistencylevel");
    let request = GraphRequest {
        tenant: caller.tenant,
        caller,
        options: Options::parse(query)?,
        eventual: consistency
            .is_some_and(|level| level.as_bytes().eq_ignore_ascii_case(b"eventual")),
        root: format!("{}{GRAPH}", emulator.authority.address()),
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
        (&Method::GET, ["organization"]) => request.organization(),
        (&Method::GET, [set]) => request.list(kind_of_set(set).ok_or_else(unknown)?),
        (&Method::GET, ["directoryobjects", id]) => request.directory_object(id),
        (&Method::GET, [set, key]) => request.entity(kind_of_set(set).ok_or_else(unknown)?, key),
        (&Method::GET, ["groups", id, "members", cast @ ..]) => request.members(id, false, cast),
        (&Method::GET, ["groups", id, "transitivemembers", cast @ ..]) => {
            request.members(id, true, cast)
        }
        (&Method::POST, ["directoryobjects", "getbyids" | "microsoft.graph.getbyids"]) => {
            request.by_ids(&read(body)?)
        }
        (
            &Method::POST,
            [
                "directoryobjects",
                key,
                "checkmembergroups" | "microsoft.graph.checkmembergroups",
            ],
        ) => request.check_member_groups(None, key, &read(body)?),
        (
            &Method::POST,
            [
                set,
                key,
                "checkmembergroups" | "microsoft.graph.checkmembergroups",
            ],
        ) => {
            let kind = kind_of_set(set).ok_or_else(unknown)?;
            request.check_member_groups(Some(kind), key, &read(body)?)
        }
        _ => Err(unknown()),
    }
}

/// The path below [`GRAPH`] in lower case, as Graph compares it; `set('key')` counts as two
/// segments, `set` and `'key'`.
fn segments(path: &str) -> Result<Vec<String>, GraphError> {
    let path = path.strip_prefix(GRAPH).unwrap_or(path);
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

impl GraphRequest<'_> {
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
}
