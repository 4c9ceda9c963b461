//! One request to Graph.

use uuid::Uuid;

use super::caller::Caller;
use super::error::GraphError;
use super::query::Options;
use crate::directory::Tenant;

/// Everything that an answer depends on, beside the path.
pub(super) struct GraphRequest<'a> {
    pub(super) caller: Caller<'a>,
    pub(super) tenant: &'a Tenant,
    pub(super) options: Options,
    /// The caller accepts answers from an index that may lag, as advanced queries ask.
    pub(super) eventual: bool,
    /// The address of Graph, and what was asked there.
    pub(super) root: String,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
}

impl GraphRequest<'_> {
    pub(super) fn context(&self, of: &str) -> String {
        let select = &self.options.select;
        if select.is_empty() {
            return format!("{}/$metadata#{of}", self.root);
        }
        format!("{}/$metadata#{of}({})", self.root, select.join(","))
    }
}

pub(super) fn too_many(what: &str, most: usize) -> GraphError {
    GraphError::bad_request(format!(
        "Too many elements in '{what}': at most {most} are allowed."
    ))
}

pub(super) fn object_id(text: &str) -> Result<Uuid, GraphError> {
    Uuid::try_parse(text)
        .map_err(|_| GraphError::bad_request(format!("Invalid object identifier '{text}'.")))
}
