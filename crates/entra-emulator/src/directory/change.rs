//! Changes to the directory while the emulator runs. They last until it stops.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::lookup::Object;
use super::model::{Directory, Tenant};

/// What is to become different. Objects are named as in the members of a directory file: users by
/// user principal name, everything else by name, or anything by object id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// Who is directly in a group.
    Members {
        group: String,
        #[serde(default)]
        add: Vec<String>,
        #[serde(default)]
        remove: Vec<String>,
    },
    /// Whether an account may be used.
    User { user: String, enabled: bool },
    /// A user, group, application or managed identity that is there no more.
    Delete { name: String },
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("the directory has nothing named \"{0}\"")]
    NotFound(String),
    #[error("\"{0}\" names several; use the object id")]
    Ambiguous(String),
    #[error("\"{0}\" is no group")]
    NoGroup(String),
    #[error("\"{0}\" is no user")]
    NoUser(String),
    #[error("\"{0}\" belongs to another tenant than the group")]
    OtherTenant(String),
}

impl Directory {
    /// Makes the change whole, or not at all; returns the object id of what was changed.
    pub fn apply(&mut self, change: &Change) -> Result<Uuid, ChangeError> {
        let name = match change {
            Change::Members { group, .. } => group,
            Change::User { user, .. } => user,
            Change::Delete { name } => name,
        };
        let (place, object_id) = self.named(name)?;
        let ids = |names: &[String]| -> Result<Vec<Uuid>, ChangeError> {
            let id = |name: &String| match self.named(name)? {
                (other, id) if other == place => Ok(id),
                _ => Err(ChangeError::OtherTenant(name.clone())),
            };
            names.iter().map(id).collect()
        };
        let (added, removed) = match change {
            Change::Members { add, remove, .. } => (ids(add)?, ids(remove)?),
            _ => (Vec::new(), Vec::new()),
        };
        let not_found = || ChangeError::NotFound(name.clone());
        let tenant = self.tenants.get_mut(place).ok_or_else(not_found)?;
        match change {
            Change::Members { group, .. } => {
                let members = tenant
                    .members_of(object_id)
                    .ok_or_else(|| ChangeError::NoGroup(group.clone()))?;
                members.extend(added);
                members.retain(|member| !removed.contains(member));
            }
            Change::User { user, enabled } => {
                let found = tenant
                    .users
                    .iter_mut()
                    .find(|one| one.object_id == object_id);
                found
                    .ok_or_else(|| ChangeError::NoUser(user.clone()))?
                    .enabled = *enabled;
            }
            Change::Delete { .. } => tenant.delete(object_id),
        }
        tenant.index();
        Ok(object_id)
    }

    /// The one object of any tenant with this name, and the place of its tenant.
    fn named(&self, name: &str) -> Result<(usize, Uuid), ChangeError> {
        let id = Uuid::try_parse(name).ok();
        let mut found = Vec::new();
        for (place, tenant) in self.tenants.iter().enumerate() {
            let by_id = id
                .and_then(|id| tenant.object(id))
                .map(|one| one.object_id());
            found.extend(
                by_id
                    .into_iter()
                    .chain(tenant.named(name))
                    .map(|id| (place, id)),
            );
        }
        match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(ChangeError::NotFound(name.to_owned())),
            _ => Err(ChangeError::Ambiguous(name.to_owned())),
        }
    }
}

impl Tenant {
    /// Object ids of everything that has this name, whatever its case.
    fn named(&self, name: &str) -> Vec<Uuid> {
        let wanted = name.to_lowercase();
        let same = |other: &str| other.to_lowercase() == wanted;
        let users = self.user(name).map(|user| user.object_id());
        let groups = self.groups.iter().filter(|one| same(&one.name));
        let applications = self.applications.iter().filter(|one| same(&one.name));
        let identities = self.managed_identities.iter().filter(|one| same(&one.name));
        users
            .into_iter()
            .chain(groups.map(|one| one.object_id))
            .chain(applications.map(|one| one.object_id))
            .chain(identities.map(|one| one.object_id))
            .collect()
    }

    fn members_of(&mut self, group: Uuid) -> Option<&mut BTreeSet<Uuid>> {
        let found = self.groups.iter_mut().find(|one| one.object_id == group);
        found.map(|group| &mut group.members)
    }

    fn delete(&mut self, object_id: Uuid) {
        match self.object(object_id) {
            Some(Object::Group(_)) => self.groups.retain(|one| one.object_id != object_id),
            _ => {
                self.users.retain(|one| one.object_id != object_id);
                self.applications.retain(|one| one.object_id != object_id);
                self.managed_identities
                    .retain(|one| one.object_id != object_id);
            }
        }
        for group in &mut self.groups {
            group.members.remove(&object_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Uuid = Uuid::from_u128(0xa11c_e000_0000_4000_8000_0000_0000_0001);
    const DBA: Uuid = Uuid::from_u128(0xdba0_0000_0000_4000_8000_0000_0000_0010);

    fn members(group: &str, add: &[&str], remove: &[&str]) -> Change {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Change::Members {
            group: group.to_owned(),
            add: names(add),
            remove: names(remove),
        }
    }

    #[test]
    fn members_come_and_go() {
        let mut directory = Directory::built_in().unwrap();
        let is_in = |directory: &Directory, group: Uuid| {
            directory
                .tenants
                .first()
                .unwrap()
                .groups_of(ALICE)
                .contains(&group)
        };
        assert!(is_in(&directory, DBA));
        assert_eq!(
            directory.apply(&members("dba", &[], &["Alice@contoso.com"])),
            Ok(DBA)
        );
        assert!(!is_in(&directory, DBA));
        let id = ALICE.to_string();
        directory
            .apply(&members(&DBA.to_string(), &[&id], &[]))
            .unwrap();
        assert!(is_in(&directory, DBA));
    }

    #[test]
    fn a_change_is_made_whole_or_not_at_all() {
        let mut directory = Directory::built_in().unwrap();
        let refused = directory.apply(&members("dba", &["mallory@contoso.com"], &["nobody"]));
        assert_eq!(refused, Err(ChangeError::NotFound("nobody".to_owned())));
        let before = Directory::built_in().unwrap();
        let count =
            |directory: &Directory| directory.tenants.first().unwrap().contents_of(DBA).len();
        assert_eq!(count(&directory), count(&before));
    }

    #[test]
    fn names_must_fit() {
        let mut directory = Directory::built_in().unwrap();
        let mut apply = |change: Change| directory.apply(&change).unwrap_err();
        assert_eq!(
            apply(members("alice@contoso.com", &[], &[])),
            ChangeError::NoGroup("alice@contoso.com".to_owned())
        );
        assert_eq!(
            apply(Change::User {
                user: "dba".to_owned(),
                enabled: false
            }),
            ChangeError::NoUser("dba".to_owned())
        );
        assert_eq!(
            apply(Change::Delete {
                name: "twins".to_owned()
            }),
            ChangeError::Ambiguous("twins".to_owned())
        );
    }

    #[test]
    fn what_is_deleted_is_in_no_group() {
        let mut directory = Directory::built_in().unwrap();
        directory
            .apply(&Change::Delete {
                name: "alice@contoso.com".to_owned(),
            })
            .unwrap();
        let tenant = directory.tenants.first().unwrap();
        assert!(tenant.object(ALICE).is_none());
        assert!(tenant.user("alice@contoso.com").is_none());
        assert!(!tenant.contents_of(DBA).contains(&ALICE));
        assert!(tenant.object(DBA).is_some());
    }
}
