//! A role that has become privileged: what roles without superuser have given away of it before is revoked.
//!
//! Whether a role is privileged is asked when somebody without superuser grants, alters or maps it. A membership or
//! ADMIN OPTION from before would remain, and with it a way to the privileges that a superuser did not give.

use std::collections::HashSet;

use pgrx::pg_sys;
use pgrx::spi::quote_identifier;

use super::admin;
use super::error::PrincipalError;
use super::statement::run_as_superuser;
use crate::pg::lock_holder::{self, Lock};
use crate::pg::log::{self, Level};
use crate::pg::privileges::{self, BOOTSTRAP_SUPERUSER, CREATEROLE_IS_BROAD};

/// Called when a role may have become privileged. Its members have become so as well.
///
/// # Errors
/// PostgreSQL refuses a statement, or a membership remains.
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
        // Sessions that are giving it a member have finished then, and those that will do find that it is privileged.
        lock_holder::lock_soon(Lock::Members(role))
            .map_err(|holder| PrincipalError::MembersLocked(name(role), holder))?;
        // One at a time: CASCADE may revoke others.
        while let Some(membership) = untrusted(role) {
            membership.withdraw(&reason.to_string())?;
        }
        open.extend(privileges::members_of(role).into_iter().map(|m| m.member));
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
/// PostgreSQL refuses, or the membership remains: another library may have skipped the statement.
pub(super) fn revoke(
    role: pg_sys::Oid,
    member: pg_sys::Oid,
    grantor: pg_sys::Oid,
) -> Result<(), PrincipalError> {
    // A role with a membership cannot be dropped without it, so the names are there.
    let pinned =
        |role| privileges::pin(role).map(|name| quote_identifier(name.unwrap_or_default()));
    let (from, whom) = (pinned(role)?, pinned(member)?);
    // Before 16 there is one grant, and GRANTED BY is parsed but ignored (gram.y).
    let by = if CREATEROLE_IS_BROAD {
        String::new()
    } else {
        format!(" GRANTED BY {} CASCADE", pinned(grantor)?)
    };
    run_as_superuser(&format!("REVOKE {from} FROM {whom}{by}"))?;
    let remains = |m: &privileges::Membership| m.member == member && m.grantor == grantor;
    if privileges::members_of(role).iter().any(remains) {
        return Err(PrincipalError::NotRevoked {
            role: name(role),
            member: name(member),
            grantor: name(grantor),
        });
    }
    Ok(())
}

fn name(role: pg_sys::Oid) -> String {
    privileges::name_of(role).unwrap_or_else(|| role.to_string())
}

/// One of the memberships in the role that `azure_pg_admin` has, that since 16 every role gets in a role that it creates
/// (user.c, CreateRole), or that neither a superuser has granted nor, since 16, a role to which a superuser has granted it
/// WITH ADMIN OPTION.
fn untrusted(role: pg_sys::Oid) -> Option<Membership> {
    let admins = admin::admins();
    let members = privileges::members_of(role);
    let by_superuser = |m: &privileges::Membership| {
        let is_creators = m.grantor == BOOTSTRAP_SUPERUSER && m.administers && !m.is_used;
        privileges::is_superuser(m.grantor) && !is_creators
    };
    let is_trusted = |m: &privileges::Membership| {
        by_superuser(m)
            || !CREATEROLE_IS_BROAD
                && members
                    .iter()
                    .any(|own| own.member == m.grantor && own.administers && by_superuser(own))
    };
    let mut untrusted = members.iter().filter(|m| {
        !privileges::is_superuser(m.member) && (!is_trusted(m) || Some(m.member) == admins)
    });
    untrusted.next().map(|m| Membership {
        role,
        member: m.member,
        grantor: m.grantor,
    })
}
