//! Objects by what they are called: one, several, or all of a kind.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::error::GraphError;
use super::object::{self, Kind};
use super::page;
use super::request::{GraphRequest, object_id, too_many};
use crate::directory::{Identity, Object};

const IDS_AT_ONCE: usize = 1000;

#[derive(Deserialize)]
pub(super) struct GetByIds {
    ids: Vec<String>,
    #[serde(default)]
    types: Vec<String>,
}

impl<'a> GraphRequest<'a> {
    pub(super) fn list(&self, kind: Kind) -> Result<Value, GraphError> {
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

    pub(super) fn entity(&self, kind: Kind, key: &str) -> Result<Value, GraphError> {
        self.must_read(kind)?;
        let object = self.find(kind, key)?;
        let mut shown = object::shown(&object, self.tenant, &self.options.select)?;
        self.add_entity_context(&mut shown, kind.collection());
        Ok(Value::Object(shown))
    }

    /// Each type needs the permission to read it; who has none learns nothing.
    pub(super) fn directory_object(&self, id: &str) -> Result<Value, GraphError> {
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

    pub(super) fn by_ids(&self, asked: &GetByIds) -> Result<Value, GraphError> {
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

    pub(super) fn must_read(&self, kind: Kind) -> Result<(), GraphError> {
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
    pub(super) fn find(&self, kind: Kind, key: &str) -> Result<Object<'a>, GraphError> {
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

    pub(super) fn object(&self, id: &str) -> Result<Object<'a>, GraphError> {
        self.tenant
            .object(object_id(id)?)
            .ok_or_else(|| GraphError::not_found(id))
    }

    fn add_entity_context(&self, shown: &mut Map<String, Value>, set: &str) {
        let context = format!("{}/$entity", self.context(set));
        shown.insert("@odata.context".to_owned(), Value::String(context));
    }
}
