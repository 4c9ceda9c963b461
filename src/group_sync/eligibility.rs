//! Which roles of a group's members get the group role, and why other members are skipped.
//!
//! No input or output: the members, the mapped roles and the group are arguments.

use entra_api::Principal;
use entra_token::PrincipalKind;
use pgrx::pg_sys;
use uuid::Uuid;

use crate::principals::lookup;
use crate::principals::mapped::{MappedRole, MappedRoles};
use crate::principals::member::GroupRequirements;
use crate::text::{SanitizedText, escapes};

/// Why a member gets no role, or a group is not synchronized. The codes are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// Another role has the name: one that is not mapped, or is mapped to another principal.
    NameTaken,
    /// No name, or one that is too long, that PostgreSQL reserves for itself, that the database's encoding lacks, or that
    /// could be mistaken for another.
    NameUnusable,
    /// The account is disabled in the directory.
    AccountDisabled,
    /// The group's role requires multi-factor authentication and the member's role does not or cannot.
    MfaRequired,
    /// The labels of the member's role are invalid, or map it as another type of principal.
    LabelsInvalid,
    /// PostgreSQL refused.
    Failed,
    /// The group's role is an Entra admin, or has privileges that only a superuser may grant or that administer others.
    PrivilegedGroup,
    /// The group's role is mapped in a tenant other than the configured one.
    OtherTenant,
    /// The members could not be listed, or not all.
    ListingFailed,
    /// The directory has no such group.
    GroupNotFound,
}

impl SkipReason {
    pub const fn code(self) -> &'static str {
        match self {
            SkipReason::NameTaken => "name-taken",
            SkipReason::NameUnusable => "name-unusable",
            SkipReason::AccountDisabled => "account-disabled",
            SkipReason::MfaRequired => "mfa-required",
            SkipReason::LabelsInvalid => "labels-invalid",
            SkipReason::Failed => "failed",
            SkipReason::PrivilegedGroup => "privileged-group",
            SkipReason::OtherTenant => "other-tenant",
            SkipReason::ListingFailed => "listing-failed",
            SkipReason::GroupNotFound => "group-not-found",
        }
    }

    /// An explanation for a member, where the code is not enough.
    pub const fn detail(self) -> Option<&'static str> {
        match self {
            SkipReason::NameUnusable => Some(
                "The name is empty, longer than 63 bytes, reserved, not in the database's encoding, or could be \
                 mistaken for another. pgaadauth_create_principal_with_oid accepts another name.",
            ),
            SkipReason::MfaRequired => Some(
                "The group's role requires multi-factor authentication, and the member's role does not or cannot.",
            ),
            SkipReason::LabelsInvalid => Some(
                "A role is mapped to this object id, but as another type of principal, or its labels disagree.",
            ),
            _ => None,
        }
    }
}

/// What one member must have.
#[derive(Debug, PartialEq, Eq)]
pub enum DesiredState<'a> {
    /// The group role, granted to roles that the member has already.
    Roles(Vec<&'a MappedRole>),
    /// A new role of their own, with the group role granted to it.
    NewRole,
    Skip(SkipReason),
}

/// The roles that are mapped to the principal: by object id, and by application id for a service.
pub fn roles_of<'a>(
    member: &Principal,
    tenant: Uuid,
    mapped: &'a MappedRoles,
) -> impl Iterator<Item = &'a MappedRole> + use<'a> {
    let by_object_id = mapped.of(tenant, member.object_id);
    let by_app_id = match (member.kind, member.app_id) {
        (PrincipalKind::Service, Some(app_id)) if app_id != member.object_id => {
            mapped.of(tenant, app_id)
        }
        _ => &[],
    };
    by_object_id.iter().chain(by_app_id)
}

