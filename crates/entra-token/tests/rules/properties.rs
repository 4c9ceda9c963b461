//! Properties that hold for any input.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use entra_token::{
    Audience, Authority, Cloud, Envelope, InternalLabel, KeySet, MAX_LABEL, Mapping, Metadata,
    Policy, PrincipalKind, PublicLabel, Reason, TokenVersion,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::*;

fn guid() -> impl Strategy<Value = Uuid> {
    any::<u128>()
        .prop_filter("nil", |n| *n != 0)
        .prop_map(Uuid::from_u128)
}

fn kind() -> impl Strategy<Value = PrincipalKind> {
    prop_oneof![
        Just(PrincipalKind::User),
        Just(PrincipalKind::Group),
        Just(PrincipalKind::Service)
    ]
}

fn public_label() -> impl Strategy<Value = PublicLabel> {
    (
        proptest::option::of((kind(), guid())),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(principal, admin, mfa)| match principal {
            None => PublicLabel::ByName { admin, mfa },
            Some((kind, object_id)) => PublicLabel::Principal {
                kind,
                object_id,
                admin,
                mfa,
            },
        })
}

fn internal_label() -> impl Strategy<Value = InternalLabel> {
    (kind(), guid(), guid(), any::<bool>()).prop_map(|(kind, object_id, tenant, admin)| {
        InternalLabel {
            kind,
            object_id,
            tenant,
            admin,
        }
    })
}

/// Text that looks like a label to a varying degree.
fn near_label() -> impl Strategy<Value = String> {
    let member = prop_oneof![
        Just("aadauth".to_owned()),
        Just("admin".to_owned()),
        Just("mfa".to_owned()),
        Just("type=user".to_owned()),
        guid().prop_map(|guid| format!("oid={guid}")),
        guid().prop_map(|guid| format!("tenant_id={guid}")),
        "[a-z_=, ]{0,8}",
    ];
    proptest::collection::vec(member, 0..6).prop_map(|members| members.join(","))
}

