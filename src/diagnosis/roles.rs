//! Mapped roles, and the roles of the extension itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;

use entra_token::{Audience, Mapping};
use pgrx::pg_sys;
use pgrx::spi::quote_identifier;
use serde::Deserialize;

use super::finding::{Code, Finding, list};
use super::hba::Login;
use crate::pg::label;
use crate::pg::privileges::{self, CREATEROLE_IS_BROAD};
use crate::principals::{AADAUTH_AUDITOR, AZURE_PG_ADMIN, admin};
use crate::settings;

/// A row of `pg_authid`.
#[derive(Deserialize)]
struct Attributes {
    name: String,
    is_superuser: bool,
    may_log_in: bool,
    is_expired: bool,
    has_password: bool,
    /// Beyond that of a plain group.
    has_more: bool,
}

/// A role that carries one of our labels.
struct Mapped {
    oid: pg_sys::Oid,
    attributes: Attributes,
    /// `Err` where the labels are of no use.
    mapping: Result<Option<Mapping>, entra_token::Reason>,
}

/// Every role that matters here.
pub struct Roles {
    mapped: Vec<Mapped>,
    /// `azure_pg_admin` and `aadauth_auditor`, as far as they exist.
    own: Vec<Attributes>,
    memberships: Vec<Membership>,
}

/// A member of a role, by their names, and whether it may grant the role.
#[derive(Deserialize)]
struct Membership {
    granted: String,
    member: String,
    administers: bool,
}

impl Roles {
    pub fn read() -> Result<Roles, Box<dyn Error>> {
        let labels: BTreeMap<String, _> = label::all()
            .into_iter()
            .filter_map(|(role, labels)| Some((privileges::name_of(role)?, (role, labels))))
            .collect();
        let attributes = super::rows::<Attributes>(
            "SELECT rolname AS name, rolsuper AS is_superuser, rolcanlogin AS may_log_in,
                 coalesce(rolvaliduntil < now(), false) AS is_expired,
                 rolpassword IS NOT NULL AS has_password,
                 rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls AS has_more
             FROM pg_authid ORDER BY rolname",
        )?;
        let mut roles = Roles {
            mapped: Vec::new(),
            own: Vec::new(),
            memberships: Vec::new(),
        };
        for attributes in attributes {
            if let Some((oid, labels)) = labels.get(&attributes.name) {
                let mapping =
                    Mapping::from_labels(labels.public.as_deref(), labels.internal.as_deref());
                roles.mapped.push(Mapped {
                    oid: *oid,
                    attributes,
                    mapping,
                });
            } else if [AZURE_PG_ADMIN, AADAUTH_AUDITOR].contains(&attributes.name.as_str()) {
                roles.own.push(attributes);
            }
        }
        roles.memberships = super::rows(
            "SELECT granted.rolname AS granted, member.rolname AS member, bool_or(m.admin_option) AS administers
             FROM pg_auth_members AS m
             JOIN pg_authid AS granted ON granted.oid = m.roleid JOIN pg_authid AS member ON member.oid = m.member
             GROUP BY granted.rolname, member.rolname",
        )?;
        Ok(roles)
    }

    /// The mapped roles that may log in, as pg_hba.conf sees them.
    pub fn logins(&self) -> Vec<Login> {
        let mut groups: HashMap<&str, Vec<&str>> = HashMap::new();
        for Membership {
            granted, member, ..
        } in &self.memberships
        {
            groups.entry(member).or_default().push(granted);
        }
        let may_log_in = self.mapped.iter().filter(|role| role.attributes.may_log_in);
        may_log_in
            .map(|role| {
                pgrx::check_for_interrupts!();
                Login {
                    name: role.attributes.name.clone(),
                    member_of: all_groups(&role.attributes.name, &groups),
                }
            })
            .collect()
    }

    pub fn check(&self) -> Vec<Finding> {
        let own = [AZURE_PG_ADMIN, AADAUTH_AUDITOR]
            .into_iter()
            .filter_map(|name| self.own_role(name));
        let mapped = [
            self.damaged(),
            self.of_another_tenant(),
            self.with_superuser(),
            self.mfa_unprovable(),
            self.that_cannot_sign_in(),
            self.with_password(),
            self.without_administrator(),
        ];
        own.chain(mapped.into_iter().flatten()).collect()
    }

    fn own_role(&self, name: &str) -> Option<Finding> {
        let problem = match self.own.iter().find(|role| role.name == name) {
            Some(role) if role.has_more => {
                "It may log in, or has a right of its own: whoever is granted it gets more than is meant."
            }
            Some(_) => return None,
            None => "It does not exist, or is mapped to a principal itself.",
        };
        Some(Finding::new(
            Code::OwnRoleChanged,
            format!("role \"{name}\""),
            problem,
            format!(
                "Run CREATE ROLE {name} where it is missing; then ALTER ROLE {name} NOLOGIN NOSUPERUSER NOCREATEROLE \
                 NOCREATEDB NOREPLICATION NOBYPASSRLS, and clear its security labels."
            ),
        ))
    }

    /// One finding for all mapped roles of which that is true.
    fn those(
        &self,
        code: Code,
        is_meant: impl Fn(&Mapped) -> bool,
        problem: &str,
        remedy: &str,
    ) -> Option<Finding> {
        let names: Vec<&str> = self
            .mapped
            .iter()
            .filter(|role| is_meant(role))
            .map(|role| role.attributes.name.as_str())
            .collect();
        let noun = if names.len() == 1 { "role" } else { "roles" };
        let place = format!("{noun} {}", list(&names));
        (!names.is_empty()).then(|| Finding::new(code, place, problem, remedy))
    }

