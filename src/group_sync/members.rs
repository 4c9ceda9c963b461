//! The members of one group, as the directory listed them.

use std::collections::HashMap;

use entra_api::Principal;
use entra_token::PrincipalKind;
use uuid::Uuid;

use super::eligibility::{self, Obstacle};
use crate::principals::mapped::MappedRole;
use crate::principals::member::Terms;

/// More are not synchronised: every one is a role, and PostgreSQL reads all roles now and then.
pub const MOST: usize = 100_000;

/// The members, each of them once: users first, in the order of their object ids, so that of two with
/// the same name it is always the same one who gets it.
pub struct Members {
    list: Vec<Principal>,
    by_object_id: HashMap<Uuid, u32>,
    by_app_id: HashMap<Uuid, u32>,
}

impl Members {
    pub fn new(mut list: Vec<Principal>) -> Members {
        list.sort_unstable_by_key(|member| {
            (member.kind == PrincipalKind::Service, member.object_id)
        });
        // Pages may overlap when the group changes while it is listed.
        list.dedup_by_key(|member| member.object_id);
        list.shrink_to_fit();
        let mut by_object_id = HashMap::with_capacity(list.len());
        let mut by_app_id = HashMap::new();
        for (member, place) in list.iter().zip(0..) {
            by_object_id.insert(member.object_id, place);
            if let (PrincipalKind::Service, Some(app_id)) = (member.kind, member.app_id) {
                by_app_id.insert(app_id, place);
            }
        }
        Members {
            list,
            by_object_id,
            by_app_id,
        }
    }

    pub fn none() -> Members {
        Members::new(Vec::new())
    }

    pub fn as_slice(&self) -> &[Principal] {
        &self.list
    }

    /// Why the role is not to have the group role; `None` when it is.
    pub fn objection(&self, role: &MappedRole, terms: Terms) -> Option<Objection> {
        if role.tenant != terms.tenant {
            return Some(Objection::NoMember);
        }
        let Some(member) = self.behind(role) else {
            return Some(Objection::NoMember);
        };
        if !member.enabled {
            return Some(Objection::Obstacle(Obstacle::AccountDisabled));
        }
        eligibility::unfit(role, member, terms).map(Objection::Obstacle)
    }

    /// The member that the role stands for.
    fn behind(&self, role: &MappedRole) -> Option<&Principal> {
        let place = self.by_object_id.get(&role.object_id).or_else(|| {
            (role.kind == PrincipalKind::Service)
                .then(|| self.by_app_id.get(&role.object_id))
                .flatten()
        })?;
        self.list.get(usize::try_from(*place).ok()?)
    }
}

/// Why a role is not to have the group role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objection {
    NoMember,
    Obstacle(Obstacle),
}

impl Objection {
    pub fn sentence(self) -> String {
        match self {
            Objection::NoMember => "It stands for no member of the group.".to_owned(),
            Objection::Obstacle(Obstacle::AccountDisabled) => {
                "Its account is disabled in the directory.".to_owned()
            }
            Objection::Obstacle(obstacle) => {
                format!("It can't be a member's: {}.", obstacle.code())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pgrx::pg_sys;

    use super::*;

    const TENANT: Uuid = Uuid::from_u128(1);
    const TERMS: Terms = Terms {
        tenant: TENANT,
        mfa: false,
    };

    fn member(kind: PrincipalKind, id: u128) -> Principal {
        Principal {
            kind,
            object_id: Uuid::from_u128(id),
            name: format!("member {id}"),
            app_id: (kind == PrincipalKind::Service).then(|| Uuid::from_u128(id + 1000)),
            enabled: true,
        }
    }

    fn role(kind: PrincipalKind, id: u128) -> MappedRole {
        MappedRole {
            tenant: TENANT,
            object_id: Uuid::from_u128(id),
            role: pg_sys::Oid::from_u32(1),
            kind,
            admin: false,
            mfa: false,
            is_sound: true,
        }
    }

    #[test]
    fn each_member_is_there_once_users_first() {
        let members = Members::new(vec![
            member(PrincipalKind::Service, 1),
            member(PrincipalKind::User, 3),
            member(PrincipalKind::User, 2),
            member(PrincipalKind::User, 3),
        ]);
        let ids: Vec<u128> = members
            .as_slice()
            .iter()
            .map(|member| member.object_id.as_u128())
            .collect();
        assert_eq!(ids, [2, 3, 1]);
    }

    #[test]
    fn only_a_members_fitting_role_has_the_group_role() {
        use PrincipalKind::{Service, User};
        let disabled = Principal {
            enabled: false,
            ..member(User, 5)
        };
        let members = Members::new(vec![member(User, 3), member(Service, 4), disabled]);
        let objection = |role: MappedRole| members.objection(&role, TERMS);
        assert_eq!(objection(role(User, 3)), None);
        assert_eq!(objection(role(Service, 4)), None);
        assert_eq!(objection(role(Service, 1004)), None);
        let no_member = Some(Objection::NoMember);
        assert_eq!(objection(role(User, 9)), no_member);
        assert_eq!(objection(role(User, 1004)), no_member);
        let elsewhere = MappedRole {
            tenant: Uuid::from_u128(2),
            ..role(User, 3)
        };
        assert_eq!(objection(elsewhere), no_member);
        for (role, obstacle) in [
            (role(User, 5), Obstacle::AccountDisabled),
            (role(Service, 3), Obstacle::TypeDiffers),
        ] {
            assert_eq!(objection(role), Some(Objection::Obstacle(obstacle)));
        }
        let mfa = Terms { mfa: true, ..TERMS };
        assert_eq!(
            members.objection(&role(User, 3), mfa),
            Some(Objection::Obstacle(Obstacle::MfaRequired))
        );
    }
}
