//! The ways by which roles without superuser get the privileges of others.

use std::error::Error;

use pgrx::pg_sys;
use pgrx::spi::quote_identifier;
use serde::Deserialize;

use super::finding::{Code, Finding, list};
use super::query;
use crate::pg::label;
use crate::pg::privileges::CREATEROLE_IS_BROAD;
use crate::principals::{AADAUTH_AUDITOR, AADAUTH_POOLER, AZURE_PG_ADMIN, admin};

/// A membership of a role without superuser.
#[derive(Deserialize)]
struct Membership {
    role: u32,
    role_name: String,
    is_predefined: bool,
    member: u32,
    member_name: String,
    grantor: Option<String>,
    by_superuser: bool,
}

impl Membership {
    /// Whether it says of itself what it gives, and a superuser has granted it; or it is what makes an Entra admin.
    fn is_plain(&self) -> bool {
        if self.role_name == AZURE_PG_ADMIN {
            return admin::says_admin(&label::read(pg_sys::Oid::from_u32(self.member)));
        }
        let name = self.role_name.as_str();
        self.by_superuser
            && (self.is_predefined || [AADAUTH_AUDITOR, AADAUTH_POOLER].contains(&name))
    }

    /// What the role has, if that is more than privileges on databases and their objects.
    fn privilege(&self) -> Option<String> {
        let privilege = admin::privilege(pg_sys::Oid::from_u32(self.role))?;
        Some(format!(
            "Role \"{}\" is a member of \"{}\". {privilege}",
            self.member_name, self.role_name
        ))
    }

    fn revoke(&self) -> String {
        let mut statement = format!(
            "REVOKE {} FROM {}",
            quote_identifier(&self.role_name),
            quote_identifier(&self.member_name)
        );
        if !CREATEROLE_IS_BROAD && let Some(grantor) = &self.grantor {
            statement += &format!(" GRANTED BY {} CASCADE", quote_identifier(grantor));
        }
        statement + ";"
    }
}

/// One finding for all of them.
///
/// # Errors
/// The catalogs cannot be read.
pub fn check() -> Result<Option<Finding>, Box<dyn Error>> {
    // Keeps the texts short; for more, run the function again.
    const AT_ONCE: usize = 20;
    let memberships = query::rows::<Membership>(
        "SELECT m.roleid::int8 AS role, granted.rolname AS role_name, m.roleid < 16384 AS is_predefined,
             m.member::int8 AS member, member.rolname AS member_name, grantor.rolname AS grantor,
             grantor.rolsuper IS TRUE AS by_superuser
         FROM pg_auth_members AS m
         JOIN pg_authid AS granted ON granted.oid = m.roleid
         JOIN pg_authid AS member ON member.oid = m.member AND NOT member.rolsuper
         LEFT JOIN pg_authid AS grantor ON grantor.oid = m.grantor
         WHERE m.member >= 16384
         ORDER BY granted.rolname, member.rolname",
    )?;
    let (mut members, mut problems, mut remedies) = (Vec::new(), Vec::new(), Vec::new());
    for membership in memberships
        .iter()
        .filter(|membership| !membership.is_plain())
    {
        pgrx::check_for_interrupts!();
        let Some(problem) = membership.privilege() else {
            continue;
        };
        members.push(membership.member_name.as_str());
        if problems.len() < AT_ONCE {
            problems.push(problem);
            remedies.push(membership.revoke());
        }
    }
    if members.is_empty() {
        return Ok(None);
    }
    members.dedup();
    let noun = if members.len() == 1 { "role" } else { "roles" };
    Ok(Some(Finding::new(
        Code::RoleReachesPrivileges,
        format!("{noun} {}", list(&members)),
        problems.join(" "),
        format!("If this is not intended, run: {}", remedies.join(" ")),
    )))
}
