use std::collections::HashMap;

use entra_token::{Mapping, PrincipalKind};

use super::*;

const TENANT: Uuid = Uuid::from_u128(7);
const APPLICATION: Uuid = Uuid::from_u128(0xA000);
const ALICE: Uuid = Uuid::from_u128(1);
const MALLORY: Uuid = Uuid::from_u128(2);

fn mapping(object_id: Uuid, kind: PrincipalKind) -> Mapping {
    Mapping {
        kind,
        object_id,
        tenant: TENANT,
        admin: true,
        mfa: false,
    }
}

fn known() -> Known {
    let user = |id| Some(mapping(id, PrincipalKind::User));
    Known {
        tenant: Some(TENANT),
        audiences: vec![Audience::Uri("api://db".into())],
        audience_setting: "api://db".into(),
        issuers: vec!["https://issuer/".into()],
        record: "hostssl all all all pam".into(),
        mapped: HashMap::from([
            ("alice@contoso.com".into(), user(ALICE)),
            ("damaged".into(), None),
        ]),
        local: HashMap::from([("app".into(), false), ("postgres".into(), true)]),
    }
}

fn event(role: &str) -> Recorded {
    Recorded {
        role: role.into(),
        method: "entra-token".into(),
        principal: Some("user mallory@contoso.com".into()),
        object_id: Some(MALLORY),
        ..Recorded::default()
    }
}

