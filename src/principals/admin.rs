//! Which sessions may map roles, and which roles they may map.

use pgrx::pg_sys;

use super::error::{Denied, PrincipalError, Privilege};
use crate::identity;
use crate::pg::label::{self, Labels};
use crate::pg::privileges::{self, BOOTSTRAP_SUPERUSER, OwnPrivileges};

/// The role that Entra admins are members of, as on Azure. It has no rights of its own.
pub const AZURE_PG_ADMIN: &str = "azure_pg_admin";
/// The role whose members may read the audit.
pub const AADAUTH_AUDITOR: &str = "aadauth_auditor";
/// The role whose members may read counters and states.
pub const AADAUTH_MONITOR: &str = "aadauth_monitor";
/// The role whose members may ask whether a credential signs in to a role.
pub const AADAUTH_POOLER: &str = "aadauth_pooler";
/// The roles that the extension creates.
pub const OWN_ROLES: [&str; 4] = [
    AZURE_PG_ADMIN,
    AADAUTH_AUDITOR,
    AADAUTH_MONITOR,
    AADAUTH_POOLER,
];

/// Whether this session may map roles to principals.
///
/// A superuser may, if both the session user and the current user are superusers: a SECURITY DEFINER
/// function of a superuser does not confer this, and SET ROLE gives it up. An Entra admin may, as
/// themselves: the session was opened with a token for a role whose label had `admin` then and has it now,
/// and neither SET ROLE nor a function, even their own, has changed the current user. Nothing else
/// confers this, and membership least of all: on PostgreSQL 15 CREATEROLE can grant itself any admin's role.
pub fn may_map() -> bool {
    let (session, current) = (privileges::session_user(), privileges::current_user());
    if privileges::is_superuser(session) && privileges::is_superuser(current) {
        return true;
    }
    identity::admin_role() == Some(current)
        && session == current
        && !privileges::is_user_switched()
        && is_labeled_admin(current)
}

/// Why the session may not map roles, if it may not.
pub fn denied() -> Denied {
    let (session, current) = (privileges::session_user(), privileges::current_user());
    let is_admin = || identity::admin_role() == Some(session) && is_labeled_admin(session);
    let is_set = session != current && !privileges::is_user_switched();
    if is_set && (privileges::is_superuser(session) || is_admin()) {
        Denied::RoleIsSet
    } else {
        Denied::NotAdmin
    }
}

/// Refuses a change of the role's mapping that this session must not make.
///
/// `sets` is false when the labels are to be removed. A session that may map roles may also remove the
/// labels of a role that must not have any.
pub fn check(role: pg_sys::Oid, labels: &Labels, sets: bool) -> Result<(), PrincipalError> {
    let name = || privileges::name_of(role).unwrap_or_else(|| role.to_string());
    if !may_map() {
        return Err(PrincipalError::MappingDenied {
            role: name(),
            denied: denied(),
        });
    }
    if sets && is_unmappable(role, &name()) {
        return Err(PrincipalError::Unmappable(name()));
    }
    if privileges::is_superuser(privileges::current_user()) {
        return Ok(());
    }
    // One admin must not take over another, not even one that they have created.
    if says_admin(labels) {
        return Err(PrincipalError::AdminOnly(name()));
    }
    // Mapping a role to a principal of one's own confers the role's privileges, as GRANT does, so mapping requires
    // what granting requires.
    match privilege(role) {
        Some(reason) => Err(PrincipalError::Privileged {
            role: name(),
            reason,
        }),
        None => Ok(()),
    }
}

/// What makes the role privileged, so that only superusers give it away; `None` for other roles.
pub fn privilege(role: pg_sys::Oid) -> Option<Privilege> {
    privilege_beyond(role, OwnPrivileges::NONE)
}

/// [`privilege`], for a role manager who has these attributes, and may give them since PostgreSQL 16.
pub fn privilege_beyond(role: pg_sys::Oid, held: OwnPrivileges) -> Option<Privilege> {
    let is_more = |role| OwnPrivileges::of(role).without_attributes_of(held) != OwnPrivileges::NONE;
    let behind = privileges::roles_behind(role)
        .into_iter()
        .find(|behind| is_more(*behind) || says_admin(&label::read(*behind)))?;
    let name = privileges::name_of(behind).unwrap_or_else(|| behind.to_string());
    Some(if behind != role {
        Privilege::Through(name)
    } else if name == AZURE_PG_ADMIN {
        Privilege::Admins
    } else if is_more(role) {
        Privilege::Own
    } else {
        Privilege::AdminPrincipal
    })
}

/// Whether the role is privileged, whatever its own label says: it may be about to change.
pub fn is_privileged_besides_label(role: pg_sys::Oid) -> bool {
    let is_admin = |behind| behind != role && says_admin(&label::read(behind));
    privileges::roles_behind(role)
        .into_iter()
        .any(|behind| OwnPrivileges::of(behind) != OwnPrivileges::NONE || is_admin(behind))
}

/// The part of [`privilege`] that can be judged before a database is chosen: without what was granted to the role or those
/// behind it.
pub fn is_privileged_without_grants(role: pg_sys::Oid) -> bool {
    privileges::roles_behind(role).into_iter().any(|behind| {
        OwnPrivileges::without_grants(behind) != OwnPrivileges::NONE
            || says_admin(&label::read(behind))
    })
}

/// Whether either label has `admin`, even if the labels are malformed or disagree.
pub fn says_admin(labels: &Labels) -> bool {
    [&labels.public, &labels.internal]
        .into_iter()
        .flatten()
        .any(|label| label.split(',').any(|member| member == "admin"))
}

/// The role `azure_pg_admin`, which CREATE EXTENSION creates.
pub fn admins() -> Option<pg_sys::Oid> {
    privileges::role_named(AZURE_PG_ADMIN)
}

fn is_labeled_admin(role: pg_sys::Oid) -> bool {
    matches!(label::read(role).mapping(), Ok(Some(mapping)) if mapping.admin)
}

fn is_unmappable(role: pg_sys::Oid, name: &str) -> bool {
    // PostgreSQL reserves names that begin with pg_ for itself (catalog.c, IsReservedName).
    role == BOOTSTRAP_SUPERUSER || name.starts_with("pg_") || OWN_ROLES.contains(&name)
}
