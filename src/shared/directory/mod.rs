//! Queries to Microsoft Graph, and its answers about groups.

pub mod groups;
pub mod lookup_error;
pub mod query;
pub mod scope;
pub mod table;