fn expect(compared: &Compared, expected: &str, got: &str, remedy: &str) {
    for (text, part) in [
        (&compared.expected, expected),
        (&compared.got, got),
        (&compared.remedy, remedy),
    ] {
        let text = text.as_deref().unwrap_or_default();
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    // With an apostrophe before a statement, psql would take the names in it for commands.
    let remedy = compared.remedy.as_deref().unwrap_or_default();
    let (advice, _) = remedy.split_once('\n').unwrap_or_default();
    assert!(!advice.contains('\''), "{advice}");
}

fn with_audience(version: &str, audience: &str) -> Recorded {
    Recorded {
        token_audience: Some(audience.into()),
        token_version: Some(version.into()),
        ..event("alice@contoso.com")
    }
}

#[test]
fn a_v2_token_is_answered_with_its_application_id() {
    let event = with_audience("2.0", &APPLICATION.to_string());
    let mut known = known();
    let statement = format!(
        "\nALTER SYSTEM SET aadauth.audience = 'api://db,{APPLICATION}';\nSELECT pg_reload_conf();"
    );
    let compared = compare(&event, Reason::AudienceMismatch, &known);
    expect(
        &compared,
        "api://db",
        &format!("a v2 token, audience {APPLICATION}"),
        &statement,
    );
    // It may be that of any application.
    expect(
        &compared,
        "",
        "",
        &format!("if {APPLICATION} is that of the app registration of this server"),
    );
    // Unless the URI has it.
    known.audiences = vec![Audience::Uri(format!("api://{APPLICATION}"))];
    let compared = compare(&event, Reason::AudienceMismatch, &known);
    expect(
        &compared,
        "",
        "",
        "v2 tokens name the application id: add it to aadauth.audience",
    );
}

#[test]
fn a_v1_token_for_another_resource_adds_none() {
    for (version, audience) in [
        ("1.0", APPLICATION.to_string()),
        ("2.0", "api://other".to_owned()),
    ] {
        let event = with_audience(version, &audience);
        let compared = compare(&event, Reason::AudienceMismatch, &known());
        expect(
            &compared,
            "api://db",
            &audience,
            "az account get-access-token --resource 'api://db'",
        );
        assert!(!compared.remedy.unwrap_or_default().contains("ALTER SYSTEM"));
    }
}

#[test]
fn another_principal_s_token() {
    let compared = compare(
        &event("alice@contoso.com"),
        Reason::ObjectIdMismatch,
        &known(),
    );
    let statement = format!(
        "SELECT pgaadauth_update_principal_with_oid('alice@contoso.com', '{MALLORY}', 'user', true, false);"
    );
    expect(
        &compared,
        &ALICE.to_string(),
        &MALLORY.to_string(),
        &statement,
    );
    assert!(
        compared
            .remedy
            .is_some_and(|text| text.starts_with("Only if"))
    );
    // Mallory has a role.
    let mut known = known();
    let own = Some(mapping(MALLORY, PrincipalKind::User));
    known.mapped.insert("mal lory".into(), own);
    let compared = compare(
        &event("alice@contoso.com"),
        Reason::ObjectIdMismatch,
        &known,
    );
    expect(&compared, "", "", "connect with user='mal lory'");
}

#[test]
fn a_service_that_is_mapped_as_a_user() {
    let event = Recorded {
        principal: Some("service job".into()),
        object_id: Some(ALICE),
        ..event("alice@contoso.com")
    };
    let compared = compare(&event, Reason::UserTokenRequired, &known());
    let statement = format!("('alice@contoso.com', '{ALICE}', 'service', true, false);");
    expect(&compared, "user", "service job", &statement);
}

#[test]
fn a_service_is_not_told_to_use_a_second_factor() {
    let service = |role: &str| Recorded {
        principal: Some("service job".into()),
        token_version: Some("1.0".into()),
        ..event(role)
    };
    let mut known = known();
    let job = mapping(MALLORY, PrincipalKind::Service);
    known
        .mapped
        .insert("job".into(), Some(Mapping { mfa: true, ..job }));
    let group = mapping(APPLICATION, PrincipalKind::Group);
    known.mapped.insert("jobs".into(), Some(group));
    let of = |event: &Recorded| compare(event, Reason::MfaMissing, &known);
    let statement = format!(
        "SELECT pgaadauth_update_principal_with_oid('job', '{MALLORY}', 'service', true, false);"
    );
    expect(&of(&service("job")), "\"mfa\"", "amr absent", &statement);
    expect(
        &of(&service("jobs")),
        "\"mfa\"",
        "amr absent",
        "a role of its own, without mfa",
    );
    assert_eq!(of(&event("alice@contoso.com")).remedy, None);
}

#[test]
fn names_that_no_mapped_role_has() {
    let known = known();
    let of = |role: &str, reason| {
        let event = Recorded {
            method: "password".into(),
            principal: None,
            object_id: None,
            ..event(role)
        };
        compare(&event, reason, &known)
    };
    expect(
        &of("Alice@Contoso.com", Reason::PasswordFailed),
        "a role that is mapped",
        "the role \"Alice@Contoso.com\" does not exist",
        "Upper and lower case matter in names of roles: connect with user=alice@contoso.com",
    );
    expect(
        &of("app", Reason::PasswordFailed),
        "",
        "the role \"app\" exists and is not mapped: the client was asked for a password by SCRAM",
        "SELECT pgaadauth_update_principal_with_oid('app', '<object id>', 'user', false, false);",
    );
    let compared = of("postgres", Reason::PasswordFailed);
    expect(&compared, "", "exists and is not mapped", "do not map it");
    assert!(!compared.remedy.unwrap_or_default().contains("SELECT"));
    expect(
        &of("nobody", Reason::PasswordFailed),
        "",
        "does not exist",
        "SELECT pgaadauth_create_principal_with_oid('nobody', '<object id>', 'user', false, false);",
    );
    let long = "ü".repeat(40);
    expect(
        &of(&long, Reason::PasswordFailed),
        "",
        "cut to 63 bytes, and this one has 80",
        "",
    );
    // The token shows whose role is meant.
    let event = Recorded {
        object_id: Some(ALICE),
        ..event("someone")
    };
    let compared = compare(&event, Reason::RoleNotMapped, &known);
    expect(
        &compared,
        "\"alice@contoso.com\", which",
        "\"someone\" does not",
        "user=alice@contoso.com",
    );
}

#[test]
fn before_the_signature_the_server_s_own_is_shown() {
    let compared = compare(&event("alice@contoso.com"), Reason::KeyUnknown, &known());
    expect(&compared, &TENANT.to_string(), "not verified", "");
    expect(&compared, "https://issuer/", "", "");
    assert!(!format!("{compared:?}").contains("mallory"));
}