    fn damaged(&self) -> Option<Finding> {
        self.those(
            Code::RoleLabelDamaged,
            |role| !matches!(role.mapping, Ok(Some(_))),
            "A label can't be read, or the two disagree: nobody can sign in.",
            "Set the label again with pgaadauth_update_principal_with_oid, or clear it with SECURITY LABEL ... IS NULL.",
        )
    }

    fn of_another_tenant(&self) -> Option<Finding> {
        let tenant = settings::tenant()?;
        self.those(
            Code::RoleOfAnotherTenant,
            |role| matches!(&role.mapping, Ok(Some(mapping)) if mapping.tenant != tenant),
            "Mapped to a principal of another tenant than aadauth.tenant_id: nobody can sign in.",
            "Map the role anew with pgaadauth_update_principal_with_oid, or mend aadauth.tenant_id.",
        )
    }

    fn with_superuser(&self) -> Option<Finding> {
        self.those(
            Code::RoleWithSuperuser,
            |role| role.attributes.is_superuser,
            "Whoever holds a token of the principal is superuser: nothing in the server limits or protects against them.",
            "Give the role what it needs by GRANT, and take SUPERUSER away: ALTER ROLE ... NOSUPERUSER.",
        )
    }

    fn mfa_unprovable(&self) -> Option<Finding> {
        let audiences = settings::audiences();
        let is_v2 = |audience: &Audience| matches!(audience, Audience::ApplicationId(_));
        if audiences.is_empty() || !audiences.iter().all(is_v2) {
            return None;
        }
        self.those(
            Code::MfaUnprovable,
            |role| matches!(&role.mapping, Ok(Some(mapping)) if mapping.mfa),
            "Multi-factor authentication is demanded, which only tokens of version 1 can prove; aadauth.audience has \
             application ids alone, as tokens of version 2 carry them.",
            "Let the app registration issue v1 tokens and add its application ID URI to aadauth.audience, or demand MFA \
             by a conditional access policy in place of the label.",
        )
    }

    fn that_cannot_sign_in(&self) -> Option<Finding> {
        self.those(
            Code::RoleCannotSignIn,
            |role| !role.attributes.may_log_in || role.attributes.is_expired,
            "NOLOGIN, or its VALID UNTIL has passed: nobody can sign in.",
            "ALTER ROLE ... LOGIN, or ... VALID UNTIL; or clear the label if that is as it should be.",
        )
    }

    fn with_password(&self) -> Option<Finding> {
        self.those(
            Code::RoleWithPassword,
            |role| role.attributes.has_password,
            "Has a password, which is not accepted now, and is as soon as the role is no longer mapped or the library no \
             longer loaded.",
            "ALTER ROLE ... PASSWORD NULL.",
        )
    }

    /// On 15 CREATEROLE administers every role, so what is mapped there has no such membership; nor has what is
    /// mapped by its label. A role that confers more than databases grant is a superuser's to hand out.
    fn without_administrator(&self) -> Option<Finding> {
        // A statement that fits a terminal; who has more roles looks again.
        const AT_ONCE: usize = 100;
        let is_admin = |role: &&Mapped| matches!(&role.mapping, Ok(Some(mapping)) if mapping.admin);
        if CREATEROLE_IS_BROAD || !self.mapped.iter().any(|role| is_admin(&role)) {
            return None;
        }
        let administered: BTreeSet<&str> = self
            .memberships
            .iter()
            .filter(|row| row.administers && row.member == AZURE_PG_ADMIN)
            .map(|row| row.granted.as_str())
            .collect();
        let names: Vec<&str> = self
            .mapped
            .iter()
            .filter(|role| matches!(&role.mapping, Ok(Some(mapping)) if !mapping.admin))
            .filter(|role| !administered.contains(role.attributes.name.as_str()))
            .filter(|role| admin::privilege(role.oid).is_none())
            .map(|role| role.attributes.name.as_str())
            .collect();
        let quoted = names
            .iter()
            .take(AT_ONCE)
            .map(|name| quote_identifier(*name));
        let quoted: Vec<String> = quoted.collect();
        let noun = if names.len() == 1 { "role" } else { "roles" };
        let more = match names.len().saturating_sub(AT_ONCE) {
            0 => String::new(),
            more => format!(" Then look again: there are {more} more."),
        };
        (!names.is_empty()).then(|| {
            Finding::new(
                Code::RoleWithoutAdministrator,
                format!("{noun} {}", list(&names)),
                "Entra admins can't alter, grant or drop it, as they can what was mapped by the functions on this version: \
                 it was mapped on PostgreSQL 15, or by its label.",
                format!(
                    "GRANT {} TO {AZURE_PG_ADMIN} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE; Leave out what superusers \
                     alone are to administer.{more}",
                    quoted.join(", ")
                ),
            )
        })
    }
}

/// The role and all that it is a member of, directly or not.
fn all_groups(role: &str, groups: &HashMap<&str, Vec<&str>>) -> BTreeSet<String> {
    let mut all = BTreeSet::from([role.to_owned()]);
    let mut open = vec![role];
    while let Some(member) = open.pop() {
        for group in groups.get(member).into_iter().flatten() {
            if all.insert((*group).to_owned()) {
                open.push(group);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memberships_are_followed_and_may_be_many() {
        let names: Vec<String> = (0..50_000).map(|number| format!("m{number}")).collect();
        let mut groups: HashMap<&str, Vec<&str>> = HashMap::from([("g", vec!["top", "g"])]);
        for name in &names {
            groups.insert(name, vec!["g", "azure_pg_admin"]);
        }
        for name in &names {
            let all = all_groups(name, &groups);
            let expected = [name.as_str(), "g", "azure_pg_admin", "top"];
            assert_eq!(all, expected.map(str::to_owned).into());
        }
    }
}
