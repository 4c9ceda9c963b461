//! What a verified token says, against policy and role (steps 4 to 9 of a sign-in).
//!
//! "Catalogue" numbers are those of the project's list of known attacks on tokens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use common::*;
use entra_token::{
    Claims, Envelope, Mapping, Membership, PrincipalKind, Reason, Step, TokenKind, TokenVersion,
    judge, judge_token,
};
use serde_json::{Value, json};

/// Steps 2 to 9 on a properly signed token.
fn outcome(claims: &Value, mapping: &Mapping) -> Result<(), Reason> {
    sign_in(&ISSUER.token(claims), mapping)
}

/// The claims of a properly signed token, without asking whether we serve its issuer.
fn verified(claims: &Value) -> Claims {
    let token = ISSUER.token(claims);
    let envelope = Envelope::parse(token.as_bytes(), 64 * 1024).unwrap();
    envelope
        .verify(&ISSUER.key_set(TokenVersion::V1).keys[0])
        .unwrap()
}

fn with_mfa(mapping: Mapping) -> Mapping {
    Mapping {
        mfa: true,
        ..mapping
    }
}

/// Every reason of steps 4 to 9: a token that differs from a good one in that respect alone.
#[test]
fn each_reason_has_its_token() {
    let elsewhere = Mapping {
        tenant: OTHER_TENANT,
        ..alice()
    };
    let nobody = without(without(service_v1(), "idtyp"), "sub");
    let cases: [(Reason, Value, Value, Mapping); 18] = [
        (
            Reason::VersionMismatch,
            user_v1(),
            setting(user_v1(), "ver", "2.0"),
            alice(),
        ),
        (
            Reason::AudienceMismatch,
            user_v1(),
            setting(user_v1(), "aud", "api://other"),
            alice(),
        ),
        (
            Reason::TimeClaimsMissing,
            user_v1(),
            without(user_v1(), "nbf"),
            alice(),
        ),
        (
            Reason::Expired,
            user_v1(),
            setting(user_v1(), "exp", NOW - 60),
            alice(),
        ),
        (
            Reason::NotYetValid,
            user_v1(),
            setting(user_v1(), "nbf", NOW + 61),
            alice(),
        ),
        (
            Reason::IssuedInFuture,
            user_v1(),
            setting(user_v1(), "iat", NOW + 61),
            alice(),
        ),
        (
            Reason::LifetimeTooLong,
            user_v1(),
            setting(user_v1(), "exp", NOW + 90_000),
            alice(),
        ),
        (
            Reason::TokenKindUnknown,
            user_v1(),
            without(user_v1(), "scp"),
            alice(),
        ),
        (
            Reason::ClientIdMissing,
            user_v1(),
            without(user_v1(), "appid"),
            alice(),
        ),
        (
            Reason::UserTokenRequired,
            user_v1(),
            setting(user_v1(), "idtyp", "app"),
            alice(),
        ),
        (
            Reason::ServiceTokenRequired,
            service_v1(),
            setting(user_v1(), "oid", json!(SERVICE)),
            service(),
        ),
        (
            Reason::ObjectIdMissing,
            user_v1(),
            without(user_v1(), "oid"),
            alice(),
        ),
        (
            Reason::ObjectIdMismatch,
            user_v1(),
            setting(user_v1(), "oid", json!(SERVICE)),
            alice(),
        ),
        (
            Reason::GroupsUnknown,
            user_v1(),
            without(user_v1(), "groups"),
            group(),
        ),
        (
            Reason::NotAGroupMember,
            user_v1(),
            setting(user_v1(), "groups", json!([OTHER_GROUP])),
            group(),
        ),
        (
            Reason::MfaMissing,
            user_v1(),
            setting(user_v1(), "amr", json!(["pwd"])),
            with_mfa(alice()),
        ),
        (
            Reason::IssuerNotServed,
            user_v1(),
            setting(user_v1(), "tid", json!(OTHER_TENANT)),
            alice(),
        ),
        (Reason::TokenKindUnknown, service_v1(), nobody, service()),
    ];
    for (reason, good, bad, mapping) in cases {
        assert_eq!(outcome(&good, &mapping), Ok(()), "before {reason}");
        assert_eq!(outcome(&bad, &mapping), Err(reason));
    }
    // Where the role makes the difference.
    assert_eq!(outcome(&user_v1(), &elsewhere), Err(Reason::TenantMismatch));
    assert_eq!(outcome(&user_v2(), &alice()), Ok(()));
    assert_eq!(
        outcome(&user_v2(), &with_mfa(alice())),
        Err(Reason::MfaUnprovable)
    );
}

