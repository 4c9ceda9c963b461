//! PostgreSQL 16's restrictions on CREATEROLE, applied on 15 to the roles where they matter.
//!
//! On 15 CREATEROLE may grant, alter, rename and drop every role that is not a superuser, which makes it
//! equal to the operating-system user: by GRANT of `pg_execute_server_program`, or by taking over a member
//! of it: by setting its password and signing in as it, by setting its `search_path` to functions of one's
//! own, or by renaming it to a name that another pg_hba.conf line accepts. Entra admins have CREATEROLE,
//! so here a non-superuser may neither add members to a privileged role (`privileges::privilege_behind`), by
//! any statement, nor alter, rename or drop it. `azure_pg_admin`, whose members have ADMIN OPTION on it,
//! is granted only by the functions, which do so as the bootstrap superuser.
//!
//! The same applies to the roles of Entra admins: a user who can set an admin's `search_path` can make
//! them call functions of the user's own, and one who can drop an admin's role can create it again for
//! another principal.
//!
//! REVOKE is not restricted, since it only removes privileges, nor is CREATEROLE on roles without such
//! privileges.

use pgrx::pg_sys;

use super::admin::{self, AZURE_PG_ADMIN};
use super::error::{PrincipalError, Privilege};
use crate::pg::{label, privileges};

/// Called before a role gets a new member.
///
/// # Panics
/// With PostgreSQL's ERROR, if the current user must not do that.
pub fn granting(role: pg_sys::Oid) {
    if let Some((role, reason)) = protected(role) {
        PrincipalError::GrantDenied { role, reason }.raise()
    }
}

/// Called before a role is altered, renamed or dropped.
///
/// # Panics
/// With PostgreSQL's ERROR, if the current user must not do that.
pub fn altering(role: pg_sys::Oid) {
    // PostgreSQL lets a role change only its own password and settings.
    if role == privileges::current_user() {
        return;
    }
    if let Some((role, reason)) = protected(role) {
        PrincipalError::AlterDenied { role, reason }.raise()
    }
}

/// The name of a role that the current user must not change, and why.
fn protected(role: pg_sys::Oid) -> Option<(String, Privilege)> {
    if privileges::is_superuser(privileges::current_user()) {
        return None;
    }
    let name = privileges::name_of(role)?;
    if name == AZURE_PG_ADMIN {
        return Some((name, Privilege::Admins));
    }
    let reason = admin::privilege(role)
        .or_else(|| admin::says_admin(&label::read(role)).then_some(Privilege::AdminPrincipal))?;
    Some((name, reason))
}
