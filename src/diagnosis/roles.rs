//! Mapped roles, and the roles of the extension itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;

use entra_token::{Mapping, PrincipalKind};
use pgrx::pg_sys;
use pgrx::spi::quote_identifier;
use serde::Deserialize;

use super::finding::{Code, Finding, list};
use super::hba::{Login, WithoutScram};
use super::query;
use crate::pg::label;
use crate::pg::privileges::{self, CREATEROLE_IS_BROAD};
use crate::principals::{AZURE_PG_ADMIN, OWN_ROLES, admin};
use crate::settings;

/// A row of `pg_authid`.
#[derive(Deserialize)]
struct Attributes {
    name: String,
    is_superuser: bool,
    may_log_in: bool,
    has_password: bool,
    has_scram: bool,
    is_for_replication: bool,
    /// CREATEROLE and CREATEDB.
    creates: bool,
    /// LOGIN or an attribute that a group role does not have.
    has_attributes: bool,
}

/// A role with an aadauth label.
struct Mapped {
    oid: pg_sys::Oid,
    attributes: Attributes,
    /// `Err` if the labels are invalid.
    mapping: Result<Option<Mapping>, entra_token::Reason>,
}

/// The roles to check.
pub struct Roles {
    mapped: Vec<Mapped>,
    /// The roles without a label that may log in, other than for replication, and have no SCRAM password.
    without_scram: Vec<Attributes>,
    /// The roles that the extension creates, as far as they exist.
    own: Vec<Attributes>,
    memberships: Vec<Membership>,
}

