//! Which sessions may map roles, and which roles they may map.

use pgrx::pg_sys;

use super::error::{PrincipalError, Privilege};
use crate::identity;
use crate::pg::label::{self, Labels};
use crate::pg::privileges::{self, BOOTSTRAP_SUPERUSER, CREATEROLE_IS_BROAD};

/// The role that Entra admins are members of, as on Azure. It has no rights of its own.
pub const AZURE_PG_ADMIN: &str = "azure_pg_admin";
/// The role whose members may read the audit.
pub const AADAUTH_AUDITOR: &str = "aadauth_auditor";

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

/// Refuses a change of the role's mapping that this session must not make.
///
/// `sets` is false when the labels are to be removed. A session that may map roles may also remove the
/// labels of a role that must not have any.
pub fn check(role: pg_sys::Oid, labels: &Labels, sets: bool) -> Result<(), PrincipalError> {
    let name = || privileges::name_of(role).unwrap_or_else(|| role.to_string());
    if !may_map() {
        return Err(PrincipalError::MappingDenied(name()));
    }
    if sets && is_unmappable(role, &name()) {
        return Err(PrincipalError::Unmappable(name()));
    }
    if privileges::is_superuser(privileges::current_user()) {
        return Ok(());
    }
    // Mapping a role to a principal of one's own confers the role's privileges, as GRANT does, so mapping
    // requires what granting requires. The guard refuses these roles on 15; since 16 PostgreSQL requires
    // ADMIN OPTION on them.
    if let Some(reason) = privilege(role) {
        return Err(PrincipalError::Privileged {
            role: name(),
            reason,
        });
    }
    // An admin principal is managed by its creator or a superuser. Since 16 PostgreSQL ensures that:
    // SECURITY LABEL requires ADMIN OPTION, which the creator has and no role has on itself. 15 does not
    // record who created a role, and CREATEROLE can obtain any ADMIN OPTION, so only superusers may do it.
    if CREATEROLE_IS_BROAD && says_admin(labels) {
        return Err(PrincipalError::AdminOnly(name()));
    }
    Ok(())
}

/// Why only a superuser may grant the role; `None` when others may.
pub fn privilege(role: pg_sys::Oid) -> Option<Privilege> {
    let behind = privileges::privilege_behind(role)?;
    Some(if behind == role {
        Privilege::Own
    } else {
        Privilege::Through(privileges::name_of(behind).unwrap_or_else(|| behind.to_string()))
    })
}

/// Whether either label has `admin`, even if the labels are malformed or disagree.
pub fn says_admin(labels: &Labels) -> bool {
    [&labels.public, &labels.internal]
        .into_iter()
        .flatten()
        .any(|label| label.split(',').any(|member| member == "admin"))
}

fn is_labeled_admin(role: pg_sys::Oid) -> bool {
    matches!(label::read(role).mapping(), Ok(Some(mapping)) if mapping.admin)
}

fn is_unmappable(role: pg_sys::Oid, name: &str) -> bool {
    // PostgreSQL reserves names that begin with pg_ for itself (catalog.c, IsReservedName).
    role == BOOTSTRAP_SUPERUSER
        || name.starts_with("pg_")
        || [AZURE_PG_ADMIN, AADAUTH_AUDITOR].contains(&name)
}
