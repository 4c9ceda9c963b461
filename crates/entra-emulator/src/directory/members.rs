//! Who is in a group: the names that a directory file gives, and generated users.

use std::collections::{BTreeSet, HashMap};

use toml::Spanned;
use uuid::Uuid;

use super::file::{Fault, FileGroup, fault};
use super::model::{Group, User};

/// More than any test needs.
const MOST_GENERATED: usize = 200_000;

/// What can be a member, by name in lower case.
#[derive(Default)]
pub(super) struct Names {
    by_name: HashMap<String, Vec<Uuid>>,
    ids: BTreeSet<Uuid>,
}

impl Names {
    pub(super) fn add(&mut self, name: &str, object_id: Uuid) {
        self.by_name
            .entry(name.to_lowercase())
            .or_default()
            .push(object_id);
        self.ids.insert(object_id);
    }

    /// The group with its members; `generated` are the tenant's users that were made up.
    pub(super) fn resolve(&self, group: FileGroup, generated: &[User]) -> Result<Group, Fault> {
        let mut members: BTreeSet<Uuid> = group
            .members
            .iter()
            .map(|name| self.find(name))
            .collect::<Result<_, _>>()?;
        let count = generated_members(&group)?;
        members.extend(generated.iter().take(count).map(|user| user.object_id));
        Ok(Group {
            object_id: group.oid.into_inner(),
            name: group.name,
            members,
        })
    }

    fn find(&self, name: &Spanned<String>) -> Result<Uuid, Fault> {
        let text = name.get_ref();
        if let Some(id) = Uuid::try_parse(text)
            .ok()
            .filter(|id| self.ids.contains(id))
        {
            return Ok(id);
        }
        match self.by_name.get(&text.to_lowercase()).map(Vec::as_slice) {
            Some([object_id]) => Ok(*object_id),
            Some(_) => Err(fault(
                name,
                format!("members: \"{text}\" names several; use the object id"),
            )),
            None => Err(fault(
                name,
                format!("members: the tenant has nothing named \"{text}\""),
            )),
        }
    }
}

/// How many made-up users are members of `group`.
pub(super) fn generated_members(group: &FileGroup) -> Result<usize, Fault> {
    let Some(count) = &group.generated_members else {
        return Ok(0);
    };
    usize::try_from(*count.get_ref())
        .ok()
        .filter(|count| *count <= MOST_GENERATED)
        .ok_or_else(|| {
            fault(
                count,
                format!("generated_members: must be between 0 and {MOST_GENERATED}"),
            )
        })
}

/// `member-00001@domain` and so on; the last twelve digits of an object id are the number, what is
/// before them is the tenant's.
pub(super) fn generate(count: usize, tenant: Uuid, domain: &str) -> Vec<User> {
    let prefix = tenant.to_string();
    let prefix = prefix.get(..24).unwrap_or_default();
    (1..=count)
        .filter_map(|number| {
            Some(User {
                upn: format!("member-{number:05}@{domain}"),
                object_id: Uuid::try_parse(&format!("{prefix}{number:012}")).ok()?,
                name: format!("Member {number:05}"),
                password: None,
                mfa: false,
                enabled: true,
                guest: None,
            })
        })
        .collect()
}
