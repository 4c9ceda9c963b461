//! Group roles.

use entra_token::{Mapping, Membership, PrincipalKind, Reason, judge};
use serde_json::{Value, json};

use crate::common::*;

/// Groups.
#[test]
fn membership_is_read_from_group_ids() {
    let with_groups = |groups: Value| setting(user_v1(), "groups", groups);
    for (claims, expected) in [
        (user_v1(), Ok(())),
        (with_groups(json!([OTHER_GROUP, GROUP])), Ok(())),
        (with_groups(json!([GROUP, GROUP])), Ok(())),
        (
            with_groups(json!([GROUP.to_string().to_uppercase()])),
            Ok(()),
        ),
        // A name may look like an id, so that with a name among them none counts.
        (
            with_groups(json!(["Contoso\\DBAs", GROUP])),
            Err(Reason::GroupsUnknown),
        ),
        (with_groups(json!([])), Err(Reason::NotAGroupMember)),
        (
            with_groups(json!([OTHER_GROUP])),
            Err(Reason::NotAGroupMember),
        ),
        (
            with_groups(json!([format!("{GROUP}0")])),
            Err(Reason::GroupsUnknown),
        ),
        (
            with_groups(json!([format!("x{GROUP}")])),
            Err(Reason::GroupsUnknown),
        ),
        (
            with_groups(json!([format!("{{{GROUP}}}")])),
            Err(Reason::GroupsUnknown),
        ),
        (with_groups(json!(["dbas"])), Err(Reason::GroupsUnknown)),
        (without(user_v1(), "groups"), Err(Reason::GroupsUnknown)),
        (
            setting(user_v1(), "hasgroups", true),
            Err(Reason::GroupsUnknown),
        ),
        (setting(user_v1(), "hasgroups", false), Ok(())),
        (
            setting(without(user_v1(), "groups"), "hasgroups", true),
            Err(Reason::GroupsUnknown),
        ),
        (
            setting(user_v1(), "_claim_names", json!({ "groups": "src1" })),
            Err(Reason::GroupsUnknown),
        ),
        (
            setting(user_v1(), "_claim_names", json!({ "other": "src1" })),
            Ok(()),
        ),
        (
            setting(
                setting(
                    without(user_v1(), "groups"),
                    "_claim_names",
                    json!({ "groups": "src1" }),
                ),
                "_claim_sources",
                json!({ "src1": { "endpoint": "https://evil.example/getMemberObjects" } }),
            ),
            Err(Reason::GroupsUnknown),
        ),
        // Ids of another sort do not count as groups.
        (
            setting(with_groups(json!([])), "wids", json!([GROUP])),
            Err(Reason::NotAGroupMember),
        ),
        (
            setting(with_groups(json!([])), "roles", json!([GROUP])),
            Err(Reason::NotAGroupMember),
        ),
    ] {
        assert_eq!(outcome(&claims, &group()), expected, "{claims}");
    }
    // A principal whose id is the group's is no member of it.
    let namesake = setting(with_groups(json!([])), "oid", json!(GROUP));
    assert_eq!(outcome(&namesake, &group()), Err(Reason::NotAGroupMember));
    // And the user role of that id does not open to its members.
    assert_eq!(
        outcome(&user_v1(), &mapping(PrincipalKind::User, GROUP)),
        Err(Reason::ObjectIdMismatch)
    );
}

/// Names are not compared, and where there are some, ids may be missing.
#[test]
fn names_in_place_of_ids_are_noticed() {
    for (groups, expected) in [
        (json!([]), false),
        (json!([GROUP]), false),
        (json!([GROUP, "dbas"]), true),
        (json!(["dbas"]), true),
    ] {
        let claims = verified(&setting(user_v1(), "groups", groups.clone()));
        assert_eq!(claims.has_group_names(), expected, "{groups}");
    }
    assert!(!verified(&without(user_v1(), "groups")).has_group_names());
}

/// The caller's knowledge of the membership counts for group roles, and for no others.
#[test]
fn membership_matters_to_group_roles_alone() {
    let claims = verified(&without(user_v1(), "groups"));
    let refusal =
        |mapping: &Mapping, membership| judge(&policy(), mapping, &claims, membership, NOW).refusal;
    assert_eq!(refusal(&group(), Membership::Member), None);
    assert_eq!(
        refusal(&group(), Membership::NotMember),
        Some(Reason::NotAGroupMember)
    );
    assert_eq!(
        refusal(&group(), Membership::Unknown),
        Some(Reason::GroupsUnknown)
    );
    let busy = Membership::Unanswered(Reason::DirectoryBusy);
    assert_eq!(refusal(&group(), busy), Some(Reason::DirectoryBusy));
    for membership in [
        Membership::Member,
        Membership::NotMember,
        Membership::Unknown,
        busy,
    ] {
        assert_eq!(refusal(&alice(), membership), None);
        let other = mapping(PrincipalKind::User, SERVICE);
        assert_eq!(refusal(&other, membership), Some(Reason::ObjectIdMismatch));
    }
}

/// A directory is asked only about principals that would get in if they were members.
#[test]
fn only_what_else_is_good_hinges_on_the_membership() {
    let hinges = |claims: &Value, mapping: &Mapping| {
        let claims = verified(claims);
        let membership = claims.membership(mapping.object_id);
        judge(&policy(), mapping, &claims, membership, NOW).hinges_on_membership()
    };
    let unknown = || without(user_v1(), "groups");
    assert!(hinges(&unknown(), &group()));
    assert!(hinges(&setting(user_v1(), "hasgroups", true), &group()));
    // The token itself says it, or the role asks for no membership.
    assert!(!hinges(&user_v1(), &group()));
    assert!(!hinges(
        &setting(user_v1(), "groups", json!([OTHER_GROUP])),
        &group()
    ));
    assert!(!hinges(&unknown(), &alice()));
    // Something else is wrong, be it checked before the membership or after.
    for (claim, value) in [
        ("aud", json!("api://other")),
        ("exp", json!(NOW - 3600)),
        ("tid", json!(OTHER_TENANT)),
        ("scp", json!("")),
    ] {
        assert!(
            !hinges(&setting(unknown(), claim, value), &group()),
            "{claim}"
        );
    }
    let with_mfa = Mapping {
        mfa: true,
        ..group()
    };
    assert!(!hinges(
        &setting(unknown(), "amr", json!(["pwd"])),
        &with_mfa
    ));
    assert!(hinges(
        &setting(unknown(), "amr", json!(["pwd", "mfa"])),
        &with_mfa
    ));
}
