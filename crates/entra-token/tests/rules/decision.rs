//! What a verified token says, against policy and role: order, issuer, tenant, audience.

use entra_token::{Mapping, Reason, Step, TokenVersion, judge_token};
use serde_json::{Value, json};

use crate::common::*;

/// Every reason of steps 4 to 9: a token that differs from a valid one in only that respect.
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

/// Should anything ever get past the choice of the key set,
/// the decision itself refuses other issuers and tenants.
#[test]
fn issuer_version_and_tenant_are_judged_once_more() {
    let reasons = |claims: &Value, mapping: &Mapping| {
        let judgment = judged(&policy(), mapping, &verified(claims), NOW);
        judgment
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

/// What `aud` may be; its spellings are tested with `Audience`.
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
    let judgment = judged(&none, &alice(), &verified(&user_v1()), NOW);
    assert_eq!(judgment.refusal, Some(Reason::AudienceMismatch));
}

/// The first failure is the reason, in the order of the steps, and none hides another.
#[test]
fn checks_run_in_order_and_all_of_them() {
    let mut claims = json!({ "iss": "x", "tid": "x", "ver": "x" });
    let judgment = judged(&policy(), &with_mfa(alice()), &verified(&claims), NOW);
    let names: Vec<_> = judgment.checks.iter().map(|check| check.name).collect();
    assert_eq!(names.len(), 16);
    assert!(
        judgment.checks.iter().all(|check| check.outcome.is_err()),
        "{judgment:?}"
    );
    let steps: Vec<Step> = judgment
        .checks
        .iter()
        .map(|check| check.outcome.unwrap_err().step())
        .collect();
    assert!(steps.is_sorted(), "{steps:?}");
    assert_eq!(judgment.refusal, Some(Reason::IssuerMismatch));

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
    let alone = |claims: Value| judge_token(&policy(), &verified(&claims), NOW);
    assert_eq!(alone(user_v1()).refusal, None);
    assert_eq!(alone(service_v2()).refusal, None);
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
        assert_eq!(alone(claims).refusal, Some(reason));
    }
    // Every check of it is one that a sign-in makes, and under the same name.
    let whole = judged(&policy(), &alice(), &verified(&user_v1()), NOW).checks;
    assert!(
        alone(user_v1())
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
