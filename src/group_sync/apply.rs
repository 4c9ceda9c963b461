//! Makes roles and memberships agree with a group's list of members, some hundred at a time.
//!
//! Each chunk is one transaction, under the lock on labels: what is done is decided there, by the
//! labels and memberships of that moment, and what is written down about it commits with it. Statements
//! name roles, and roles can be renamed in between, so that each transaction looks at its end whether
//! the roles that it meant are those that changed.

use std::collections::{HashMap, HashSet};
use std::ffi::CString;

use entra_api::Principal;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use super::eligibility::{self, Due, Obstacle};
use super::groups::{self, Group};
use super::history::{self, Action, Change, Entry, State, Tally};
use super::members::Members;
use crate::pg::label::{self, Labels};
use crate::pg::rights::{self, CREATEROLE_IS_BROAD};
use crate::pg::worker::{self, Failure};
use crate::principals::mapped::MappedRoles;
use crate::principals::member::{self, NamedRole};

/// How many members a transaction deals with. Each may cost a lock, of which there are
/// max_locks_per_transaction (64) times the connections.
pub const CHUNK: usize = 500;

/// What is to be done about a group.
pub struct Survey {
    /// Roles that have the group role and are not to.
    pub leavers: Vec<pg_sys::Oid>,
    /// Places in the list of those members who don't have what is due to them.
    pub wanting: Vec<usize>,
}

/// How a chunk ended.
pub enum Settled {
    Changed(Tally),
    /// The group's role isn't what it was; nothing was done.
    GroupChanged,
}

/// Finds out what is to be done, changing nothing.
///
/// # Errors
/// The catalogs can't be read.
pub fn survey(group: &Group, members: &Members) -> Result<Survey, Failure> {
    worker::transaction(|| {
        let mapped = MappedRoles::read();
        let holders = holders(group.role, None)?;
        let terms = group.terms();
        let leavers = mapped.iter().filter(|role| {
            role.may_leave()
                && holders.contains(&role.role)
                && members.objection(role, terms).is_some()
        });
        let has_all_due = |member: &Principal| match eligibility::due(member, terms, &mapped) {
            Due::Roles(roles) => roles.iter().all(|role| holders.contains(&role.role)),
            Due::NewRole | Due::Nothing(_) => false,
        };
        let members = members.as_slice().iter().enumerate();
        Ok(Survey {
            leavers: leavers.map(|role| role.role).collect(),
            wanting: members
                .filter(|(_, member)| !has_all_due(member))
                .map(|(place, _)| place)
                .collect(),
        })
    })
}

