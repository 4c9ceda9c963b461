//! Makes roles and memberships agree with a group's list of members, a few hundred at a time.
//!
//! Each chunk is one transaction that holds the lock on labels. It decides by the labels and memberships
//! of that moment, and its records commit with the changes. The roles keep their names meanwhile ([`privileges::pin`]).

use std::collections::{HashMap, HashSet};

use entra_api::Principal;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use super::eligibility::{self, DesiredState, SkipReason};
use super::groups::{self, Group};
use super::history::{self, Action, Change, Entry, Progress, State};
use super::members::Members;
use crate::pg::label::{self, Labels};
use crate::pg::privileges::{self, CREATEROLE_IS_BROAD};
use crate::pg::query::{self, Value};
use crate::pg::worker::{self, Failure};
use crate::principals::PrincipalError;
use crate::principals::mapped::MappedRoles;
use crate::principals::member::{self, NamedRole};

/// Members per transaction. Each may need a lock, and the lock table has room for
/// max_locks_per_transaction (64) times the connections.
pub const CHUNK: usize = 500;

/// What has to change for a group.
pub struct Plan {
    /// Roles that have the group role and must lose it.
    pub leavers: Vec<pg_sys::Oid>,
    /// Indexes, in the list of members, of those that lack a role or the group role.
    pub incomplete: Vec<usize>,
}

/// How a chunk ended.
pub enum Applied {
    Changed(Progress),
    /// The group's role or label has changed since the run began; nothing was done.
    GroupChanged,
}

/// Finds out what has to change, without changing anything.
///
/// # Errors
/// The catalogs cannot be read.
pub fn plan(group: &Group, members: &Members) -> Result<Plan, Failure> {
    worker::transaction(|| {
        let mapped = MappedRoles::read();
        let holders = holders(group.role, None)?;
        let requirements = group.requirements();
        let leavers = mapped.iter().filter(|role| {
            role.may_leave()
                && holders.contains(&role.role)
                && members.revoke_reason(role, requirements).is_some()
        });
        let is_complete =
            |member: &Principal| match eligibility::desired_state(member, requirements, &mapped) {
                DesiredState::Roles(roles) => roles.iter().all(|role| holders.contains(&role.role)),
                DesiredState::NewRole | DesiredState::Skip(_) => false,
            };
        let members = members.as_slice().iter().enumerate();
        Ok(Plan {
            leavers: leavers.map(|role| role.role).collect(),
            incomplete: members
                .filter(|(_, member)| !is_complete(member))
                .map(|(index, _)| index)
                .collect(),
        })
    })
}

/// Revokes the group role from those of these roles that must not have it.
///
/// # Errors
/// Nothing has changed.
pub fn revoke(
    entry: &Entry,
    group: &Group,
    members: &Members,
    leavers: &[pg_sys::Oid],
    progress: &Progress,
) -> Result<Applied, Failure> {
    worker::transaction(|| {
        if !begin_revoking(group)? {
            return Ok(Applied::GroupChanged);
        }
        let holders = holders(group.role, Some(leavers))?;
        let mut changes = Vec::new();
        let mut roles = Vec::new();
        for role in MappedRoles::read().iter() {
            if !role.may_leave() || !holders.contains(&role.role) {
                continue;
            }
            let Some(reason) = members.revoke_reason(role, group.requirements()) else {
                continue;
            };
            let Some(name) = privileges::pin(role.role)? else {
                continue;
            };
            let detail = Some(reason.detail());
            changes.push(Change::of_member(
                &name,
                role.object_id,
                Action::Revoked,
                detail,
            ));
            roles.push(NamedRole {
                role: role.role,
                name,
            });
        }
        revoke_from(group, &roles)?;
        let progress = Progress {
            revoked: progress.revoked + roles.len(),
            ..*progress
        };
        finish(entry, &changes, progress)
    })
}

