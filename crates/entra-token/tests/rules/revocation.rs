//! Who is revoked by which id.

use entra_token::{Mapping, PrincipalKind, REVOCATION_CHECK, Reason, RevocableIds};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::*;

/// The reason for which a good sign-in is refused when these ids are revoked.
fn refusal(claims: &Value, mapping: &Mapping, revoked: &[Uuid]) -> Option<Reason> {
    let claims = verified(claims);
    let ids = RevocableIds::of(mapping, &claims).unwrap();
    let is_revoked = ids.any(|id| revoked.contains(&id));
    let judgment = judged(&policy(), mapping, &claims, NOW);
    assert_eq!(judgment.refusal, None);
    let judgment = judgment.with_revocation(is_revoked);
    let last = judgment.checks.last().unwrap();
    assert_eq!(last.name, REVOCATION_CHECK);
    assert_eq!(last.outcome.is_err(), is_revoked);
    judgment.refusal
}

#[test]
fn a_principal_is_revoked_by_its_object_id() {
    let user = user_v1();
    assert_eq!(refusal(&user, &alice(), &[ALICE]), Some(Reason::Revoked));
    assert_eq!(refusal(&user, &alice(), &[]), None);
    assert_eq!(refusal(&user, &alice(), &[GROUP, SERVICE]), None);
}

#[test]
fn a_group_takes_its_members_with_it_and_a_member_nobody_else() {
    let user = user_v1();
    assert_eq!(refusal(&user, &group(), &[GROUP]), Some(Reason::Revoked));
    assert_eq!(refusal(&user, &group(), &[ALICE]), Some(Reason::Revoked));
    // Who signs in to a role of their own does so without the group.
    assert_eq!(refusal(&user, &alice(), &[GROUP]), None);
}

#[test]
fn an_application_is_revoked_by_either_id_and_its_users_by_neither() {
    for mapped_by in [SERVICE, SERVICE_APP] {
        let mapping = mapping(PrincipalKind::Service, mapped_by);
        for revoked in [SERVICE, SERVICE_APP] {
            let refusal = refusal(&service_v1(), &mapping, &[revoked]);
            assert_eq!(refusal, Some(Reason::Revoked), "{mapped_by} {revoked}");
        }
    }
    assert_eq!(refusal(&user_v1(), &alice(), &[CLIENT]), None);
}

/// The directory is not asked about a principal that would be refused either way.
#[test]
fn no_directory_is_asked_about_who_is_revoked() {
    let claims = verified(&without(user_v1(), "groups"));
    let judgment = judged(&policy(), &group(), &claims, NOW);
    assert!(
        judgment
            .clone()
            .with_revocation(false)
            .hinges_on_membership()
    );
    assert!(!judgment.with_revocation(true).hinges_on_membership());
}

/// What else is wrong counts first.
#[test]
fn it_is_the_last_check() {
    let claims = verified(&setting(user_v1(), "aud", json!("api://other")));
    let judgment = judged(&policy(), &alice(), &claims, NOW).with_revocation(true);
    assert_eq!(judgment.refusal, Some(Reason::AudienceMismatch));
}