/// Catalogue 24 and 25 on verified claims: should anything ever get past the choice of the key set,
/// the decision itself refuses other issuers and tenants.
#[test]
fn issuer_version_and_tenant_are_judged_once_more() {
    let reasons = |claims: &Value, mapping: &Mapping| {
        let judgement = judged(&policy(), mapping, &verified(claims), NOW);
        judgement
            .checks
            .iter()
            .filter_map(|check| check.outcome.err())
            .collect::<Vec<_>>()
    };
    assert_eq!(reasons(&user_v1(), &alice()), []);
    let v2 = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
    for (claim, value, expected) in [
        (
            "iss",
            json!(format!("https://sts.windows.net/{OTHER_TENANT}/")),
            vec![Reason::IssuerMismatch, Reason::VersionMismatch],
        ),
        (
            "iss",
            json!(format!("https://sts.windows.net/{TENANT}")),
            vec![Reason::IssuerMismatch, Reason::VersionMismatch],
        ),
        (
            "iss",
            json!(""),
            vec![Reason::IssuerMismatch, Reason::VersionMismatch],
        ),
        ("iss", json!(v2), vec![Reason::VersionMismatch]),
        (
            "tid",
            json!(OTHER_TENANT),
            vec![Reason::TenantMismatch, Reason::TenantMismatch],
        ),
        (
            "tid",
            json!("common"),
            vec![Reason::TenantMismatch, Reason::TenantMismatch],
        ),
    ] {
        assert_eq!(
            reasons(&setting(user_v1(), claim, value), &alice()),
            expected,
            "{claim}"
        );
    }
    assert_eq!(
        reasons(&without(user_v1(), "iss"), &alice()),
        [Reason::IssuerMismatch, Reason::VersionMismatch]
    );
    assert_eq!(
        reasons(&without(user_v1(), "tid"), &alice()),
        [Reason::TenantMismatch, Reason::TenantMismatch]
    );
    // `ver` chooses between `appid` and `azp` as well.
    assert_eq!(
        reasons(&setting(user_v1(), "ver", "2.0"), &alice()),
        [Reason::VersionMismatch, Reason::ClientIdMissing]
    );
    assert_eq!(
        reasons(&without(user_v1(), "ver"), &alice()),
        [Reason::VersionMismatch, Reason::ClientIdMissing]
    );
    let elsewhere = Mapping {
        tenant: OTHER_TENANT,
        ..alice()
    };
    assert_eq!(reasons(&user_v1(), &elsewhere), [Reason::TenantMismatch]);
}

/// Catalogue 26: what `aud` may be; its spellings are tested with `Audience`.
#[test]
fn the_audience_is_ours() {
    let aud = |aud: Value| outcome(&setting(user_v1(), "aud", aud), &alice());
    assert_eq!(aud(json!(AUDIENCE)), Ok(()));
    assert_eq!(aud(json!(format!("{AUDIENCE}/"))), Ok(()));
    for bad in [
        "",
        "https://graph.microsoft.com",
        "00000003-0000-0000-c000-000000000000",
    ] {
        assert_eq!(aud(json!(bad)), Err(Reason::AudienceMismatch), "{bad}");
    }
    assert_eq!(
        outcome(&without(user_v1(), "aud"), &alice()),
        Err(Reason::AudienceMismatch)
    );
    for bad in [json!([]), json!([AUDIENCE]), json!(1), json!(null)] {
        assert_eq!(aud(bad.clone()), Err(Reason::ClaimsMalformed), "{bad}");
    }
    let mut none = policy();
    none.audiences.clear();
    let judgement = judged(&none, &alice(), &verified(&user_v1()), NOW);
    assert_eq!(judgement.refusal, Some(Reason::AudienceMismatch));
}