/// What a member of the group must have.
///
/// A role that does not require multi-factor authentication does not get a group role that does:
/// otherwise its member would have the group's privileges without it.
pub fn desired_state<'a>(
    member: &Principal,
    requirements: GroupRequirements,
    mapped: &'a MappedRoles,
) -> DesiredState<'a> {
    if !member.enabled {
        return DesiredState::Skip(SkipReason::AccountDisabled);
    }
    let mut eligible = Vec::new();
    let mut skip_reason = None;
    for role in roles_of(member, requirements.tenant, mapped) {
        match ineligible(role, member, requirements) {
            None => eligible.push(role),
            found => skip_reason = found,
        }
    }
    if !eligible.is_empty() {
        return DesiredState::Roles(eligible);
    }
    if let Some(reason) = skip_reason {
        return DesiredState::Skip(reason);
    }
    // A service cannot prove a second factor, so nobody could ever sign in as its role.
    if requirements.mfa && member.kind == PrincipalKind::Service {
        return DesiredState::Skip(SkipReason::MfaRequired);
    }
    if name_is_usable(member) {
        DesiredState::NewRole
    } else {
        DesiredState::Skip(SkipReason::NameUnusable)
    }
}

/// Why the role, which is mapped to the member, cannot have the group role.
pub fn ineligible(
    role: &MappedRole,
    member: &Principal,
    requirements: GroupRequirements,
) -> Option<SkipReason> {
    if !role.is_sound || role.kind != member.kind {
        Some(SkipReason::LabelsInvalid)
    } else if requirements.mfa && !role.mfa {
        Some(SkipReason::MfaRequired)
    } else {
        None
    }
}