/// A member of a role, by name, and whether it may grant the role.
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
        let attributes = query::rows::<Attributes>(
            "SELECT rolname AS name, rolsuper AS is_superuser, rolcanlogin AS may_log_in,
                 rolpassword IS NOT NULL AS has_password,
                 coalesce(starts_with(rolpassword, 'SCRAM-SHA-256$'), false) AS has_scram, rolreplication AS is_for_replication,
                 rolcreaterole AND rolcreatedb AS creates,
                 rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls AS has_attributes
             FROM pg_authid ORDER BY rolname",
        )?;
        let mut roles = Roles {
            mapped: Vec::new(),
            without_scram: Vec::new(),
            own: Vec::new(),
            memberships: Vec::new(),
        };
        for attributes in attributes {
            if let Some((oid, labels)) = labels.get(&attributes.name) {
                let mapping = labels.mapping();
                roles.mapped.push(Mapped {
                    oid: *oid,
                    attributes,
                    mapping,
                });
            } else if OWN_ROLES.contains(&attributes.name.as_str()) {
                roles.own.push(attributes);
            } else if attributes.may_log_in
                && !attributes.has_scram
                && !attributes.is_for_replication
            {
                roles.without_scram.push(attributes);
            }
        }
        roles.memberships = query::rows(
            "SELECT granted.rolname AS granted, member.rolname AS member, bool_or(m.admin_option) AS administers
             FROM pg_auth_members AS m
             JOIN pg_authid AS granted ON granted.oid = m.roleid JOIN pg_authid AS member ON member.oid = m.member
             GROUP BY granted.rolname, member.rolname",
        )?;
        Ok(roles)
    }

    /// The mapped roles that may log in, with what `pg_hba.conf` matches.
    pub fn logins(&self) -> Vec<Login> {
        let mapped = self.mapped.iter().map(|role| &role.attributes);
        self.matched(mapped.filter(|role| role.may_log_in))
            .map(|(_, login)| login)
            .collect()
    }

    /// The local roles that may log in and have no SCRAM password, with what `pg_hba.conf` matches.
    pub fn without_scram(&self) -> Vec<WithoutScram> {
        self.matched(self.without_scram.iter())
            .map(|(role, login)| WithoutScram {
                login,
                has_password: role.has_password,
            })
            .collect()
    }

    fn matched<'a>(
        &self,
        roles: impl Iterator<Item = &'a Attributes>,
    ) -> impl Iterator<Item = (&'a Attributes, Login)> {
        let mut groups: HashMap<&str, Vec<&str>> = HashMap::new();
        for Membership {
            granted, member, ..
        } in &self.memberships
        {
            groups.entry(member).or_default().push(granted);
        }
        roles.map(move |role| {
            pgrx::check_for_interrupts!();
            let login = Login {
                name: role.name.clone(),
                member_of: all_groups(&role.name, &groups),
            };
            (role, login)
        })
    }

    pub fn check(&self) -> Vec<Finding> {
        let own = OWN_ROLES.into_iter().filter_map(|name| self.own_role(name));
        let mapped = [
            self.damaged(),
            self.of_another_tenant(),
            self.with_superuser(),
            self.with_password(),
            self.admin_without_rights(),
            self.without_administrator(),
            self.group_without_directory(),
        ];
        own.chain(mapped.into_iter().flatten()).collect()
    }

    fn own_role(&self, name: &str) -> Option<Finding> {
        let problem = match self.own.iter().find(|role| role.name == name) {
            Some(role) if role.has_attributes => {
                "It must be NOLOGIN without attributes; members could use them with SET ROLE."
            }
            Some(_) => return None,
            None => "It does not exist, or it is mapped to a principal.",
        };
        Some(Finding::new(
            Code::OwnRoleChanged,
            format!("role \"{name}\""),
            problem,
            format!(
                "Run CREATE ROLE {name} if it is missing; then run ALTER ROLE {name} NOLOGIN NOSUPERUSER NOCREATEROLE \
                 NOCREATEDB NOREPLICATION NOBYPASSRLS, and clear its security labels."
            ),
        ))
    }

    /// One finding for all mapped roles that match.
    fn for_roles(
        &self,
        code: Code,
        matches: impl Fn(&Mapped) -> bool,
        problem: &str,
        remedy: &str,
    ) -> Option<Finding> {
        let names: Vec<&str> = self
            .mapped
            .iter()
            .filter(|role| matches(role))
            .map(|role| role.attributes.name.as_str())
            .collect();
        let noun = if names.len() == 1 { "role" } else { "roles" };
        let place = format!("{noun} {}", list(&names));
        (!names.is_empty()).then(|| Finding::new(code, place, problem, remedy))
    }

    fn damaged(&self) -> Option<Finding> {
        self.for_roles(
            Code::RoleLabelDamaged,
            |role| !matches!(role.mapping, Ok(Some(_))),
            "A label is invalid, or the two labels contradict each other, so sign-ins are refused.",
            "Set the label again with pgaadauth_update_principal_with_oid, or clear it with SECURITY LABEL ... IS NULL.",
        )
    }

    fn of_another_tenant(&self) -> Option<Finding> {
        let tenant = settings::tenant()?;
        self.for_roles(
            Code::RoleOfAnotherTenant,
            |role| matches!(&role.mapping, Ok(Some(mapping)) if mapping.tenant != tenant),
            "Mapped to a principal of another tenant than aadauth.tenant_id, so sign-ins are refused.",
            "Map the role again with pgaadauth_update_principal_with_oid, or correct aadauth.tenant_id.",
        )
    }

    fn with_superuser(&self) -> Option<Finding> {
        self.for_roles(
            Code::RoleWithSuperuser,
            |role| role.attributes.is_superuser,
            "Anyone with a token of the principal is a superuser, without any limit inside the server.",
            "Grant the role the privileges that it needs, and run ALTER ROLE ... NOSUPERUSER.",
        )
    }

    fn with_password(&self) -> Option<Finding> {
        self.for_roles(
            Code::RoleWithPassword,
            |role| role.attributes.has_password,
            "It has a password. The password is not accepted now, but it is if the role is no longer mapped or the library is \
             not loaded.",
            "Run ALTER ROLE ... PASSWORD NULL.",
        )
    }

    /// A superuser has taken what the label gave. (What `azure_pg_admin` or its rights give to others is among the ways to
    /// privileges, [`super::reach`].)
    fn admin_without_rights(&self) -> Option<Finding> {
        let admins = admin::admins()?;
        self.for_roles(
            Code::AdminWithoutRights,
            |role| {
                matches!(&role.mapping, Ok(Some(mapping)) if mapping.admin)
                    && !role.attributes.is_superuser
                    && !(role.attributes.creates && privileges::is_admin_of(role.oid, admins))
            },
            "The label says admin, but the role lacks CREATEROLE, CREATEDB, or membership in azure_pg_admin with ADMIN OPTION.",
            "Run ALTER ROLE ... CREATEROLE CREATEDB and GRANT azure_pg_admin TO ... WITH ADMIN OPTION, or take admin from the \
             label with pgaadauth_update_principal_with_oid.",
        )
    }

    /// Of one that is configured in part, and of group sync without one, there is a finding already.
    fn group_without_directory(&self) -> Option<Finding> {
        if settings::directory_problem().is_some()
            || settings::directory().is_some()
            || settings::groups_claim_is_complete()
        {
            return None;
        }
        self.for_roles(
            Code::GroupWithoutDirectory,
            |role| matches!(&role.mapping, Ok(Some(mapping)) if mapping.kind == PrincipalKind::Group),
            "Members sign in only if their tokens name the group in the groups claim, since no directory can be asked.",
            "Let the app registration emit the claim (Token configuration, Add groups claim, Security groups) and set \
             aadauth.groups_claim_is_complete to on; or set aadauth.credential and what it requires, so that the server asks \
             the directory.",
        )
    }

    /// On PostgreSQL 15, CREATEROLE suffices to administer every role, so roles that were mapped there have no such
    /// membership. Only superusers grant privileged roles.
    fn without_administrator(&self) -> Option<Finding> {
        // Keeps the statement short; for more roles, run the function again.
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
            more => format!(" Then run this function again: there are {more} more roles."),
        };
        (!names.is_empty()).then(|| {
            Finding::new(
                Code::RoleWithoutAdministrator,
                format!("{noun} {}", list(&names)),
                "Entra admins cannot alter, grant or drop it, unlike roles that were mapped on this version: it was mapped on \
                 PostgreSQL 15.",
                format!(
                    "GRANT {} TO {AZURE_PG_ADMIN} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE; Leave out roles that only \
                     superusers should administer.{more}",
                    quoted.join(", ")
                ),
            )
        })
    }
}

/// The role, and all roles that it is a direct or indirect member of.
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
