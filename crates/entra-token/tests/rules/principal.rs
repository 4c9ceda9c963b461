//! Whose token it is, of which kind, and how its user authenticated.

use entra_token::{PrincipalKind, Reason, TokenKind};
use serde_json::{Value, json};

use crate::common::*;

/// Delegated, app-only, and neither.
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

/// The client id is `appid` in v1 and `azp` in v2, and the other one does not replace it.
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

/// The object id decides, and names never do.
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

/// An actor's token within the token changes nothing.
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
