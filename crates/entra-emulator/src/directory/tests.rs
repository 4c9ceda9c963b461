use std::path::Path;

use uuid::Uuid;

use super::*;

fn problem(from: &str, to: &str) -> String {
    assert!(BUILT_IN.contains(from), "{from}");
    Directory::parse(&BUILT_IN.replacen(from, to, 1), "world.toml")
        .unwrap_err()
        .to_string()
}

fn line_of(text: &str) -> usize {
    BUILT_IN
        .lines()
        .position(|line| line.contains(text))
        .unwrap()
        + 1
}

#[test]
fn built_in_directory_is_good() {
    let directory = Directory::built_in().unwrap();
    let tenant = directory.tenant("CONTOSO.com").unwrap();
    assert_eq!(
        directory.tenant(&tenant.id.to_string()).unwrap().id,
        tenant.id
    );
    assert!(directory.tenant("fabrikam.com").is_none());
    for audience in [
        "api://aada0000-0000-4000-8000-000000000050",
        "https://ossrdbms-aad.database.windows.net/",
        "https://ossrdbms-aad.database.usgovcloudapi.net",
        "https://ossrdbms-aad.database.chinacloudapi.cn",
        "123CD850-d9df-40bd-94d5-c9f07b7fa203",
        "https://management.azure.com/",
        "https://management.core.windows.net/",
    ] {
        assert!(directory.resource(audience).is_some(), "{audience}");
    }
    assert!(
        directory
            .resource("api://aada0000-0000-4000-8000-000000000050//")
            .is_none()
    );
}

#[test]
fn tokens_name_groups_only_where_the_file_says_so() {
    let emit = |text: &str| -> Vec<bool> {
        let resources = Directory::parse(text, "world.toml").unwrap().resources;
        resources.iter().map(|resource| resource.groups).collect()
    };
    assert!(emit(BUILT_IN)[..2].iter().all(|groups| *groups));
    let silent = emit(&BUILT_IN.replace("groups = true\n", ""));
    assert!(silent.len() > 2 && !silent.contains(&true), "{silent:?}");
}

#[test]
fn mistakes_are_named_with_their_line_and_field() {
    for (from, to, wanted) in [
        (
            "upn = \"carol@contoso.com\"",
            "upn = \"carol@fabrikam.com\"",
            "upn: must end in @",
        ),
        (
            "upn = \"carol@contoso.com\"",
            "upn = \"Alice@contoso.com\"",
            "occurs twice",
        ),
        (
            "kind = \"user\"",
            "kind = \"system\"",
            "kind: the machine has one",
        ),
        (
            "version = 2",
            "version = 3",
            "version: 3 is neither 1 nor 2",
        ),
        (
            "oid = \"ca401000-0000-4000-8000-000000000003\"",
            "oid = \"a11ce000-0000-4000-8000-000000000001\"",
            "already used as oid",
        ),
        (
            "members = [\"alice@contoso.com\", \"carol@contoso.com\"]",
            "members = [\"eve\"]",
            "members: the tenant has nothing named \"eve\"",
        ),
        (
            "home = \"fab41ca0-0000-4000-8000-00000000000f\"",
            "home = \"x\"",
            "home: \"x\" is neither",
        ),
        (
            "secrets = [\"reporting-secret\"]",
            "secrets = [\"\"]",
            "secrets: a secret must not",
        ),
        (
            "secrets = [\"reporting-secret\"]",
            "redirect_uris = [\"http://contoso.com\"]",
            "redirect_uris: \"http://contoso.com\" is neither",
        ),
    ] {
        let text = problem(from, to);
        let line = format!("world.toml, line {}: ", line_of(from));
        assert!(text.starts_with(&line), "{text}, not {line}");
        assert!(text.contains(wanted), "{text}");
    }
    let text = problem("  mail = \"bob@fabrikam.com\"\n", "");
    assert!(text.contains("a guest has both"), "{text}");
}

#[test]
fn syntax_is_reported_with_its_line() {
    let text = problem("\n  mfa = true", "\n  mfa = \"yes\"");
    assert!(
        text.contains(&format!("line {}", line_of("  mfa = true"))),
        "{text}"
    );
    let text = problem("password = ", "pasword = ");
    assert!(text.contains("unknown field `pasword`"), "{text}");
    let text = problem("a11ce000-0000-4000-8000-000000000001", "alice");
    assert!(text.contains("UUID"), "{text}");
    let error = Directory::read(Path::new("/nonexistent.toml"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("/nonexistent.toml"), "{error}");
}

#[test]
fn principals_are_found_by_what_they_are_called() {
    let directory = Directory::built_in().unwrap();
    let id = |subject| {
        directory
            .find(&subject)
            .map(|found| found.identity.object_id().to_string())
    };
    let alice = "a11ce000-0000-4000-8000-000000000001";
    assert_eq!(
        id(Subject::User("Alice@Contoso.com".into())).unwrap(),
        alice
    );
    assert_eq!(id(Subject::User(alice.into())).unwrap(), alice);
    let reporting = "4e904700-0000-4000-8000-000000000021";
    for name in [
        "reporting",
        "4e904700-0000-4000-8000-000000000020",
        reporting,
    ] {
        assert_eq!(
            id(Subject::ServicePrincipal(name.into())).unwrap(),
            reporting
        );
    }
    assert!(id(Subject::User("reporting".into())).is_err());

    let mut twice = directory.clone();
    let mut copy = twice.tenants[0].applications[0].clone();
    copy.object_id = Uuid::from_u128(1);
    copy.client_id = Uuid::from_u128(2);
    twice.tenants[0].applications.push(copy);
    let error = twice
        .find(&Subject::ServicePrincipal("reporting".into()))
        .unwrap_err();
    assert!(
        matches!(error, LookupError::Ambiguous { count: 2, .. }),
        "{error}"
    );
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?}", Directory::built_in().unwrap());
    assert!(shown.contains("Alice Example"));
    assert!(
        !shown.contains("correct horse") && !shown.contains("reporting-secret"),
        "{shown}"
    );
}