/// Whether a role may get the member's name, if it is free.
///
/// People read names in `psql`, in logs and in the arguments of GRANT. So a name must be what it looks
/// like, and an application, whose owner chooses its name, must not pass for a user.
fn name_is_usable(member: &Principal) -> bool {
    let name = member.name.as_str();
    let is_shown = SanitizedText::new(name).to_string() == name
        && !name.contains(escapes::is_raw)
        && name.trim() == name;
    let passes_for_user = member.kind == PrincipalKind::Service && lookup::has_at_sign(name);
    let is_too_long = name.len() >= pg_sys::NAMEDATALEN as usize;
    // catalog.c, IsReservedName; acl.c, check_rolespec_name.
    let is_reserved = name.starts_with("pg_") || ["public", "none"].contains(&name);
    !name.is_empty() && is_shown && !passes_for_user && !is_too_long && !is_reserved
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: Uuid = Uuid::from_u128(1);
    const REQUIREMENTS: GroupRequirements = GroupRequirements {
        tenant: TENANT,
        mfa: false,
    };

    fn principal(kind: PrincipalKind, id: u128, name: &str) -> Principal {
        Principal {
            kind,
            object_id: Uuid::from_u128(id),
            name: name.to_owned(),
            app_id: (kind == PrincipalKind::Service).then(|| Uuid::from_u128(id + 1000)),
            enabled: true,
        }
    }

    fn user(id: u128) -> Principal {
        principal(PrincipalKind::User, id, "alice@contoso.com")
    }

    fn role(kind: PrincipalKind, id: u128, role: u32) -> MappedRole {
        MappedRole {
            tenant: TENANT,
            object_id: Uuid::from_u128(id),
            role: pg_sys::Oid::from_u32(role),
            kind,
            admin: false,
            mfa: false,
            is_sound: true,
        }
    }

    fn skip_reason(
        member: &Principal,
        requirements: GroupRequirements,
        roles: &[MappedRole],
    ) -> SkipReason {
        match desired_state(member, requirements, &roles.iter().copied().collect()) {
            DesiredState::Skip(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn roles_are_found_by_object_id_and_by_application_id_for_services() {
        let mapped: MappedRoles = [
            role(PrincipalKind::User, 7, 70),
            role(PrincipalKind::Service, 8, 80),
            role(PrincipalKind::Service, 1009, 90),
            MappedRole {
                tenant: Uuid::from_u128(2),
                ..role(PrincipalKind::User, 5, 50)
            },
        ]
        .into_iter()
        .collect();
        let roles = |member: &Principal| -> Vec<u32> {
            roles_of(member, TENANT, &mapped)
                .map(|role| role.role.to_u32())
                .collect()
        };
        assert_eq!(roles(&user(7)), [70]);
        assert_eq!(roles(&principal(PrincipalKind::Service, 8, "s")), [80]);
        assert_eq!(roles(&principal(PrincipalKind::Service, 9, "s")), [90]);
        assert!(roles(&user(6)).is_empty());
        // That tenant's principal is another one.
        assert!(roles(&user(5)).is_empty());
        // A user has no application id.
        let odd = Principal {
            app_id: Some(Uuid::from_u128(1009)),
            ..user(6)
        };
        assert!(roles(&odd).is_empty());
    }

    #[test]
    fn an_ineligible_role_skips_the_member_and_creates_no_other_role() {
        let mfa = GroupRequirements {
            mfa: true,
            ..REQUIREMENTS
        };
        let alice = role(PrincipalKind::User, 7, 70);
        assert_eq!(
            skip_reason(&user(7), mfa, &[alice]),
            SkipReason::MfaRequired
        );
        let service = role(PrincipalKind::Service, 7, 70);
        assert_eq!(
            skip_reason(&user(7), REQUIREMENTS, &[service]),
            SkipReason::LabelsInvalid
        );
        let damaged = MappedRole {
            is_sound: false,
            ..alice
        };
        assert_eq!(
            skip_reason(&user(7), REQUIREMENTS, &[damaged]),
            SkipReason::LabelsInvalid
        );
        let disabled = Principal {
            enabled: false,
            ..user(7)
        };
        for roles in [&[alice][..], &[]] {
            assert_eq!(
                skip_reason(&disabled, REQUIREMENTS, roles),
                SkipReason::AccountDisabled
            );
        }
        let with_mfa = [MappedRole { mfa: true, ..alice }];
        let mapped = with_mfa.iter().copied().collect();
        assert_eq!(
            desired_state(&user(7), mfa, &mapped),
            DesiredState::Roles(with_mfa.iter().collect())
        );
    }

    #[test]
    fn a_service_gets_no_role_that_it_could_not_sign_in_to() {
        let mfa = GroupRequirements {
            mfa: true,
            ..REQUIREMENTS
        };
        let none: MappedRoles = [].into_iter().collect();
        assert_eq!(desired_state(&user(7), mfa, &none), DesiredState::NewRole);
        let service = principal(PrincipalKind::Service, 7, "reporting");
        assert_eq!(
            desired_state(&service, REQUIREMENTS, &none),
            DesiredState::NewRole
        );
        assert_eq!(skip_reason(&service, mfa, &[]), SkipReason::MfaRequired);
    }

    #[test]
    fn names_are_what_they_look_like_or_not_used() {
        for (name, expected) in [
            ("", false),
            (" alice", false),
            ("alice ", false),
            ("alice\u{a0}", false),
            ("line\nbreak", false),
            ("bell\u{7}", false),
            ("nul\0", false),
            ("right\u{202e}left", false),
            ("zero\u{200b}width", false),
            ("pg_monitor", false),
            ("public", false),
            ("none", false),
            ("x\"; ALTER ROLE x SUPERUSER; --", true),
            ("PG_monitor", true),
            ("Zoë O'Hara", true),
        ] {
            let service = principal(PrincipalKind::Service, 7, name);
            assert_eq!(name_is_usable(&service), expected, "{name:?}");
        }
        let long = |letters: usize| principal(PrincipalKind::User, 7, &"é".repeat(letters));
        assert!(name_is_usable(&long(31)));
        assert!(!name_is_usable(&long(32)));
        let imitation = principal(PrincipalKind::Service, 7, "alice@contoso.com");
        assert!(!name_is_usable(&imitation));
        assert!(name_is_usable(&user(7)));
    }
}