/// Creates roles for those of these members who have none, and grants the group role.
///
/// # Errors
/// Nothing has changed.
pub fn grant(
    entry: &Entry,
    group: &Group,
    members: &[&Principal],
    progress: &Progress,
) -> Result<Applied, Failure> {
    worker::transaction(|| {
        if !begin_granting(group)? {
            return Ok(Applied::GroupChanged);
        }
        let mapped = MappedRoles::read();
        let roles: Vec<pg_sys::Oid> = members
            .iter()
            .flat_map(|member| eligibility::roles_of(member, group.tenant(), &mapped))
            .map(|role| role.role)
            .collect();
        let holders = holders(group.role, Some(&roles))?;
        let mut changes = Changes::default();
        for member in members {
            changes.add(member, group, &mapped, &holders)?;
        }
        member::grant_to_azure_pg_admin(&changes.created)?;
        grant_to(group, &changes)?;
        let progress = Progress {
            done: progress.done + members.len(),
            created: progress.created + changes.created.len(),
            granted: progress.granted + changes.granted.len(),
            not_possible: progress.not_possible + changes.not_possible,
            ..*progress
        };
        finish(entry, &changes.records, progress)
    })
}

/// Records that PostgreSQL refused the changes for this member.
///
/// # Errors
/// Nothing has changed.
pub fn record_failure(
    entry: &Entry,
    member: &Principal,
    problem: &str,
    progress: &Progress,
) -> Result<Applied, Failure> {
    let action = Action::NotPossible(SkipReason::Failed);
    let detail = Some(problem.to_owned());
    let change = Change::of_member(&member.name, member.object_id, action, detail);
    worker::transaction(|| {
        let progress = Progress {
            done: progress.done + 1,
            not_possible: progress.not_possible + 1,
            ..*progress
        };
        finish(entry, &[change], progress)
    })
}

/// What one chunk changes.
#[derive(Default)]
struct Changes {
    created: Vec<NamedRole>,
    granted: Vec<NamedRole>,
    not_possible: usize,
    records: Vec<Change>,
}

impl Changes {
    fn add(
        &mut self,
        member: &Principal,
        group: &Group,
        mapped: &MappedRoles,
        holders: &HashSet<pg_sys::Oid>,
    ) -> Result<(), Failure> {
        match eligibility::desired_state(member, group.requirements(), mapped) {
            DesiredState::Roles(roles) => {
                for role in roles {
                    if holders.contains(&role.role) {
                        continue;
                    }
                    if let Some(name) = privileges::pin(role.role)? {
                        self.record(&name, member, Action::Granted, None);
                        let role = role.role;
                        self.granted.push(NamedRole { role, name });
                    }
                }
            }
            DesiredState::NewRole if !member::has_role_name(member) => {
                let detail = SkipReason::NameUnusable.detail().map(str::to_owned);
                self.skip(member, SkipReason::NameUnusable, detail);
            }
            DesiredState::NewRole => match name_holder(member) {
                Some(detail) => self.skip(member, SkipReason::NameTaken, Some(detail)),
                None => {
                    let role = member::create(member, group.requirements(), mapped)?;
                    self.record(&member.name, member, Action::Created, None);
                    let name = member.name.clone();
                    self.created.push(NamedRole { role, name });
                }
            },
            DesiredState::Skip(reason) => {
                let detail = reason.detail().map(str::to_owned);
                self.skip(member, reason, detail);
            }
        }
        Ok(())
    }

    fn skip(&mut self, member: &Principal, reason: SkipReason, detail: Option<String>) {
        self.not_possible += 1;
        self.record(&member.name, member, Action::NotPossible(reason), detail);
    }

    fn record(&mut self, name: &str, member: &Principal, action: Action, detail: Option<String>) {
        self.records
            .push(Change::of_member(name, member.object_id, action, detail));
    }
}

/// Locks the labels, and checks that members of the group may still be granted its role.
fn begin_granting(group: &Group) -> Result<bool, Failure> {
    Ok(begin_revoking(group)? && groups::skip_reason(group, group.tenant())?.is_none())
}

/// Locks the labels, and checks that the group's name, which it then keeps, and labels are unchanged. Its privileges
/// do not matter: the more it has, the less those who left it may keep it.
fn begin_revoking(group: &Group) -> Result<bool, Failure> {
    label::lock().map_err(PrincipalError::Locked)?;
    Ok(privileges::pin(group.role)?.is_some() && groups::is_unchanged(group))
}

fn finish(entry: &Entry, changes: &[Change], progress: Progress) -> Result<Applied, Failure> {
    history::record_changes(entry, changes)?;
    history::record_progress(entry, State::Changing, &progress, None)?;
    Ok(Applied::Changed(progress))
}