/// Catalogue 21 to 23: each time at, and one second to either side of, its limit.
#[test]
fn times_have_exact_limits() {
    let policy = policy();
    let at = |claims: &Value, now| {
        judged(&policy, &alice(), &verified(claims), now)
            .refusal
            .map_or(Ok(()), Err)
    };
    let (nbf, exp) = (NOW - 600, NOW + 3000);
    for (now, expected) in [
        (NOW, Ok(())),
        (exp - 1, Ok(())),
        (exp, Ok(())),
        (exp + 59, Ok(())),
        (exp + 60, Err(Reason::Expired)),
        (exp + 61, Err(Reason::Expired)),
        (nbf, Ok(())),
        (nbf - 60, Ok(())),
        (nbf - 61, Err(Reason::NotYetValid)),
        (i64::MAX, Err(Reason::Expired)),
        (i64::MIN, Err(Reason::NotYetValid)),
        (0, Err(Reason::NotYetValid)),
    ] {
        assert_eq!(at(&user_v1(), now), expected, "{now}");
    }
    for (iat, expected) in [
        (NOW, Ok(())),
        (NOW + 60, Ok(())),
        (NOW + 61, Err(Reason::IssuedInFuture)),
        (i64::MAX, Err(Reason::IssuedInFuture)),
        // How long ago a token was issued is no matter of its own: `exp` limits its life.
        (0, Ok(())),
        (i64::MIN, Ok(())),
    ] {
        assert_eq!(
            at(&setting(user_v1(), "iat", iat), NOW),
            expected,
            "iat {iat}"
        );
    }
    let most = policy.max_token_lifetime;
    assert_eq!(most, 90_000);
    for (nbf, exp, expected) in [
        (NOW, NOW + most, Ok(())),
        (NOW, NOW + most + 1, Err(Reason::LifetimeTooLong)),
        (NOW - 600, NOW - 600 + 86_700, Ok(())),
        (NOW, NOW + 100_800, Err(Reason::LifetimeTooLong)),
        (NOW, NOW + 1, Ok(())),
        (NOW, NOW, Err(Reason::LifetimeTooLong)),
        (NOW + 10, NOW + 5, Err(Reason::LifetimeTooLong)),
        (0, NOW + 3000, Err(Reason::LifetimeTooLong)),
        (i64::MIN, i64::MAX, Err(Reason::LifetimeTooLong)),
        (i64::MIN, NOW + 3000, Err(Reason::LifetimeTooLong)),
        (NOW, i64::MAX, Err(Reason::LifetimeTooLong)),
        (i64::MAX, i64::MAX, Err(Reason::NotYetValid)),
        (i64::MIN, i64::MIN, Err(Reason::Expired)),
        (NOW, 0, Err(Reason::Expired)),
        (NOW, -1, Err(Reason::Expired)),
    ] {
        let claims = setting(setting(user_v1(), "nbf", nbf), "exp", exp);
        assert_eq!(at(&claims, NOW), expected, "{nbf} to {exp}");
    }
    for claim in ["exp", "nbf", "iat"] {
        assert_eq!(
            at(&without(user_v1(), claim), NOW),
            Err(Reason::TimeClaimsMissing),
            "{claim}"
        );
    }
}

#[test]
fn skew_and_lifetime_come_from_the_policy() {
    let mut strict = policy();
    strict.clock_skew = 0;
    strict.max_token_lifetime = 3600;
    let at = |now| judged(&strict, &alice(), &verified(&user_v1()), now).refusal;
    assert_eq!(at(NOW + 2999), None);
    assert_eq!(at(NOW + 3000), Some(Reason::Expired));
    assert_eq!(at(NOW - 600), None);
    assert_eq!(at(NOW - 601), Some(Reason::NotYetValid));
    strict.max_token_lifetime = 3599;
    let judgement = judged(&strict, &alice(), &verified(&user_v1()), NOW);
    assert_eq!(judgement.refusal, Some(Reason::LifetimeTooLong));
}

/// Catalogue 27: delegated, app-only, and neither.
#[test]
fn kinds_are_told_by_idtyp_scp_and_sub() {
    let kind = |claims: Value| verified(&claims).kind();
    let bare = || without(user_v1(), "scp");
    let own_subject = || setting(bare(), "sub", json!(ALICE));
    for (claims, expected) in [
        (user_v1(), Some(TokenKind::Delegated)),
        (user_v2(), Some(TokenKind::Delegated)),
        (
            setting(user_v1(), "idtyp", "user"),
            Some(TokenKind::Delegated),
        ),
        (service_v1(), Some(TokenKind::AppOnly)),
        (service_v2(), Some(TokenKind::AppOnly)),
        (without(service_v1(), "idtyp"), Some(TokenKind::AppOnly)),
        (setting(user_v1(), "idtyp", "app"), Some(TokenKind::AppOnly)),
        (own_subject(), Some(TokenKind::AppOnly)),
        // An ID token: no scopes, and a subject that is not the object id.
        (bare(), None),
        (setting(user_v1(), "scp", ""), None),
        (setting(user_v1(), "scp", " "), None),
        (setting(own_subject(), "scp", ""), None),
        (setting(own_subject(), "idtyp", "user"), None),
        (setting(bare(), "idtyp", "user"), None),
        (setting(user_v1(), "idtyp", "device"), None),
        (setting(user_v1(), "idtyp", "App"), None),
        (setting(user_v1(), "idtyp", ""), None),
        // Neither has an object id to be its subject.
        (without(without(bare(), "oid"), "sub"), None),
        (without(own_subject(), "sub"), None),
        (without(own_subject(), "oid"), None),
    ] {
        assert_eq!(kind(claims.clone()), expected, "{claims}");
    }
}

