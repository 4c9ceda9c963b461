//! What a label gives a role besides its principal, in the same way whether a function or SECURITY LABEL has set it.
//!
//! An Entra admin gets CREATEROLE, CREATEDB and membership in `azure_pg_admin` WITH ADMIN OPTION. Every other mapped role
//! is administered by `azure_pg_admin`, and so by all admins; on 15, CREATEROLE is enough for that, and a membership
//! would inherit.

use pgrx::pg_sys;
use pgrx::spi::quote_identifier;

use super::admin::{self, AZURE_PG_ADMIN};
use super::error::PrincipalError;
use super::statement::run_as_superuser;
use super::withdrawal;
use crate::pg::log::{self, Level};
use crate::pg::privileges::{self, CREATEROLE_IS_BROAD};

/// What the role was before its labels are changed, and is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Unmapped,
    Mapped,
    Admin,
}

/// Gives the role what it is to have and revokes the rest. Called when the labels are decided on; `role` is locked.
///
/// # Errors
/// The role was dropped, or PostgreSQL refuses a statement.
pub fn change(role: pg_sys::Oid, before: Status, after: Status) -> Result<(), PrincipalError> {
    let name =
        privileges::pin(role)?.ok_or_else(|| PrincipalError::NoSuchRole(role.to_string()))?;
    let name = quote_identifier(name);
    if before == Status::Admin && after != Status::Admin {
        // Attributes from before the role became an admin are not recorded.
        run_as_superuser(&format!("ALTER ROLE {name} NOCREATEROLE NOCREATEDB"))?;
        if let Some(admins) = admin::admins() {
            revoke_all(admins, role)?;
        }
    }
    match after {
        Status::Admin => appoint(role, &name),
        Status::Mapped => administer(role, &name),
        Status::Unmapped => match admin::admins() {
            Some(admins) => revoke_all(role, admins),
            None => Ok(()),
        },
    }
}

fn appoint(role: pg_sys::Oid, name: &str) -> Result<(), PrincipalError> {
    run_as_superuser(&format!("ALTER ROLE {name} CREATEROLE CREATEDB"))?;
    let Some(admins) = admin::admins() else {
        log::line(
            Level::Warning,
            &format!("role \"{AZURE_PG_ADMIN}\" does not exist"),
            Some("The new Entra admin is not a member of it yet."),
            Some("CREATE EXTENSION aadauth creates the role, and makes all admins its members."),
        );
        return Ok(());
    };
    // Membership must not be circular.
    revoke_all(role, admins)?;
    if !privileges::is_admin_of(role, admins) {
        run_as_superuser(&format!(
            "GRANT {AZURE_PG_ADMIN} TO {name} WITH ADMIN OPTION"
        ))?;
    }
    withdrawal::withdraw(role)
}

fn administer(role: pg_sys::Oid, name: &str) -> Result<(), PrincipalError> {
    // A role with ADMIN OPTION on another can grant it to itself, and a superuser who maps a privileged
    // role does not intend to give it to all admins.
    if CREATEROLE_IS_BROAD || admin::is_privileged_besides_label(role) {
        return Ok(());
    }
    match admin::admins() {
        Some(admins) if !privileges::is_admin_of(admins, role) => {
            run_as_superuser(&administration(role, name, admins))
        }
        _ => Ok(()),
    }
}

/// The statement that lets all admins administer a role, by its quoted name, since PostgreSQL 16. It changes the membership
/// that the bootstrap superuser has granted, if there is one. If that gives the role's rights, they stay; if not, the
/// statement gives none, also if another grantor makes a membership beside it.
pub(super) fn administration(role: pg_sys::Oid, name: &str, admins: pg_sys::Oid) -> String {
    let has_rights = privileges::members_of(role).iter().any(|own| {
        own.member == admins && own.grantor == privileges::BOOTSTRAP_SUPERUSER && own.is_used
    });
    let options = if has_rights {
        "ADMIN TRUE"
    } else {
        "ADMIN TRUE, INHERIT FALSE, SET FALSE"
    };
    format!("GRANT {name} TO {AZURE_PG_ADMIN} WITH {options}")
}

/// Revokes `member`'s membership in `granted`, by all grantors.
fn revoke_all(granted: pg_sys::Oid, member: pg_sys::Oid) -> Result<(), PrincipalError> {
    let members = privileges::members_of(granted).into_iter();
    let grantors: Vec<_> = members
        .filter(|m| m.member == member)
        .map(|m| m.grantor)
        .collect();
    for grantor in grantors {
        withdrawal::revoke(granted, member, grantor)?;
    }
    Ok(())
}
