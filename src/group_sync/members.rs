//! The members of one group, as the directory listed them.

use std::collections::HashMap;

use entra_api::Principal;
use entra_token::PrincipalKind;
use uuid::Uuid;

use super::eligibility::{self, SkipReason};
use crate::principals::mapped::MappedRole;
use crate::principals::member::GroupRequirements;

/// Larger groups are not synchronized: each member is a role, and PostgreSQL sometimes reads all roles.
pub const MOST: usize = 100_000;

/// The members, each of them once: users first, in the order of their object ids, so that of two members
/// with the same name the same one always gets it.
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

    /// Why the role must lose the group role; `None` when it may keep it.
    pub fn revoke_reason(
        &self,
        role: &MappedRole,
        requirements: GroupRequirements,
    ) -> Option<RevokeReason> {
        if role.tenant != requirements.tenant {
            return Some(RevokeReason::NotMember);
        }
        let Some(member) = self.member_of(role) else {
            return Some(RevokeReason::NotMember);
        };
        if !member.enabled {
            return Some(RevokeReason::Ineligible(SkipReason::AccountDisabled));
        }
        eligibility::ineligible(role, member, requirements).map(RevokeReason::Ineligible)
    }

    /// The member that the role is mapped to.
    fn member_of(&self, role: &MappedRole) -> Option<&Principal> {
        let place = self.by_object_id.get(&role.object_id).or_else(|| {
            (role.kind == PrincipalKind::Service)
                .then(|| self.by_app_id.get(&role.object_id))
                .flatten()
        })?;
        self.list.get(usize::try_from(*place).ok()?)
    }
}

/// Why a role must lose the group role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokeReason {
    NotMember,
    Ineligible(SkipReason),
}

impl RevokeReason {
    pub fn detail(self) -> String {
        match self {
            RevokeReason::NotMember => "Its principal is not a member of the group.".to_owned(),
            RevokeReason::Ineligible(SkipReason::AccountDisabled) => {
                "Its account is disabled in the directory.".to_owned()
            }
            RevokeReason::Ineligible(reason) => {
                format!("It is not eligible for the group role: {}.", reason.code())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pgrx::pg_sys;

    use super::*;

    const TENANT: Uuid = Uuid::from_u128(1);
    const REQUIREMENTS: GroupRequirements = GroupRequirements {
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
    fn only_an_eligible_role_of_a_member_keeps_the_group_role() {
        use PrincipalKind::{Service, User};
        let disabled = Principal {
            enabled: false,
            ..member(User, 5)
        };
        let members = Members::new(vec![member(User, 3), member(Service, 4), disabled]);
        let revoke_reason = |role: MappedRole| members.revoke_reason(&role, REQUIREMENTS);
        assert_eq!(revoke_reason(role(User, 3)), None);
        assert_eq!(revoke_reason(role(Service, 4)), None);
        assert_eq!(revoke_reason(role(Service, 1004)), None);
        let not_member = Some(RevokeReason::NotMember);
        assert_eq!(revoke_reason(role(User, 9)), not_member);
        assert_eq!(revoke_reason(role(User, 1004)), not_member);
        let elsewhere = MappedRole {
            tenant: Uuid::from_u128(2),
            ..role(User, 3)
        };
        assert_eq!(revoke_reason(elsewhere), not_member);
        for (role, reason) in [
            (role(User, 5), SkipReason::AccountDisabled),
            (role(Service, 3), SkipReason::LabelsInvalid),
        ] {
            assert_eq!(revoke_reason(role), Some(RevokeReason::Ineligible(reason)));
        }
        let mfa = GroupRequirements {
            mfa: true,
            ..REQUIREMENTS
        };
        assert_eq!(
            members.revoke_reason(&role(User, 3), mfa),
            Some(RevokeReason::Ineligible(SkipReason::MfaRequired))
        );
    }
}
