//! A role that has become privileged: what roles without superuser have given away of it before is revoked.
//!
//! Whether a role is privileged is asked when somebody without superuser grants, alters or maps it. A membership or
//! ADMIN OPTION from before would remain, and with it a way to the privileges that a superuser did not give.

use std::collections::HashSet;

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use super::admin::{self, AZURE_PG_ADMIN};
use super::error::PrincipalError;
use super::statement::{read, run_as_superuser};
use crate::pg::log::{self, Level};
use crate::pg::privileges::{self, CREATEROLE_IS_BROAD};

/// Called when a role may have become privileged. Its members have become so as well.
///
/// # Errors
/// PostgreSQL refuses a statement.
pub fn withdraw(role: pg_sys::Oid) -> Result<(), PrincipalError> {
    let mut seen = HashSet::new();
    let mut open = vec![role];
    while let Some(role) = open.pop() {
        if !seen.insert(role) {
            continue;
        }
        let Some(reason) = admin::privilege(role) else {
            continue;
        };
        // One at a time: CASCADE may revoke others.
        while let Some(membership) = untrusted(role)? {
            membership.withdraw(&reason.to_string())?;
        }
        open.extend(members(role)?);
    }
    Ok(())
}

/// A membership in a privileged role that no superuser has given.
struct Membership {
    role: pg_sys::Oid,
    member: pg_sys::Oid,
    grantor: pg_sys::Oid,
}

impl Membership {
    fn withdraw(&self, reason: &str) -> Result<(), PrincipalError> {
        let Membership {
            role,
            member,
            grantor,
        } = *self;
        revoke(role, member, grantor)?;
        let name = |role| privileges::name_of(role).unwrap_or_else(|| role.to_string());
        // Who creates an admin needs no warning.
        let level = if member == privileges::session_user() {
            Level::Notice
        } else {
            Level::Warning
        };
        log::line(
            level,
            &format!(
                "revoked the membership of role \"{}\" in role \"{}\"",
                name(member),
                name(role)
            ),
            Some(&format!(
                "The role is privileged now. {reason} The membership was granted by role \"{}\".",
                name(grantor)
            )),
            Some("If it is intended, grant it as a superuser."),
        );
        Ok(())
    }
}

/// Revokes the membership that this grantor has given, and what the member has given of it.
///
/// # Errors
/// PostgreSQL refuses.
pub(super) fn revoke(
    role: pg_sys::Oid,
    member: pg_sys::Oid,
    grantor: pg_sys::Oid,
) -> Result<(), PrincipalError> {
    // A role with a membership cannot be dropped without it, so the names are there.
    let pinned =
        |role| privileges::pin(role).map(|name| quote_identifier(name.unwrap_or_default()));
    let (role, member) = (pinned(role)?, pinned(member)?);
    // Before 16 there is one grant, and GRANTED BY is parsed but ignored (gram.y).
    let by = if CREATEROLE_IS_BROAD {
        String::new()
    } else {
        format!(" GRANTED BY {} CASCADE", pinned(grantor)?)
    };
    run_as_superuser(&format!("REVOKE {role} FROM {member}{by}"))
}

/// One of the memberships in the role that a role without superuser has granted, that `azure_pg_admin` has, or that
/// since 16 every role gets in a role that it creates (user.c, CreateRole).
fn untrusted(role: pg_sys::Oid) -> Result<Option<Membership>, PrincipalError> {
    let creators = if CREATEROLE_IS_BROAD {
        ""
    } else {
        "OR m.grantor = 10 AND m.admin_option AND NOT m.inherit_option AND NOT m.set_option"
    };
    let query = format!(
        "SELECT m.member, m.grantor
         FROM pg_catalog.pg_auth_members AS m
         JOIN pg_catalog.pg_authid AS member ON member.oid = m.member
         LEFT JOIN pg_catalog.pg_authid AS grantor ON grantor.oid = m.grantor
         WHERE m.roleid = $1 AND NOT member.rolsuper
             AND (member.rolname = '{AZURE_PG_ADMIN}' OR grantor.rolsuper IS NOT TRUE {creators})
         LIMIT 1"
    );
    let found = read(|client| {
        let rows = client.update(query.as_str(), Some(1), &[DatumWithOid::from(role)])?;
        if rows.is_empty() {
            return Ok(None);
        }
        let row = rows.first();
        Ok(row.get::<pg_sys::Oid>(1)?.zip(row.get::<pg_sys::Oid>(2)?))
    })?;
    Ok(found.map(|(member, grantor)| Membership {
        role,
        member,
        grantor,
    }))
}

fn members(role: pg_sys::Oid) -> Result<Vec<pg_sys::Oid>, PrincipalError> {
    let query = "SELECT member FROM pg_catalog.pg_auth_members WHERE roleid = $1";
    let members = read(|client| {
        client
            .update(query, None, &[DatumWithOid::from(role)])?
            .map(|row| row.get::<pg_sys::Oid>(1))
            .collect::<spi::Result<Vec<_>>>()
    })?;
    Ok(members.into_iter().flatten().collect())
}