#[test]
fn roles_take_tokens_of_their_kind() {
    let service_group = setting(service_v1(), "groups", json!([GROUP]));
    for (claims, mapping, expected) in [
        (user_v1(), alice(), Ok(())),
        (service_v1(), service(), Ok(())),
        (user_v1(), group(), Ok(())),
        (service_group, group(), Ok(())),
        (
            service_v1(),
            mapping(PrincipalKind::User, SERVICE),
            Err(Reason::UserTokenRequired),
        ),
        (
            user_v1(),
            mapping(PrincipalKind::Service, ALICE),
            Err(Reason::ServiceTokenRequired),
        ),
        // The client application of a user's token is not the one who signs in.
        (
            user_v1(),
            mapping(PrincipalKind::Service, CLIENT),
            Err(Reason::ServiceTokenRequired),
        ),
        (
            without(user_v1(), "scp"),
            group(),
            Err(Reason::TokenKindUnknown),
        ),
    ] {
        assert_eq!(outcome(&claims, &mapping), expected, "{mapping:?}");
    }
}

/// The client id is `appid` in v1 and `azp` in v2, and the other one does not stand in for it.
#[test]
fn the_client_id_is_the_one_of_the_version() {
    assert_eq!(verified(&user_v1()).appid(), Some(CLIENT));
    assert_eq!(verified(&user_v2()).appid(), Some(CLIENT));
    for (good, bad) in [
        (
            user_v1(),
            setting(without(user_v1(), "appid"), "azp", json!(CLIENT)),
        ),
        (
            user_v2(),
            setting(without(user_v2(), "azp"), "appid", json!(CLIENT)),
        ),
        (user_v1(), setting(user_v1(), "appid", "")),
        (
            user_v1(),
            setting(user_v1(), "appid", format!("{{{CLIENT}}}")),
        ),
        (
            user_v1(),
            setting(user_v1(), "appid", "00000000-0000-0000-0000-000000000000"),
        ),
    ] {
        assert_eq!(outcome(&good, &alice()), Ok(()));
        assert_eq!(
            outcome(&bad, &alice()),
            Err(Reason::ClientIdMissing),
            "{bad}"
        );
    }
}

/// Catalogue 28: the object id decides, and names never do.
#[test]
fn users_are_matched_by_object_id_alone() {
    let oid = |oid: String| outcome(&setting(user_v1(), "oid", oid), &alice());
    assert_eq!(oid(ALICE.to_string()), Ok(()));
    assert_eq!(oid(ALICE.to_string().to_uppercase()), Ok(()));
    for bad in [
        String::new(),
        format!("{{{ALICE}}}"),
        ALICE.simple().to_string(),
        ALICE.urn().to_string(),
        format!("{ALICE} "),
        "00000000-0000-0000-0000-000000000000".to_owned(),
        "alice@contoso.example".to_owned(),
    ] {
        assert_eq!(oid(bad.clone()), Err(Reason::ObjectIdMissing), "{bad}");
    }
    // Re-created with the same names: another principal.
    assert_eq!(oid(OTHER_GROUP.to_string()), Err(Reason::ObjectIdMismatch));
    // Renamed, or with an administrator's names: the same principal.
    for name in ["upn", "unique_name", "preferred_username", "name", "email"] {
        let renamed = setting(user_v1(), name, "admin@contoso.example");
        assert_eq!(outcome(&renamed, &alice()), Ok(()), "{name}");
        let stranger = setting(
            setting(user_v1(), "oid", json!(SERVICE)),
            name,
            "alice@contoso.example",
        );
        assert_eq!(
            outcome(&stranger, &alice()),
            Err(Reason::ObjectIdMismatch),
            "{name}"
        );
    }
    // The application id is no user's id.
    assert_eq!(
        outcome(&user_v1(), &mapping(PrincipalKind::User, CLIENT)),
        Err(Reason::ObjectIdMismatch)
    );
}

