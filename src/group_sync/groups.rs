//! The mapped groups, and which of them are synchronized.

use entra_token::{Mapping, PrincipalKind};
use pgrx::prelude::*;
use uuid::Uuid;

use super::eligibility::SkipReason;
use crate::pg::label::{self, Labels};
use crate::pg::text::SqlText;
use crate::pg::worker::Failure;
use crate::pg::{privileges, query};
use crate::principals::admin;
use crate::principals::member::GroupRequirements;

/// A role that is mapped to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub role: pg_sys::Oid,
    pub name: String,
    mapping: Mapping,
}

impl Group {
    pub fn id(&self) -> Uuid {
        self.mapping.object_id
    }

    pub fn tenant(&self) -> Uuid {
        self.mapping.tenant
    }

    pub fn requirements(&self) -> GroupRequirements {
        GroupRequirements {
            tenant: self.mapping.tenant,
            mfa: self.mapping.mfa,
        }
    }
}

/// Every role with a valid mapping to a group, in the order in which they are synchronized.
///
/// Groups that require multi-factor authentication come first: a role that is created for one of their
/// members requires it as well, and is then eligible for the other groups too.
pub fn all() -> Vec<Group> {
    let mut groups: Vec<Group> = label::all()
        .into_iter()
        .filter_map(|(role, labels)| read(role, &labels))
        .collect();
    groups.sort_by(|one, other| {
        let key = |group: &Group| (!group.mapping.mfa, group.name.clone());
        key(one).cmp(&key(other))
    });
    groups
}

/// Whether the group's name and labels are unchanged.
pub fn is_unchanged(group: &Group) -> bool {
    read(group.role, &label::read(group.role)).as_ref() == Some(group)
}

fn read(role: pg_sys::Oid, labels: &Labels) -> Option<Group> {
    let mapping = labels.mapping().ok().flatten()?;
    if mapping.kind != PrincipalKind::Group {
        return None;
    }
    Some(Group {
        role,
        name: privileges::name_of(role)?,
        mapping,
    })
}

/// Why the group is not synchronized, with an explanation; `None` when it is.
///
/// A directory administrator must not be able to create superusers or administrators here only by adding
/// members to a group. Members of such a group sign in as the group role instead, and each sign-in checks
/// the token and the label.
///
/// # Errors
/// The catalogs cannot be read.
pub fn skip_reason(group: &Group, tenant: Uuid) -> Result<Option<(SkipReason, String)>, Failure> {
    if group.tenant() != tenant {
        let detail = format!("The role is mapped in tenant {}.", group.tenant());
        return Ok(Some((SkipReason::OtherTenant, detail)));
    }
    if group.mapping.admin {
        let detail = "The role is labeled admin: members sign in as it.".to_owned();
        return Ok(Some((SkipReason::PrivilegedGroup, detail)));
    }
    let detail = match admin::privilege(group.role) {
        Some(privilege) => privilege.to_string(),
        None => match creates_roles(group.role)? {
            Some(detail) => detail,
            None => return Ok(None),
        },
    };
    let detail = format!("{detail} Members sign in as the role.");
    Ok(Some((SkipReason::PrivilegedGroup, detail)))
}

/// Whether the role, or a role that it is a direct or indirect member of, may create roles, and so administers them.
fn creates_roles(role: pg_sys::Oid) -> Result<Option<String>, Failure> {
    let statement = "
        SELECT CASE WHEN oid = $1 THEN 'It has CREATEROLE.'
            ELSE pg_catalog.format('It is a member of role \"%s\", which has CREATEROLE.', rolname) END
        FROM pg_catalog.pg_authid WHERE rolcreaterole AND oid = ANY ($2) ORDER BY oid <> $1 LIMIT 1";
    let arguments = [role.into(), privileges::roles_behind(role).into()];
    Ok(Spi::connect_mut(|client| {
        let rows = query::update(client, statement, Some(1), &arguments)?;
        if rows.is_empty() {
            return Ok(None);
        }
        let detail = rows.first().get::<SqlText>(1)?;
        spi::Result::Ok(detail.map(|detail| detail.0))
    })?)
}
