//! Looks up a tenant's objects: who has which id, who is a member of what, and what a group contains,
//! nested groups included.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use uuid::Uuid;

use super::index::{Index, Place};
use super::model::{Group, Identity, Tenant};

/// An object of the directory that has an object id.
#[derive(Clone, Copy, Debug)]
pub enum Object<'a> {
    Principal(Identity<'a>),
    Group(&'a Group),
}

impl Object<'_> {
    pub fn object_id(&self) -> Uuid {
        match self {
            Object::Principal(identity) => identity.object_id(),
            Object::Group(group) => group.object_id,
        }
    }
}

impl Index {
    fn of(tenant: &Tenant) -> Index {
        let mut objects = HashMap::new();
        let mut users = HashMap::with_capacity(tenant.users.len());
        for (place, user) in tenant.users.iter().enumerate() {
            objects.insert(user.object_id, Place::User(place));
            users.insert(user.upn.to_lowercase(), place);
        }
        let mut groups_of: HashMap<Uuid, Vec<usize>> = HashMap::new();
        for (place, group) in tenant.groups.iter().enumerate() {
            objects.insert(group.object_id, Place::Group(place));
            for member in &group.members {
                groups_of.entry(*member).or_default().push(place);
            }
        }
        for (place, application) in tenant.applications.iter().enumerate() {
            objects.insert(application.object_id, Place::Application(place));
        }
        for (place, identity) in tenant.managed_identities.iter().enumerate() {
            objects.insert(identity.object_id, Place::ManagedIdentity(place));
        }
        Index {
            objects,
            users,
            groups_of,
            contents: vec![OnceLock::new(); tenant.groups.len()],
        }
    }
}

impl Tenant {
    /// Must follow any change to the tenant's lists.
    pub(crate) fn index(&mut self) {
        self.index = Index::of(self);
    }

    /// The user, group, application or managed identity with this object id.
    pub fn object(&self, object_id: Uuid) -> Option<Object<'_>> {
        Some(match *self.index.objects.get(&object_id)? {
            Place::User(place) => Object::Principal(Identity::User(self.users.get(place)?)),
            Place::Group(place) => Object::Group(self.groups.get(place)?),
            Place::Application(place) => {
                Object::Principal(Identity::Application(self.applications.get(place)?))
            }
            Place::ManagedIdentity(place) => Object::Principal(Identity::ManagedIdentity(
                self.managed_identities.get(place)?,
            )),
        })
    }

    /// The user with this user principal name.
    pub fn user(&self, upn: &str) -> Option<Identity<'_>> {
        let place = *self.index.users.get(&upn.to_lowercase())?;
        Some(Identity::User(self.users.get(place)?))
    }

    /// The groups that `object_id` is in, directly or through other groups, as the `groups` claim
    /// counts them. Groups may contain each other.
    pub fn groups_of(&self, object_id: Uuid) -> Vec<Uuid> {
        let mut found = Vec::new();
        let mut seen = HashSet::from([object_id]);
        let mut waiting = vec![object_id];
        while let Some(member) = waiting.pop() {
            let places = self.index.groups_of.get(&member);
            for group in places
                .into_iter()
                .flatten()
                .filter_map(|place| self.groups.get(*place))
            {
                if seen.insert(group.object_id) {
                    found.push(group.object_id);
                    waiting.push(group.object_id);
                }
            }
        }
        found
    }

    /// What `group` contains, directly or through other groups, in the order of object ids: its
    /// nested groups and their members, and never the group itself.
    pub fn contents_of(&self, group: Uuid) -> &[Uuid] {
        let Some(Place::Group(place)) = self.index.objects.get(&group) else {
            return &[];
        };
        match self.index.contents.get(*place) {
            Some(contents) => contents.get_or_init(|| self.collect_contents(group)),
            None => &[],
        }
    }

    fn collect_contents(&self, group: Uuid) -> Vec<Uuid> {
        let mut seen = HashSet::from([group]);
        let mut found = Vec::new();
        let mut waiting = vec![group];
        while let Some(container) = waiting.pop() {
            let Some(Object::Group(container)) = self.object(container) else {
                continue;
            };
            for member in &container.members {
                if seen.insert(*member) {
                    found.push(*member);
                    waiting.push(*member);
                }
            }
        }
        found.sort_unstable();
        found
    }
}
