//! What PostgreSQL 16 made of CREATEROLE, for the roles where it matters, on 15.
//!
//! On 15 CREATEROLE may grant, alter, rename and drop every role that is no superuser, so that it
//! equals the operating-system user: by GRANT of `pg_execute_server_program`, by setting the password
//! of a member of it and signing in as that one, or its `search_path` to functions of one's own, or by
//! renaming it to a name that some other pg_hba.conf line lets one in with. Entra admins have
//! CREATEROLE, so here a non-superuser may neither give a privileged role (`rights::privilege_behind`)
//! new members, by whatever statement, nor alter, rename or drop it. `azure_pg_admin`, whose members
//! hold ADMIN OPTION on it, is handed out by the functions only, which raise their rights for it.
//!
//! The same holds for the roles of Entra admins: whoever can set an admin's `search_path` has him call
//! functions of theirs, and whoever can drop his role can make it again for another principal.
//!
//! REVOKE is left alone: it takes rights away. So is what CREATEROLE does to roles without such rights.

use pgrx::pg_sys;

use super::admin::{self, AZURE_PG_ADMIN};
use super::error::{PrincipalError, Privilege};
use crate::pg::{label, rights};

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
    // What a role may do to itself, PostgreSQL limits to its password and settings.
    if role == rights::current_user() {
        return;
    }
    if let Some((role, reason)) = protected(role) {
        PrincipalError::AlterDenied { role, reason }.raise()
    }
}

/// The name of a role that the current user has to leave alone, and why.
fn protected(role: pg_sys::Oid) -> Option<(String, Privilege)> {
    if rights::is_superuser(rights::current_user()) {
        return None;
    }
    let name = rights::name_of(role)?;
    if name == AZURE_PG_ADMIN {
        return Some((name, Privilege::Admins));
    }
    let reason = admin::privilege(role)
        .or_else(|| admin::says_admin(&label::of(role)).then_some(Privilege::AdminPrincipal))?;
    Some((name, reason))
}
