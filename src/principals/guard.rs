//! Who may give away or change which role.
//!
//! A role that may grant, alter or rename a privileged role ([`admin::privilege`]) has its privileges: by GRANT to itself,
//! by a password, by a `search_path` to functions of its own, by a name that another pg_hba.conf record accepts. On
//! PostgreSQL 15 CREATEROLE is enough for that, on every role that is not a superuser; since 16 ADMIN OPTION is, which a
//! role has on all roles that it has created, and Entra admins on all mapped roles, also when these become privileged
//! later. So without superuser a privileged role is granted, altered, renamed and dropped only by a role to which a
//! superuser has granted it WITH ADMIN OPTION; and since 16, one whose privileges are REPLICATION and BYPASSRLS also by a
//! role manager who has these.
//!
//! Where a statement makes a role privileged, memberships in it that no superuser has granted are revoked
//! ([`withdrawal`]). What a superuser does is not refused. A lock on the role orders the two.
//!
//! The names of aadauth's own roles are a superuser's to give, and the members of a group, who share a role, leave its
//! password and settings alone.
//!
//! REVOKE is not restricted, since it only removes privileges, nor are other roles.

use entra_token::PrincipalKind;
use pgrx::pg_sys;
use pgrx::spi::quote_identifier;

use super::admin::{self, OWN_ROLES};
use super::appointment::administration;
use super::error::{PrincipalError, Privilege};
use super::{statement, withdrawal};
use crate::pg::label::{self, Labels};
use crate::pg::lock_holder::{self, Lock};
use crate::pg::log::{self, Level};
use crate::pg::privileges::{self, CREATEROLE_IS_BROAD, OwnPrivileges};
use crate::pg::query;

/// Called before a role without superuser gives `role` a new member.
///
/// # Panics
/// With PostgreSQL's ERROR, if it must not do that.
pub fn granting(role: pg_sys::Oid) {
    // Nobody makes it privileged until the transaction ends. PostgreSQL takes the same lock since 16 (user.c, AddRoleMems),
    // but after its own checks.
    lock_holder::lock(Lock::Members(role));
    if let Some((role, reason)) = protected(role) {
        PrincipalError::GrantDenied { role, reason }.raise()
    }
}

/// Called before a role without superuser alters, renames or drops `role`.
///
/// # Panics
/// With PostgreSQL's ERROR, if it must not do that.
pub fn altering(role: pg_sys::Oid) {
    let is_own = [privileges::current_user(), privileges::session_user()].contains(&role);
    let is_shared = || matches!(label::read(role).mapping(), Ok(Some(mapping)) if mapping.kind == PrincipalKind::Group);
    if is_own && is_shared() {
        PrincipalError::SharedRole(name(role)).raise()
    }
    // PostgreSQL lets a role change only its own password and settings.
    if role == privileges::current_user() {
        return;
    }
    if let Some((role, reason)) = protected(role) {
        PrincipalError::AlterDenied { role, reason }.raise()
    }
}

/// Called before a role without superuser creates a role of that name, or gives it to one.
///
/// # Panics
/// With PostgreSQL's ERROR, if it must not do that.
pub fn naming(role: &str) {
    if OWN_ROLES.contains(&role) {
        PrincipalError::ReservedName(role.to_owned()).raise()
    }
}

/// Called before a role without superuser labels `role`.
///
/// Since PostgreSQL 16 its own refusal, of a role without ADMIN OPTION, does not say what an Entra admin lacks.
///
/// # Panics
/// With PostgreSQL's ERROR, if an Entra admin must not do that.
pub fn labeling(role: pg_sys::Oid) {
    let user = privileges::current_user();
    if CREATEROLE_IS_BROAD || !admin::may_map() || privileges::is_admin_of(user, role) {
        return;
    }
    admin::check(role, &label::read(role), true).unwrap_or_else(|error| error.raise());
    if let Some(admins) = admin::admins() {
        let role_name = name(role);
        let grant = administration(role, &quote_identifier(&role_name), admins);
        PrincipalError::NotAdministered {
            role: role_name,
            grant,
        }
        .raise()
    }
}

/// Called after a statement that has given `role` a password.
pub fn password_given(role: pg_sys::Oid) {
    if label::read(role) != Labels::default() {
        log::line(
            Level::Notice,
            &format!(
                "role \"{}\" cannot sign in to this server with a password",
                name(role)
            ),
            Some(
                "It is mapped to a principal, and passwords of mapped roles are refused, whatever the HBA record.",
            ),
            Some(
                "ALTER ROLE ... PASSWORD NULL removes the password; SECURITY LABEL FOR pgaadauth ON ROLE ... IS NULL ends \
                 the mapping.",
            ),
        );
    }
}

/// Whether who is granted the role becomes privileged by that. Of somebody without superuser, the attributes that they have
/// themselves do not count, since they give them as well.
pub fn is_privileged(role: pg_sys::Oid) -> bool {
    let user = privileges::current_user();
    let held = if CREATEROLE_IS_BROAD || privileges::is_superuser(user) {
        OwnPrivileges::NONE
    } else {
        OwnPrivileges::of(user)
    };
    admin::privilege_beyond(role, held).is_some()
}

/// Called after a statement that may have made the role privileged.
///
/// # Panics
/// With PostgreSQL's ERROR, if what others hold of it cannot be revoked.
pub fn changed(role: pg_sys::Oid) {
    withdrawal::withdraw(role).unwrap_or_else(|error| error.raise())
}

/// The name of a role that the current user must not give away or change, and why.
fn protected(role: pg_sys::Oid) -> Option<(String, Privilege)> {
    let user = privileges::current_user();
    let mut held = OwnPrivileges::NONE;
    if !CREATEROLE_IS_BROAD {
        // What PostgreSQL refuses itself, it refuses in its own words (user.c).
        if privileges::is_superuser(role) || !privileges::is_admin_of(user, role) {
            return None;
        }
        held = OwnPrivileges::of(user);
    }
    let reason = admin::privilege_beyond(role, held)?;
    // Every admin has azure_pg_admin WITH ADMIN OPTION, but only an appointment makes an admin.
    let is_own = reason != Privilege::Admins && has_from_superuser(role);
    (!is_own).then(|| (name(role), reason))
}

/// Whether a superuser has granted the role WITH ADMIN OPTION to the current user, or to a role that it inherits from,
/// and not only the right to administer it.
fn has_from_superuser(role: pg_sys::Oid) -> bool {
    if CREATEROLE_IS_BROAD {
        return false;
    }
    let exists = "
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_auth_members AS m JOIN pg_catalog.pg_authid AS grantor ON grantor.oid = m.grantor
    WHERE m.roleid = $1 AND m.admin_option AND (m.inherit_option OR m.set_option) AND grantor.rolsuper
        AND pg_catalog.pg_has_role($2, m.member, 'USAGE'))";
    let user = privileges::current_user();
    let arguments = [role.into(), user.into()];
    statement::read(|client| {
        query::update(client, exists, Some(1), &arguments)?
            .first()
            .get::<bool>(1)
    })
    .unwrap_or_else(|error| error.raise())
        == Some(true)
}

fn name(role: pg_sys::Oid) -> String {
    privileges::name_of(role).unwrap_or_else(|| role.to_string())
}
