//! Who of a group's members is to have the group role, by which role of theirs, and who can't.
//!
//! No input or output: the members, the mapped roles and the group are arguments.

use entra_api::Principal;
use entra_token::PrincipalKind;
use pgrx::pg_sys;
use uuid::Uuid;

use crate::principals::lookup;
use crate::principals::mapped::{MappedRole, MappedRoles};
use crate::principals::member::Terms;
use crate::text::Shown;

/// What keeps a member from having a role, or a group from being synchronised. The codes are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Another role has the name, local or somebody else's.
    NameTaken,
    NameTooLong,
    /// A name that PostgreSQL keeps for itself.
    NameReserved,
    /// No name, or one that isn't what it looks like.
    NameUnusable,
    /// The directory lets nobody sign in with the account.
    AccountDisabled,
    /// The group's role demands multi-factor authentication and the member's doesn't, or can't.
    MfaRequired,
    /// The member's role is mapped as another type of principal.
    TypeDiffers,
    /// The labels of the member's role are of no use.
    LabelsDamaged,
    /// PostgreSQL refused.
    Failed,
    /// The group's role is an Entra admin.
    AdminGroup,
    /// The group's role has rights that only superusers hand out, or that administer others.
    PrivilegedGroup,
    /// The group's role is mapped in a tenant that isn't the configured one.
    OtherTenant,
    /// The members could not be listed, or not all.
    ListingFailed,
    /// The directory has no such group.
    GroupNotFound,
}

impl Obstacle {
    pub const fn code(self) -> &'static str {
        match self {
            Obstacle::NameTaken => "name-taken",
            Obstacle::NameTooLong => "name-too-long",
            Obstacle::NameReserved => "name-reserved",
            Obstacle::NameUnusable => "name-unusable",
            Obstacle::AccountDisabled => "account-disabled",
            Obstacle::MfaRequired => "mfa-required",
            Obstacle::TypeDiffers => "type-differs",
            Obstacle::LabelsDamaged => "labels-damaged",
            Obstacle::Failed => "failed",
            Obstacle::AdminGroup => "admin-group",
            Obstacle::PrivilegedGroup => "privileged-group",
            Obstacle::OtherTenant => "other-tenant",
            Obstacle::ListingFailed => "listing-failed",
            Obstacle::GroupNotFound => "group-not-found",
        }
    }

    /// What a member's obstacle means, where the code doesn't say it all.
    pub const fn sentence(self) -> Option<&'static str> {
        match self {
            Obstacle::NameTooLong => Some(
                "A role's name has at most 63 bytes. pgaadauth_create_principal_with_oid takes another name.",
            ),
            Obstacle::NameReserved | Obstacle::NameUnusable => Some(
                "No role is given that name. pgaadauth_create_principal_with_oid takes another one.",
            ),
            Obstacle::MfaRequired => Some(
                "The group's role demands multi-factor authentication, and a role of the member's doesn't, or can't.",
            ),
            Obstacle::TypeDiffers => {
                Some("A role is mapped to this object id, but as another type of principal.")
            }
            Obstacle::LabelsDamaged => {
                Some("A role is mapped to this object id, but its labels disagree.")
            }
            _ => None,
        }
    }
}

/// What is due to one member.
#[derive(Debug, PartialEq, Eq)]
pub enum Due<'a> {
    /// The group role, by roles that the member has.
    Roles(Vec<&'a MappedRole>),
    /// A role of their own, and the group role by it.
    NewRole,
    Nothing(Obstacle),
}

/// The roles that stand for the principal: by object id, and by application id for a service.
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

/// What is due to a member of the group.
///
/// A role that doesn't demand multi-factor authentication doesn't get a group role that does:
/// otherwise whoever signs in with the own name would have the group's rights without it.
pub fn due<'a>(member: &Principal, terms: Terms, mapped: &'a MappedRoles) -> Due<'a> {
    if !member.enabled {
        return Due::Nothing(Obstacle::AccountDisabled);
    }
    let mut fit = Vec::new();
    let mut obstacle = None;
    for role in roles_of(member, terms.tenant, mapped) {
        match unfit(role, member, terms) {
            None => fit.push(role),
            found => obstacle = found,
        }
    }
    if !fit.is_empty() {
        return Due::Roles(fit);
    }
    if let Some(obstacle) = obstacle {
        return Due::Nothing(obstacle);
    }
    // A service can't prove a second factor: its role could never be signed in to.
    if terms.mfa && member.kind == PrincipalKind::Service {
        return Due::Nothing(Obstacle::MfaRequired);
    }
    match name_obstacle(member) {
        None => Due::NewRole,
        Some(obstacle) => Due::Nothing(obstacle),
    }
}

