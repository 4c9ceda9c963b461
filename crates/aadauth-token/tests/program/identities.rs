//! Tokens of machines, pods and the Azure CLI.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::emulator::{AUDIENCE, Emulator, SERVER, TENANT, claims, private_file, said};

#[test]
fn a_managed_identity() {
    let emulator = Emulator::start();
    let system = emulator.printed(&["--from", "managed-identity"]).0;
    assert_eq!(system["aud"], AUDIENCE);
    assert_eq!(system["oid"], "0a7b0000-0000-4000-8000-000000000031");
    let user_assigned = [
        "--from",
        "managed-identity",
        "--client-id",
        "ba7c0000-0000-4000-8000-000000000040",
    ];
    let user_assigned = emulator.printed(&user_assigned).0;
    assert_eq!(user_assigned["oid"], "ba7c0000-0000-4000-8000-000000000041");
    let azure = emulator
        .printed(&["--from", "managed-identity", "--audience", "ossrdbms"])
        .0;
    assert_eq!(azure["aud"], "https://ossrdbms-aad.database.windows.net");
}

/// Whose cloud the environment says, as in a pod.
#[test]
fn a_managed_identity_of_another_cloud() {
    let emulator = Emulator::start();
    for (host, expected) in [
        (
            "https://login.microsoftonline.us/",
            "https://ossrdbms-aad.database.usgovcloudapi.net",
        ),
        (
            "https://login.chinacloudapi.cn/",
            "https://ossrdbms-aad.database.chinacloudapi.cn",
        ),
    ] {
        let arguments = ["--from", "managed-identity", "--audience", "ossrdbms"];
        let mut program = emulator.program(&arguments);
        let output = program.env("AZURE_AUTHORITY_HOST", host).output().unwrap();
        let token = String::from_utf8(output.stdout).unwrap();
        assert_eq!(claims(token.trim_end())["aud"], expected);
    }
}

#[test]
fn a_workload_identity() {
    let emulator = Emulator::start();
    let arguments = ["--from", "workload-identity"];
    assert!(
        emulator
            .refused(&arguments, 2)
            .contains("AZURE_FEDERATED_TOKEN_FILE")
    );
    let file = emulator.federated_token();
    let run = |client: Option<&str>| {
        let mut program = emulator.program(&arguments);
        program.env("AZURE_FEDERATED_TOKEN_FILE", &file);
        if let Some(client) = client {
            program.env("AZURE_CLIENT_ID", client);
        }
        program.output().unwrap()
    };
    assert!(said(&run(None)).contains("AZURE_CLIENT_ID"));
    let output = run(Some(SERVER));
    assert!(output.status.success(), "{}", said(&output));
    let claims = claims(String::from_utf8(output.stdout).unwrap().trim_end());
    assert_eq!(claims["oid"], "aada5e4e-0000-4000-8000-000000000071");
    assert_eq!(claims["aud"], AUDIENCE);
    let other = run(Some("4e904700-0000-4000-8000-000000000020"));
    assert!(said(&other).contains("AADSTS"), "{}", said(&other));
    assert!(!said(&other).contains(&fs::read_to_string(&file).unwrap()));
}

#[test]
fn the_azure_cli_is_asked_for_the_tenant() {
    let emulator = Emulator::start();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let az = emulator.path("az");
    let run = |answer: &str| {
        let script = format!("#!/bin/sh\necho \"$@\" >&2\nprintf '%s' '{answer}'\n");
        private_file(&az, &script);
        fs::set_permissions(&az, PermissionsExt::from_mode(0o700)).unwrap();
        let mut program = emulator.program(&["--from", "az"]);
        let path = format!("{}:/usr/bin:/bin", emulator.state.path().display());
        program.env("PATH", path).output().unwrap()
    };
    let answer = |token: &str, expires_on: u64| {
        format!("{{\"accessToken\": \"{token}\", \"expires_on\": {expires_on}}}")
    };
    let output = run(&answer("a.b.c", now.as_secs() + 600));
    assert_eq!(output.stdout, b"a.b.c\n", "{}", said(&output));
    let asked = format!("--resource {AUDIENCE} --tenant {TENANT}");
    assert!(said(&output).contains(&asked), "{}", said(&output));
    for (answer, expected) in [
        (
            answer("a.b.c", now.as_secs() - 1),
            "has a token that has expired",
        ),
        (
            answer("a b", now.as_secs() + 600),
            "no access token that could be sent",
        ),
        ("{}".to_owned(), "az: its answer has no token"),
    ] {
        let output = run(&answer);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
}
