//! Creates the roles of group members for group sync: many at once, by the rules that
//! `pgaadauth_create_principal_with_oid` applies to one.

use entra_api::Principal;
use entra_token::{InternalLabel, PublicLabel};
use pgrx::pg_sys;
use pgrx::spi::quote_identifier;
use uuid::Uuid;

use super::admin::AZURE_PG_ADMIN;
use super::error::PrincipalError;
use super::functions::RoleName;
use super::label;
use super::mapped::MappedRoles;
use super::statement::run;
use crate::pg::privileges::CREATEROLE_IS_BROAD;
use crate::pg::text;

/// What a group requires of its members' roles.
#[derive(Clone, Copy, Debug)]
pub struct GroupRequirements {
    pub tenant: Uuid,
    /// The group's role requires multi-factor authentication.
    pub mfa: bool,
}

/// A role with its current name.
pub struct NamedRole {
    pub role: pg_sys::Oid,
    pub name: String,
}

/// Whether the member's name can be that of a role in this database, and is not another name's in UTF-8, in which other
/// databases and clients read the same bytes.
pub fn has_role_name(member: &Principal) -> bool {
    RoleName::read(&member.name).is_ok() && !text::is_other_in_utf8(&member.name)
}

/// Creates a role for the member, with the member's name in the directory and LOGIN as its only attribute,
/// and maps it. `mapped` was read under the lock on labels, in this transaction.
///
/// # Errors
/// The name is not a valid role name, or the principal has a role already.
///
/// # Panics
/// With PostgreSQL's ERROR, if it refuses.
pub fn create(
    member: &Principal,
    requirements: GroupRequirements,
    mapped: &MappedRoles,
) -> Result<pg_sys::Oid, PrincipalError> {
    let name = RoleName::read(&member.name)?;
    run(&format!("CREATE ROLE {} LOGIN", name.quoted()))?;
    let role = name.role()?;
    let (kind, object_id) = (member.kind, member.object_id);
    let public = PublicLabel::Principal {
        kind,
        object_id,
        admin: false,
        mfa: requirements.mfa,
    };
    let internal = InternalLabel {
        kind,
        object_id,
        tenant: requirements.tenant,
        admin: false,
    };
    label::map_new(role, &public, &internal, mapped)?;
    Ok(role)
}

/// Lets every admin administer these roles, which this transaction has created. As for a single role, but
/// without checking whether it is administered already or privileged: a new role is neither.
///
/// # Errors
/// There is no `azure_pg_admin`.
///
/// # Panics
/// With PostgreSQL's ERROR, if it refuses.
pub fn grant_to_azure_pg_admin(roles: &[NamedRole]) -> Result<(), PrincipalError> {
    // On 15 CREATEROLE is enough, and a membership would inherit.
    if CREATEROLE_IS_BROAD || roles.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = roles
        .iter()
        .map(|role| quote_identifier(&role.name))
        .collect();
    run(&format!(
        "GRANT {} TO {AZURE_PG_ADMIN} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE",
        names.join(", ")
    ))
}