/// Describes the role that already has the name that the member's role would get; `None` when there is
/// none.
fn name_holder(member: &Principal) -> Option<String> {
    let holder = privileges::role_named(&member.name)?;
    let Labels { public, internal } = label::read(holder);
    let is = match internal.or(public) {
        None => "The role of that name is not mapped to a principal.".to_owned(),
        Some(label) => format!("The role of that name is mapped to another principal ({label})."),
    };
    // Does not suggest a statement that would map it: an application's owner chooses its name, and with it
    // whose role that would be.
    Some(format!(
        "{is} The member is the {} {}.",
        member.kind, member.object_id
    ))
}

/// Which of these roles (or of all) are direct members of the group role.
///
/// Since PostgreSQL 16 a membership can have ADMIN OPTION without INHERIT or SET, as the creator of a
/// role has. It confers none of the group's privileges, so it does not count here.
fn holders(
    group: pg_sys::Oid,
    among: Option<&[pg_sys::Oid]>,
) -> Result<HashSet<pg_sys::Oid>, Failure> {
    let mut statement =
        "SELECT m.member FROM pg_catalog.pg_auth_members AS m WHERE m.roleid = $1".to_owned();
    let mut values = vec![Value::from(group)];
    if let Some(roles) = among {
        statement.push_str(" AND m.member = ANY ($2)");
        values.push(roles.to_vec().into());
    }
    if !CREATEROLE_IS_BROAD {
        statement.push_str(" AND (m.inherit_option OR m.set_option)");
    }
    let found = Spi::connect_mut(|client| {
        query::update(client, &statement, None, &values)?
            .map(|row| row.get::<pg_sys::Oid>(1))
            .collect::<spi::Result<Vec<_>>>()
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// Grants the group role to the created and the existing roles, in one statement.
fn grant_to(group: &Group, changes: &Changes) -> Result<(), Failure> {
    let roles = || changes.created.iter().chain(&changes.granted);
    if roles().next().is_none() {
        return Ok(());
    }
    // Without these, an existing membership would keep its options.
    let options = if CREATEROLE_IS_BROAD {
        ""
    } else {
        " WITH INHERIT TRUE, SET TRUE"
    };
    let (granted, to) = (quote_identifier(&group.name), names(roles()));
    Ok(query::run(
        &format!("GRANT {granted} TO {to}{options}"),
        &[],
    )?)
}

/// Revokes the group role from these roles, whichever role granted it.
fn revoke_from(group: &Group, roles: &[NamedRole]) -> Result<(), Failure> {
    if roles.is_empty() {
        return Ok(());
    }
    let wanted: Vec<pg_sys::Oid> = roles.iter().map(|role| role.role).collect();
    let revoked = quote_identifier(&group.name);
    if CREATEROLE_IS_BROAD {
        // There is only one membership, and its grantor makes no difference.
        let from = names(roles.iter());
        return Ok(query::run(&format!("REVOKE {revoked} FROM {from}"), &[])?);
    }
    for (grantor, members) in grants(group.role, &wanted)? {
        // A role that has granted something cannot be dropped.
        let grantor = privileges::pin(grantor)?.unwrap_or_default();
        let from = names(roles.iter().filter(|role| members.contains(&role.role)));
        let grantor = quote_identifier(grantor);
        let statement = format!("REVOKE {revoked} FROM {from} GRANTED BY {grantor} CASCADE");
        query::run(&statement, &[])?;
    }
    Ok(())
}

/// The grantors of the role to these members, and the members that each granted it to.
fn grants(
    group: pg_sys::Oid,
    members: &[pg_sys::Oid],
) -> Result<HashMap<pg_sys::Oid, HashSet<pg_sys::Oid>>, Failure> {
    let statement = "SELECT m.grantor, m.member
                 FROM pg_catalog.pg_auth_members AS m WHERE m.roleid = $1 AND m.member = ANY ($2)";
    let values = [group.into(), members.to_vec().into()];
    let rows = Spi::connect_mut(|client| {
        query::update(client, statement, None, &values)?
            .map(|row| Ok((row.get::<pg_sys::Oid>(1)?, row.get::<pg_sys::Oid>(2)?)))
            .collect::<spi::Result<Vec<_>>>()
    })?;
    let mut grants: HashMap<pg_sys::Oid, HashSet<pg_sys::Oid>> = HashMap::new();
    for row in rows {
        if let (Some(grantor), Some(member)) = row {
            grants.entry(grantor).or_default().insert(member);
        }
    }
    Ok(grants)
}

fn names<'a>(roles: impl Iterator<Item = &'a NamedRole>) -> String {
    let quoted: Vec<String> = roles.map(|role| quote_identifier(&role.name)).collect();
    quoted.join(", ")
}
