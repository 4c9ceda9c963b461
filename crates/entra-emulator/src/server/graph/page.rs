//! Collections, page by page, in the order of object ids: an object that stays in a collection while it
//! is read is found, whatever else is added or removed.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::endpoint::GRAPH;
use super::error::GraphError;
use super::object::{self, Kind, unknown_property};
use super::query::{SKIP_TOKEN, skip_token};
use super::request::GraphRequest;
use crate::directory::{Object, Tenant};

/// Object ids of all objects of a kind.
pub(super) fn all(tenant: &Tenant, kind: Kind) -> Vec<Uuid> {
    let mut ids: Vec<Uuid> = match kind {
        Kind::User => tenant.users.iter().map(|one| one.object_id).collect(),
        Kind::Group => tenant.groups.iter().map(|one| one.object_id).collect(),
        Kind::ServicePrincipal => {
            let applications = tenant.applications.iter().map(|one| one.object_id);
            let identities = tenant.managed_identities.iter().map(|one| one.object_id);
            applications.chain(identities).collect()
        }
    };
    ids.sort_unstable();
    ids
}

impl GraphRequest<'_> {
    /// The members of a group, of one type where the path ends in a cast.
    pub(super) fn members(
        &self,
        group: &str,
        transitive: bool,
        cast: &[&str],
    ) -> Result<Value, GraphError> {
        self.caller.must(Kind::Group.readers())?;
        let kind = match cast {
            [] => None,
            [cast] => Some(self.cast(cast)?),
            [_, segment, ..] => {
                return Err(GraphError::malformed(format!(
                    "Resource not found for the segment '{segment}'."
                )));
            }
        };
        if self.options.filter.is_some() {
            return Err(GraphError::unsupported_query(
                "The emulator filters no members.",
            ));
        }
        let Object::Group(group) = self.find(Kind::Group, group)? else {
            return Err(GraphError::not_found(group));
        };
        let of = kind.map_or("directoryObjects", Kind::collection);
        if transitive {
            return self.page(self.tenant.contents_of(group.object_id), kind, of);
        }
        let members: Vec<Uuid> = group.members.iter().copied().collect();
        self.page(&members, kind, of)
    }

    /// The type that a path casts to, which is an advanced query.
    fn cast(&self, cast: &str) -> Result<Kind, GraphError> {
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| kind.type_name().eq_ignore_ascii_case(cast));
        let kind = kind.ok_or_else(|| {
            GraphError::malformed(format!("Resource not found for the segment '{cast}'."))
        })?;
        if !(self.eventual && self.options.count) {
            return Err(GraphError::unsupported_query(
                "A cast needs the header ConsistencyLevel with the value eventual, and $count=true.",
            ));
        }
        Ok(kind)
    }

    /// One page of the objects `ids`, which are in order: those of type `kind`, or, where none is
    /// given, of the types that v1.0 shows without a cast, which service principals are not.
    pub(super) fn page(
        &self,
        ids: &[Uuid],
        kind: Option<Kind>,
        of: &str,
    ) -> Result<Value, GraphError> {
        self.check_selection(kind)?;
        let belongs = |object: &Object<'_>| match kind {
            Some(kind) => Kind::of(object) == kind,
            None => Kind::of(object) != Kind::ServicePrincipal,
        };
        let begin = match self.options.after {
            Some(last) => ids.partition_point(|id| *id <= last),
            None => 0,
        };
        let rest = ids.get(begin..).unwrap_or_default();
        let mut following = rest
            .iter()
            .filter_map(|id| self.tenant.object(*id))
            .filter(belongs);
        let page: Vec<Object<'_>> = following.by_ref().take(self.options.page_size()).collect();
        let more = following.next().is_some();

        let mut answer = Map::new();
        answer.insert("@odata.context".to_owned(), json!(self.context(of)));
        if self.eventual && self.options.count && self.options.after.is_none() {
            let all = ids
                .iter()
                .filter_map(|id| self.tenant.object(*id))
                .filter(belongs);
            answer.insert("@odata.count".to_owned(), json!(all.count()));
        }
        if let (true, Some(last)) = (more, page.last()) {
            answer.insert(
                "@odata.nextLink".to_owned(),
                json!(self.next(last.object_id())),
            );
        }
        let shown: Vec<Value> = page.iter().map(|object| self.shown(object, kind)).collect();
        answer.insert("value".to_owned(), Value::Array(shown));
        Ok(Value::Object(answer))
    }

    fn shown(&self, object: &Object<'_>, kind: Option<Kind>) -> Value {
        let readable = self.must_read(Kind::of(object)).is_ok();
        let select = &self.options.select;
        let mut shown = object::shown_among_others(object, self.tenant, select, readable);
        if kind.is_some() {
            shown.remove("@odata.type");
        }
        Value::Object(shown)
    }

    fn check_selection(&self, kind: Option<Kind>) -> Result<(), GraphError> {
        let kinds = kind.map_or(Kind::ALL.to_vec(), |kind| vec![kind]);
        let type_name = kind.map_or("microsoft.graph.directoryObject", Kind::type_name);
        for name in &self.options.select {
            if !kinds.iter().any(|kind| kind.property(name).is_some()) {
                return Err(unknown_property(name, type_name));
            }
        }
        Ok(())
    }

    /// The same request, for what follows `last`.
    fn next(&self, last: Uuid) -> String {
        let is_token = |pair: &&str| {
            let name = pair.split('=').next().unwrap_or_default();
            name.replace("%24", "$").eq_ignore_ascii_case(SKIP_TOKEN)
        };
        let kept = self
            .query
            .split('&')
            .filter(|pair| !pair.is_empty() && !is_token(pair));
        let token = format!("{SKIP_TOKEN}={}", skip_token(last));
        let query: Vec<&str> = kept.chain([token.as_str()]).collect();
        let path = self.path.strip_prefix(GRAPH).unwrap_or(self.path);
        format!("{}{path}?{}", self.root, query.join("&"))
    }
}