/// Any JSON, of the depth and the names that matter here.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(Value::from("RSA")),
        Just(Value::from("AQAB")),
    ];
    let name = prop_oneof![
        "(keys|kty|kid|n|e|use|alg|iss|tid|aud|exp|groups|oid)",
        any::<String>()
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::hash_map(name.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn public_labels_survive_a_round_trip(label in public_label()) {
        let text = label.to_string();
        prop_assert!(text.len() <= MAX_LABEL);
        prop_assert_eq!(text.parse(), Ok(label));
    }

    #[test]
    fn internal_labels_survive_a_round_trip(label in internal_label()) {
        let text = label.to_string();
        prop_assert!(text.len() <= MAX_LABEL);
        prop_assert_eq!(text.parse(), Ok(label));
    }

    /// Whatever is read means the same when written, and read again.
    #[test]
    fn labels_mean_what_they_say(text in near_label()) {
        if let Ok(label) = text.parse::<PublicLabel>() {
            prop_assert_eq!(label.to_string().parse(), Ok(label));
            prop_assert_eq!(text.split(',').any(|member| member == "admin"), text.parse::<PublicLabel>().unwrap().admin());
        }
        if let Ok(label) = text.parse::<InternalLabel>() {
            prop_assert_eq!(label.to_string().parse(), Ok(label));
        }
    }

    #[test]
    fn a_mapping_is_what_both_labels_say(public in public_label(), internal in internal_label()) {
        let (p, i) = (public.to_string(), internal.to_string());
        match Mapping::from_labels(Some(&p), Some(&i)) {
            Ok(Some(mapping)) => {
                prop_assert!(public.agrees_with(&internal));
                prop_assert_eq!(mapping.object_id, internal.object_id);
                prop_assert_eq!(mapping.admin, internal.admin && public.admin());
                prop_assert_eq!(mapping.mfa, public.mfa());
            }
            Ok(None) => prop_assert!(false, "a labeled role is never unmapped"),
            Err(reason) => {
                prop_assert!(!public.agrees_with(&internal));
                prop_assert_eq!(reason, Reason::LabelConflict);
            }
        }
    }

    #[test]
    fn damaged_labels_never_make_a_role_local(text in any::<String>()) {
        prop_assert_ne!(Mapping::from_labels(Some(&text), None), Ok(None));
        prop_assert_ne!(Mapping::from_labels(None, Some(&text)), Ok(None));
    }

    #[test]
    fn no_bytes_make_the_envelope_panic(token in any::<Vec<u8>>()) {
        prop_assert!(Envelope::parse(&token, 16 * 1024).is_err());
    }

    #[test]
    fn no_parts_make_the_envelope_panic(header in any::<Vec<u8>>(), payload in any::<Vec<u8>>()) {
        let token = format!("{}.{}.{}", encode(&header), encode(&payload), encode(b"x"));
        prop_assert!(Envelope::parse(token.as_bytes(), 16 * 1024).is_err());
    }

    /// A payload of any shape under a good header and signature.
    #[test]
    fn no_payload_makes_a_sign_in_panic(payload in json_value()) {
        prop_assert!(sign_in(&ISSUER.token(&payload), &alice()).is_err());
    }

    #[test]
    fn no_key_set_makes_the_reader_panic(text in any::<Vec<u8>>(), set in json_value()) {
        let read = |json: &[u8]| KeySet::from_jwks(TokenVersion::V1, "x", TENANT, json).is_ok();
        prop_assert!(!read(&text));
        let in_set = json!({ "keys": [set.clone()] }).to_string();
        prop_assert!(!read(in_set.as_bytes()));
        prop_assert!(!read(set.to_string().as_bytes()));
        prop_assert!(Metadata::parse(set.to_string().as_bytes(), "x", &Authority::default()).is_err());
    }

    #[test]
    fn settings_are_parsed_without_panic(text in any::<String>()) {
        let _ = text.parse::<Cloud>();
        let _ = Authority::check_host(&text);
        let _ = Authority::check_host(&format!("https://{text}"));
        if let Ok(audiences) = Audience::parse_list(&text, Cloud::Public) {
            for audience in audiences {
                prop_assert!(audience.matches(&audience.to_string()));
            }
        }
    }

    /// Extreme times overflow nothing, and what passes has kept every rule.
    #[test]
    fn times_are_judged_without_overflow(
        exp in any::<i64>(), nbf in any::<i64>(), iat in any::<i64>(), now in any::<i64>(),
        near in any::<bool>(), clock_skew in 0..=300_i64, max_token_lifetime in 1..=i64::MAX,
    ) {
        let close = |time: i64| if near { NOW.saturating_add(time % 2000) } else { time };
        let (exp, nbf, iat, now) = (close(exp), close(nbf), close(iat), close(now));
        let policy = Policy { clock_skew, max_token_lifetime, ..policy() };
        let claims = with(user_v1(), |claims| {
            claims["exp"] = exp.into();
            claims["nbf"] = nbf.into();
            claims["iat"] = iat.into();
        });
        let claims = verify(&ISSUER.token(&claims), &policy, now).unwrap();
        let accepted = judged(&policy, &alice(), &claims, now).refusal.is_none();
        let (exp, nbf, iat) = (i128::from(exp), i128::from(nbf), i128::from(iat));
        let (now, skew) = (i128::from(now), i128::from(clock_skew));
        let expected = now < exp + skew
            && now + skew >= nbf
            && iat <= now + skew
            && exp > nbf
            && exp - nbf <= i128::from(max_token_lifetime);
        prop_assert_eq!(accepted, expected);
    }
}

/// Every bit of a token counts, and every byte has its place.
#[test]
fn no_altered_token_is_accepted() {
    let token = ISSUER.token(&user_v1()).into_bytes();
    let policy = policy();
    let key = ISSUER.key_set(TokenVersion::V1).keys.remove(0);
    let accepted = |token: &[u8]| {
        Envelope::parse(token, policy.max_token_size)
            .and_then(|it| it.verify(&key))
            .is_ok()
    };
    assert!(accepted(&token));
    for at in 0..token.len() {
        for bit in 0..8 {
            let mut altered = token.clone();
            altered[at] ^= 1 << bit;
            assert!(!accepted(&altered), "bit {bit} of byte {at}");
        }
        let mut shorter = token.clone();
        shorter.remove(at);
        assert!(!accepted(&shorter), "without byte {at}");
        let mut longer = token.clone();
        longer.insert(at, b'A');
        assert!(!accepted(&longer), "an A before byte {at}");
        assert!(!accepted(&token[..at]), "cut at byte {at}");
    }
}