#[test]
fn services_are_matched_by_object_id_or_application_id() {
    assert_eq!(outcome(&service_v1(), &service()), Ok(()));
    assert_eq!(
        outcome(&service_v1(), &mapping(PrincipalKind::Service, SERVICE_APP)),
        Ok(())
    );
    assert_eq!(
        outcome(&service_v2(), &mapping(PrincipalKind::Service, SERVICE_APP)),
        Ok(())
    );
    for other in [ALICE, CLIENT, GROUP] {
        let mapping = mapping(PrincipalKind::Service, other);
        assert_eq!(
            outcome(&service_v1(), &mapping),
            Err(Reason::ObjectIdMismatch)
        );
    }
    // An application that has no service principal in the tenant gets tokens without `oid`.
    let unregistered = without(service_v1(), "oid");
    assert_eq!(
        outcome(&unregistered, &mapping(PrincipalKind::Service, SERVICE_APP)),
        Err(Reason::ObjectIdMissing)
    );
    let in_group = setting(unregistered, "groups", json!([GROUP]));
    assert_eq!(outcome(&in_group, &group()), Err(Reason::ObjectIdMissing));
}

/// Catalogue 29: groups.
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
        (with_groups(json!(["Contoso\\DBAs", GROUP])), Ok(())),
        (with_groups(json!([])), Err(Reason::NotAGroupMember)),
        (
            with_groups(json!([OTHER_GROUP])),
            Err(Reason::NotAGroupMember),
        ),
        (
            with_groups(json!([format!("{GROUP}0")])),
            Err(Reason::NotAGroupMember),
        ),
        (
            with_groups(json!([format!("x{GROUP}")])),
            Err(Reason::NotAGroupMember),
        ),
        (
            with_groups(json!([format!("{{{GROUP}}}")])),
            Err(Reason::NotAGroupMember),
        ),
        (with_groups(json!(["dbas"])), Err(Reason::NotAGroupMember)),
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
    for membership in [
        Membership::Member,
        Membership::NotMember,
        Membership::Unknown,
    ] {
        assert_eq!(refusal(&alice(), membership), None);
        let other = mapping(PrincipalKind::User, SERVICE);
        assert_eq!(refusal(&other, membership), Some(Reason::ObjectIdMismatch));
    }
}

#[test]
fn mfa_is_proven_by_amr_in_v1_only() {
    let amr = |amr: Value| outcome(&setting(user_v1(), "amr", amr), &with_mfa(alice()));
    assert_eq!(amr(json!(["pwd", "mfa"])), Ok(()));
    assert_eq!(amr(json!(["mfa"])), Ok(()));
    for bad in [
        json!([]),
        json!(["pwd"]),
        json!(["MFA"]),
        json!(["mfa "]),
        json!(["pwd,mfa"]),
    ] {
        assert_eq!(amr(bad.clone()), Err(Reason::MfaMissing), "{bad}");
    }
    assert_eq!(
        outcome(&without(user_v1(), "amr"), &with_mfa(alice())),
        Err(Reason::MfaMissing)
    );
    let v2 = setting(user_v2(), "amr", json!(["mfa"]));
    assert_eq!(outcome(&v2, &with_mfa(alice())), Err(Reason::MfaUnprovable));
    // A role that does not ask for it takes either.
    assert_eq!(
        outcome(&setting(user_v1(), "amr", json!(["pwd"])), &alice()),
        Ok(())
    );
    assert_eq!(outcome(&user_v2(), &alice()), Ok(()));
    assert_eq!(
        outcome(&service_v1(), &with_mfa(service())),
        Err(Reason::MfaMissing)
    );
}

/// Catalogue 30: an actor's token within the token changes nothing.
#[test]
fn nested_actors_are_ignored() {
    let actor = |oid| json!({ "oid": oid, "sub": oid, "tid": TENANT });
    assert_eq!(
        outcome(&setting(user_v1(), "act", actor(SERVICE)), &alice()),
        Ok(())
    );
    let stranger = setting(
        setting(user_v1(), "oid", json!(SERVICE)),
        "act",
        actor(ALICE),
    );
    assert_eq!(outcome(&stranger, &alice()), Err(Reason::ObjectIdMismatch));
}

