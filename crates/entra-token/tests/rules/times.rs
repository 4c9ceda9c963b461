//! The times of a token.

use entra_token::{Mapping, Reason};
use serde_json::Value;

use crate::common::*;

/// Each time at, and one second to either side of, its limit.
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
    let judgment = judged(&strict, &alice(), &verified(&user_v1()), NOW);
    assert_eq!(judgment.refusal, Some(Reason::LifetimeTooLong));
}

#[test]
fn only_the_expiry_is_excused() {
    let expired = setting(user_v1(), "exp", NOW - 60);
    let judge = |claims: &Value, mapping: &Mapping| {
        let judgment = judged(&policy(), mapping, &verified(claims), NOW);
        (judgment.refusal, judgment.with_expiry_excused().refusal)
    };
    assert_eq!(judge(&expired, &alice()), (Some(Reason::Expired), None));
    let other = setting(expired, "oid", SERVICE.to_string());
    let both = (Some(Reason::Expired), Some(Reason::ObjectIdMismatch));
    assert_eq!(judge(&other, &alice()), both);
    let early = setting(user_v1(), "nbf", NOW + 600);
    assert_eq!(judge(&early, &alice()).1, judge(&early, &alice()).0);
}
