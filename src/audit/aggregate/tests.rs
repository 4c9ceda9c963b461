use entra_token::PrincipalKind;

use super::*;
use crate::identity::Token;

/// Without a server there are no random bytes for an id, so this does not call [`Event::new`].
fn event(role: &str) -> Event {
    Event {
        id: Uuid::from_u128(1),
        at: 1_700_000_000_000_001,
        role: SanitizedText::from(role),
        role_can_login: true,
        outcome: Outcome::Refused,
        reason: Some(Reason::Expired),
        method: SanitizedText::from("entra-token"),
        pooler: None,
        principal: None,
        group_id: None,
        client_address: Some(SanitizedText::from("2001:db8::1")),
        client_port: Some(65_535),
        database: Some(SanitizedText::from("app")),
        application_name: Some(SanitizedText::from("psql")),
        tls: true,
        token: None,
        backend_pid: 42,
        decision_micros: 1234,
        checks: Vec::new(),
        count: 1,
    }
}

fn verified(role: &str, upn: &str) -> Event {
    Event {
        principal: Some(Principal {
            kind: PrincipalKind::Service,
            object_id: Uuid::max(),
            tenant_id: Uuid::max(),
            upn: Some(SanitizedText::from(upn)),
            app_id: Some(Uuid::max()),
            display_name: Some(SanitizedText::from("Alice")),
        }),
        token: Some(Token {
            token_id: Some(SanitizedText::from("uti")),
            audience: Some(SanitizedText::from("api://other")),
            version: Some(SanitizedText::from("2.0")),
            issued_at: Some(10),
            expires_at: Some(20),
            amr: Vec::new(),
            key_id: SanitizedText::from("key"),
        }),
        ..event(role)
    }
}

#[test]
fn the_class_depends_on_the_token_and_on_whether_the_role_can_login() {
    let unknown = Event {
        role_can_login: false,
        ..event("someone")
    };
    let existing = event("someone");
    assert_eq!(Class::of(&existing), [Class::LoginRole, Class::Address]);
    assert_eq!(Class::of(&unknown), [Class::OtherRole, Class::Address]);
    let verified = verified("someone", "a@b");
    assert_eq!(Class::of(&verified), [Class::Verified, Class::Principal]);
    // The row does not show it.
    assert!(!serde_json::to_string(&unknown).unwrap().contains("exists"));
}

#[test]
fn a_summary_keeps_what_its_attempts_have_in_common() {
    let summary = summary(&verified("someone", "alice@contoso.com"));
    let principal = summary.principal.as_ref().unwrap();
    assert_eq!(principal.object_id, Uuid::max());
    assert_eq!(principal.tenant_id, Uuid::max());
    assert_eq!(
        principal.upn,
        Some(SanitizedText::from("alice@contoso.com"))
    );
    assert_eq!(principal.display_name, None);
    assert!(summary.token.is_none() && summary.checks.is_empty());
    assert_eq!((summary.client_port, summary.backend_pid), (None, 0));
    let line = serde_json::to_vec(&summary).unwrap();
    assert!(record::parse(&line).is_some());
}

#[test]
fn the_key_has_role_address_reason_outcome_and_object_id() {
    let event = verified("someone", "alice@contoso.com");
    let other_object_id = event.principal.clone().map(|principal| Principal {
        object_id: Uuid::nil(),
        ..principal
    });
    let others = [
        Event {
            role: SanitizedText::from("other"),
            ..event.clone()
        },
        Event {
            client_address: Some(SanitizedText::from("2001:db8:0:1::1")),
            ..event.clone()
        },
        Event {
            reason: Some(Reason::MfaMissing),
            ..event.clone()
        },
        Event {
            outcome: Outcome::Interrupted,
            ..event.clone()
        },
        Event {
            principal: other_object_id,
            ..event.clone()
        },
    ];
    for other in others {
        assert_ne!(key(&other), key(&event));
    }
    let same = Event {
        client_port: Some(1),
        ..event.clone()
    };
    assert_eq!(key(&same), key(&event));
}

#[test]
fn addresses_of_one_network_have_one_summary() {
    let from = |address: &str| {
        summary(&Event {
            client_address: Some(SanitizedText::from(address)),
            ..event("someone")
        })
    };
    let (one, other) = (from("2001:db8::1"), from("2001:db8::ffff:0:0:2"));
    assert_eq!(key(&one), key(&other));
    let network = SanitizedText::from("2001:db8::/64");
    assert_eq!(one.client_address, Some(network.clone()));
    let record = record::parse(&serde_json::to_vec(&one).unwrap()).unwrap();
    assert_eq!(record.client_address, Some(network));
    assert_ne!(key(&from("192.0.2.1")), key(&from("192.0.2.2")));
    assert_ne!(
        key(&from("::ffff:192.0.2.1")),
        key(&from("::ffff:192.0.2.2"))
    );
    let whole = SanitizedText::from("192.0.2.1");
    assert_eq!(from("192.0.2.1").client_address, Some(whole));
}

/// A role's name has at most 63 bytes, each of which may become four if it is to be escaped.
#[test]
fn a_summary_fits_into_a_slot() {
    let (name, odd_name) = ("\"".repeat(63), "\u{7}".repeat(63));
    let (upn, odd_upn) = ("u".repeat(113), "\u{fffd}".repeat(255));
    for event in [
        event(&odd_name),
        verified(&name, &upn),
        verified(&name, &odd_upn),
        // How the odd ones are counted.
        verified(MANY, &upn),
    ] {
        let longest = Reason::ALL.iter().max_by_key(|reason| reason.code().len());
        let address = "2001:db8:ffff:ffff:ffff:ffff:255.255.255.255%interface";
        let summary = summary(&Event {
            reason: longest.copied(),
            outcome: Outcome::Interrupted,
            client_address: Some(SanitizedText::from(address)),
            ..event
        });
        let slot = Slot {
            minute: 28_000_000,
            individual: 0,
            count: u64::MAX,
            key: key(&summary),
            event: serde_json::to_vec(&summary).unwrap(),
        };
        assert!(slot.bytes().is_some(), "{}", summary.role);
    }
}