/// The first failure is the reason, in the order of the steps, and none hides another.
#[test]
fn checks_run_in_order_and_all_of_them() {
    let mut claims = json!({ "iss": "x", "tid": "x", "ver": "x" });
    let judgement = judged(&policy(), &with_mfa(alice()), &verified(&claims), NOW);
    let names: Vec<_> = judgement.checks.iter().map(|check| check.name).collect();
    assert_eq!(names.len(), 16);
    assert!(
        judgement.checks.iter().all(|check| check.outcome.is_err()),
        "{judgement:?}"
    );
    let steps: Vec<Step> = judgement
        .checks
        .iter()
        .map(|check| check.outcome.unwrap_err().step())
        .collect();
    assert!(steps.is_sorted(), "{steps:?}");
    assert_eq!(judgement.refusal, Some(Reason::IssuerMismatch));

    claims = user_v1();
    let good = judged(&policy(), &alice(), &verified(&claims), NOW);
    assert_eq!(
        good.checks
            .iter()
            .map(|check| check.name)
            .collect::<Vec<_>>(),
        names
    );
    assert_eq!(good.refusal, None);
    // The last check fails alone: the ones before it are still there, and passed.
    let late = judged(
        &policy(),
        &with_mfa(alice()),
        &verified(&without(claims, "amr")),
        NOW,
    );
    assert_eq!(
        late.checks
            .iter()
            .filter(|check| check.outcome.is_err())
            .count(),
        1
    );
    assert_eq!(late.refusal, Some(Reason::MfaMissing));
}

#[test]
fn a_token_can_be_judged_without_a_role() {
    let judged = |claims: Value| judge_token(&policy(), &verified(&claims), NOW);
    assert_eq!(judged(user_v1()).refusal, None);
    assert_eq!(judged(service_v2()).refusal, None);
    for (claims, reason) in [
        (setting(user_v1(), "iss", "x"), Reason::IssuerMismatch),
        (setting(user_v1(), "ver", "2.0"), Reason::VersionMismatch),
        (
            setting(user_v1(), "tid", json!(OTHER_TENANT)),
            Reason::TenantMismatch,
        ),
        (setting(user_v1(), "aud", "x"), Reason::AudienceMismatch),
        (setting(user_v1(), "exp", NOW - 60), Reason::Expired),
        (without(user_v1(), "scp"), Reason::TokenKindUnknown),
        (without(user_v1(), "appid"), Reason::ClientIdMissing),
        (without(user_v1(), "oid"), Reason::ObjectIdMissing),
    ] {
        assert_eq!(judged(claims).refusal, Some(reason));
    }
    // Every check of it is one that a sign-in makes, and under the same name.
    let whole = common::judged(&policy(), &alice(), &verified(&user_v1()), NOW).checks;
    assert!(
        judged(user_v1())
            .checks
            .iter()
            .all(|check| whole.contains(check))
    );
}

/// What the audit shows of a token.
#[test]
fn claims_for_people_come_from_the_version_s_members() {
    let v1 = verified(&user_v1());
    assert_eq!(v1.upn(), Some("alice@contoso.example"));
    assert_eq!(v1.name(), Some("Alice"));
    assert_eq!(v1.uti(), Some("dGVzdC11dGk"));
    assert_eq!(v1.oid(), Some(ALICE));
    assert_eq!(v1.tenant(), Some(TENANT));
    assert_eq!(v1.version(), Some(TokenVersion::V1));
    assert_eq!(
        (v1.iat(), v1.nbf(), v1.exp()),
        (Some(NOW - 600), Some(NOW - 600), Some(NOW + 3000))
    );
    assert_eq!(v1.amr(), ["pwd", "mfa"]);
    assert_eq!(verified(&user_v2()).upn(), Some("alice@contoso.example"));
    assert_eq!(verified(&service_v1()).upn(), None);
    let guest = setting(
        without(user_v1(), "upn"),
        "unique_name",
        "live.com#guest@example.com",
    );
    assert_eq!(verified(&guest).upn(), Some("live.com#guest@example.com"));
    let odd = setting(user_v1(), "name", "a\u{0}b\u{1b}[31m");
    assert_eq!(verified(&odd).name(), Some("a\u{0}b\u{1b}[31m"));
}
