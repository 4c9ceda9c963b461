//! The index of a tenant, which makes lookups cheap whatever its size.

use std::collections::HashMap;
use std::sync::OnceLock;

use uuid::Uuid;

/// Positions in the lists of the tenant that it was made from.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    pub(super) objects: HashMap<Uuid, Place>,
    /// By user principal name in lower case.
    pub(super) users: HashMap<String, usize>,
    /// The groups that an object is directly in.
    pub(super) groups_of: HashMap<Uuid, Vec<usize>>,
    /// For each group what it contains, nested groups included, in the order of object ids; filled on demand.
    pub(super) contents: Vec<OnceLock<Vec<Uuid>>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    User(usize),
    Group(usize),
    Application(usize),
    ManagedIdentity(usize),
}