/// Why the role, which stands for the member, can't have the group role.
pub fn unfit(role: &MappedRole, member: &Principal, terms: Terms) -> Option<Obstacle> {
    if !role.is_sound {
        Some(Obstacle::LabelsDamaged)
    } else if role.kind != member.kind {
        Some(Obstacle::TypeDiffers)
    } else if terms.mfa && !role.mfa {
        Some(Obstacle::MfaRequired)
    } else {
        None
    }
}

/// Why no role gets the member's name, whoever has it.
///
/// People read names, in `psql`, in logs, in the arguments of GRANT. So what a name shows must be what
/// it is; and an application, whose owner names it as they like, must not pass for a user.
fn name_obstacle(member: &Principal) -> Option<Obstacle> {
    let name = member.name.as_str();
    let is_shown = Shown::new(name).to_string() == name && name.trim() == name;
    let passes_for_user = member.kind == PrincipalKind::Service && lookup::has_at_sign(name);
    if name.is_empty() || !is_shown || passes_for_user {
        Some(Obstacle::NameUnusable)
    } else if name.len() >= pg_sys::NAMEDATALEN as usize {
        Some(Obstacle::NameTooLong)
    } else if name.starts_with("pg_") || ["public", "none"].contains(&name) {
        // catalog.c, IsReservedName; acl.c, check_rolespec_name.
        Some(Obstacle::NameReserved)
    } else {
        None
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    const TENANT: Uuid = Uuid::from_u128(1);
    const TERMS: Terms = Terms {
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

    fn obstacle(member: &Principal, terms: Terms, roles: &[MappedRole]) -> Obstacle {
        match due(member, terms, &roles.iter().copied().collect()) {
            Due::Nothing(obstacle) => obstacle,
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
    fn a_role_that_is_no_fit_is_an_obstacle_and_no_reason_for_another_role() {
        let mfa = Terms { mfa: true, ..TERMS };
        let alice = role(PrincipalKind::User, 7, 70);
        assert_eq!(obstacle(&user(7), mfa, &[alice]), Obstacle::MfaRequired);
        let service = role(PrincipalKind::Service, 7, 70);
        assert_eq!(obstacle(&user(7), TERMS, &[service]), Obstacle::TypeDiffers);
        let damaged = MappedRole {
            is_sound: false,
            ..alice
        };
        assert_eq!(
            obstacle(&user(7), TERMS, &[damaged]),
            Obstacle::LabelsDamaged
        );
        let disabled = Principal {
            enabled: false,
            ..user(7)
        };
        for roles in [&[alice][..], &[]] {
            assert_eq!(obstacle(&disabled, TERMS, roles), Obstacle::AccountDisabled);
        }
        let with_mfa = [MappedRole { mfa: true, ..alice }];
        let mapped = with_mfa.iter().copied().collect();
        assert_eq!(
            due(&user(7), mfa, &mapped),
            Due::Roles(with_mfa.iter().collect())
        );
    }

    #[test]
    fn a_service_gets_no_role_that_it_could_not_sign_in_to() {
        let mfa = Terms { mfa: true, ..TERMS };
        let none: MappedRoles = [].into_iter().collect();
        assert_eq!(due(&user(7), mfa, &none), Due::NewRole);
        let service = principal(PrincipalKind::Service, 7, "reporting");
        assert_eq!(due(&service, TERMS, &none), Due::NewRole);
        assert_eq!(obstacle(&service, mfa, &[]), Obstacle::MfaRequired);
    }

    #[test]
    fn names_are_what_they_look_like_or_not_used() {
        use Obstacle::*;
        for (name, expected) in [
            ("", Some(NameUnusable)),
            (" alice", Some(NameUnusable)),
            ("alice ", Some(NameUnusable)),
            ("alice\u{a0}", Some(NameUnusable)),
            ("line\nbreak", Some(NameUnusable)),
            ("bell\u{7}", Some(NameUnusable)),
            ("nul\0", Some(NameUnusable)),
            ("right\u{202e}left", Some(NameUnusable)),
            ("zero\u{200b}width", Some(NameUnusable)),
            ("pg_monitor", Some(NameReserved)),
            ("public", Some(NameReserved)),
            ("none", Some(NameReserved)),
            ("x\"; ALTER ROLE x SUPERUSER; --", None),
            ("PG_monitor", None),
            ("Zoë O'Hara", None),
        ] {
            let service = principal(PrincipalKind::Service, 7, name);
            assert_eq!(name_obstacle(&service), expected, "{name:?}");
        }
        let long = |letters: usize| principal(PrincipalKind::User, 7, &"é".repeat(letters));
        assert_eq!(name_obstacle(&long(31)), None);
        assert_eq!(name_obstacle(&long(32)), Some(NameTooLong));
        let imitation = principal(PrincipalKind::Service, 7, "alice@contoso.com");
        assert_eq!(name_obstacle(&imitation), Some(NameUnusable));
        assert_eq!(name_obstacle(&user(7)), None);
    }
}