/// Takes the group role from those of these roles that are not to have it.
///
/// # Errors
/// Nothing has changed.
pub fn revoke(
    entry: &Entry,
    group: &Group,
    members: &Members,
    leavers: &[pg_sys::Oid],
    tally: &Tally,
) -> Result<Settled, Failure> {
    worker::transaction(|| {
        if !begin_revoking(group) {
            return Ok(Settled::GroupChanged);
        }
        let holders = holders(group.role, Some(leavers))?;
        let mut changes = Vec::new();
        let mut roles = Vec::new();
        for role in MappedRoles::read().iter() {
            if !role.may_leave() || !holders.contains(&role.role) || !lock(role.role) {
                continue;
            }
            let (Some(objection), Some(name)) = (
                members.objection(role, group.terms()),
                rights::name_of(role.role),
            ) else {
                continue;
            };
            let detail = Some(objection.sentence());
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
        let tally = Tally {
            revoked: tally.revoked + roles.len(),
            ..*tally
        };
        finish(entry, &changes, tally)
    })
}

/// Gives these members what is due to them.
///
/// # Errors
/// Nothing has changed.
pub fn provide(
    entry: &Entry,
    group: &Group,
    members: &[&Principal],
    tally: &Tally,
) -> Result<Settled, Failure> {
    worker::transaction(|| {
        if !begin(group)? {
            return Ok(Settled::GroupChanged);
        }
        let mapped = MappedRoles::read();
        let roles: Vec<pg_sys::Oid> = members
            .iter()
            .flat_map(|member| eligibility::roles_of(member, group.tenant(), &mapped))
            .map(|role| role.role)
            .collect();
        let holders = holders(group.role, Some(&roles))?;
        let mut work = Work::default();
        for member in members {
            work.add(member, group, &mapped, &holders)?;
        }
        member::entrust(&work.created)?;
        grant(group, &work)?;
        let tally = Tally {
            done: tally.done + members.len(),
            created: tally.created + work.created.len(),
            granted: tally.granted + work.granted.len(),
            not_possible: tally.not_possible + work.not_possible,
            ..*tally
        };
        finish(entry, &work.changes, tally)
    })
}

/// Notes that PostgreSQL refused what was due to this member.
///
/// # Errors
/// Nothing has changed.
pub fn give_up(
    entry: &Entry,
    member: &Principal,
    problem: &str,
    tally: &Tally,
) -> Result<Settled, Failure> {
    let obstacle = Action::NotPossible(Obstacle::Failed);
    let detail = Some(problem.to_owned());
    let change = Change::of_member(&member.name, member.object_id, obstacle, detail);
    worker::transaction(|| {
        let tally = Tally {
            done: tally.done + 1,
            not_possible: tally.not_possible + 1,
            ..*tally
        };
        finish(entry, &[change], tally)
    })
}

/// What one chunk comes to.
#[derive(Default)]
struct Work {
    created: Vec<NamedRole>,
    granted: Vec<NamedRole>,
    not_possible: usize,
    changes: Vec<Change>,
}

impl Work {
    fn add(
        &mut self,
        member: &Principal,
        group: &Group,
        mapped: &MappedRoles,
        holders: &HashSet<pg_sys::Oid>,
    ) -> Result<(), Failure> {
        match eligibility::due(member, group.terms(), mapped) {
            Due::Roles(roles) => {
                for role in roles {
                    if holders.contains(&role.role) || !lock(role.role) {
                        continue;
                    }
                    if let Some(name) = rights::name_of(role.role) {
                        self.note(&name, member, Action::Granted, None);
                        let role = role.role;
                        self.granted.push(NamedRole { role, name });
                    }
                }
            }
            Due::NewRole => match name_holder(member) {
                Some(detail) => self.refuse(member, Obstacle::NameTaken, Some(detail)),
                None => {
                    let role = member::create(member, group.terms(), mapped)?;
                    self.note(&member.name, member, Action::Created, None);
                    let name = member.name.clone();
                    self.created.push(NamedRole { role, name });
                }
            },
            Due::Nothing(obstacle) => {
                let detail = obstacle.sentence().map(str::to_owned);
                self.refuse(member, obstacle, detail);
            }
        }
        Ok(())
    }

    fn refuse(&mut self, member: &Principal, obstacle: Obstacle, detail: Option<String>) {
        self.not_possible += 1;
        self.note(&member.name, member, Action::NotPossible(obstacle), detail);
    }

    fn note(&mut self, name: &str, member: &Principal, action: Action, detail: Option<String>) {
        self.changes
            .push(Change::of_member(name, member.object_id, action, detail));
    }
}

/// Locks the labels, and looks whether members of the group are still to be given its role.
fn begin(group: &Group) -> Result<bool, Failure> {
    Ok(begin_revoking(group) && groups::obstacle(group, group.tenant())?.is_none())
}

/// Locks the labels, and looks whether the group is still what it was. Its rights don't matter: the more
/// it has, the less may those who left it keep it.
fn begin_revoking(group: &Group) -> bool {
    label::lock();
    groups::is_unchanged(group)
}

fn finish(entry: &Entry, changes: &[Change], tally: Tally) -> Result<Settled, Failure> {
    history::changes(entry, changes)?;
    history::progress(entry, State::Changing, &tally, None)?;
    Ok(Settled::Changed(tally))
}

/// Who has the name that the member's role would get; `None` when nobody.
fn name_holder(member: &Principal) -> Option<String> {
    // A name with a NUL has been refused.
    let name = CString::new(member.name.as_str()).unwrap_or_default();
    let holder = rights::role_named(&name)?;
    let Labels { public, internal } = label::of(holder);
    let is = match internal.or(public) {
        None => "The role of that name is a local one.".to_owned(),
        Some(label) => format!("The role of that name is mapped to another principal ({label})."),
    };
    // No statement that would map it: whoever names an application chooses whose role that would be.
    Some(format!(
        "{is} The member is the {} {}.",
        member.kind, member.object_id
    ))
}

/// Which of the roles (or of all) have the group role themselves.
///
/// Since PostgreSQL 16 a membership can be one for administering the role alone, with neither INHERIT
/// nor SET; the creator of a role has such a one. It confers nothing of the group's rights, and so is
/// none here.
fn holders(
    group: pg_sys::Oid,
    among: Option<&[pg_sys::Oid]>,
) -> Result<HashSet<pg_sys::Oid>, Failure> {
    let mut query =
        "SELECT m.member FROM pg_catalog.pg_auth_members AS m WHERE m.roleid = $1".to_owned();
    let mut values = vec![DatumWithOid::from(group)];
    if let Some(roles) = among {
        query.push_str(" AND m.member = ANY ($2)");
        values.push(DatumWithOid::from(roles.to_vec()));
    }
    if !CREATEROLE_IS_BROAD {
        query.push_str(" AND (m.inherit_option OR m.set_option)");
    }
    let found = Spi::connect_mut(|client| {
        client
            .update(query.as_str(), None, &values)?
            .map(|row| row.get::<pg_sys::Oid>(1))
            .collect::<spi::Result<Vec<_>>>()
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// Gives the group role to those who are to have it, in one statement.
fn grant(group: &Group, work: &Work) -> Result<(), Failure> {
    let roles = || work.created.iter().chain(&work.granted);
    if roles().next().is_none() {
        return Ok(());
    }
    // Without a word about them, a membership that is there keeps its options.
    let options = if CREATEROLE_IS_BROAD {
        ""
    } else {
        " WITH INHERIT TRUE, SET TRUE"
    };
    let (granted, to) = (quote_identifier(&group.name), names(roles()));
    Spi::run(&format!("GRANT {granted} TO {to}{options}"))?;
    let wanted: Vec<pg_sys::Oid> = roles().map(|role| role.role).collect();
    let holders = holders(group.role, Some(&wanted))?;
    if wanted.iter().all(|role| holders.contains(role)) {
        Ok(())
    } else {
        Err(renamed())
    }
}

/// Takes the group role from these, whoever granted it.
fn revoke_from(group: &Group, roles: &[NamedRole]) -> Result<(), Failure> {
    if roles.is_empty() {
        return Ok(());
    }
    let wanted: Vec<pg_sys::Oid> = roles.iter().map(|role| role.role).collect();
    let revoked = quote_identifier(&group.name);
    if CREATEROLE_IS_BROAD {
        // There is one membership, and whose grant it is makes no difference.
        let from = names(roles.iter());
        Spi::run(&format!("REVOKE {revoked} FROM {from}"))?;
    } else {
        for (grantor, members) in grants(group.role, &wanted)? {
            let from = names(roles.iter().filter(|role| members.contains(&role.role)));
            Spi::run(&format!(
                "REVOKE {revoked} FROM {from} GRANTED BY {grantor} CASCADE"
            ))?;
        }
    }
    if holders(group.role, Some(&wanted))?.is_empty() {
        Ok(())
    } else {
        Err(renamed())
    }
}

/// Who has granted the role to these members, quoted, and to whom each.
fn grants(
    group: pg_sys::Oid,
    members: &[pg_sys::Oid],
) -> Result<HashMap<String, HashSet<pg_sys::Oid>>, Failure> {
    let query = "SELECT m.grantor::pg_catalog.regrole::text, m.member
                 FROM pg_catalog.pg_auth_members AS m WHERE m.roleid = $1 AND m.member = ANY ($2)";
    let values = [
        DatumWithOid::from(group),
        DatumWithOid::from(members.to_vec()),
    ];
    let rows = Spi::connect_mut(|client| {
        client
            .update(query, None, &values)?
            .map(|row| Ok((row.get::<String>(1)?, row.get::<pg_sys::Oid>(2)?)))
            .collect::<spi::Result<Vec<_>>>()
    })?;
    let mut grants: HashMap<String, HashSet<pg_sys::Oid>> = HashMap::new();
    for row in rows {
        if let (Some(grantor), Some(member)) = row {
            grants.entry(grantor).or_default().insert(member);
        }
    }
    Ok(grants)
}

/// Keeps the role from being dropped until the transaction ends; `false` when it is gone.
fn lock(role: pg_sys::Oid) -> bool {
    rights::lock_role(role)
}

fn names<'a>(roles: impl Iterator<Item = &'a NamedRole>) -> String {
    let quoted: Vec<String> = roles.map(|role| quote_identifier(&role.name)).collect();
    quoted.join(", ")
}

fn renamed() -> Failure {
    Failure {
        message: "a role was renamed in the middle of it".to_owned(),
        is_data: false,
    }
}
