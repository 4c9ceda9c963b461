//! Programs that get a token, the usage, and tokens that are judged.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};

use entra_emulator::SigningKeys;

use crate::emulator::{AUDIENCE, Emulator, claims, private_file, said};

#[test]
fn a_program_gets_the_token_as_its_password() {
    let emulator = Emulator::start();
    let output = emulator.run(&[
        "--from",
        "managed-identity",
        "--exec",
        "sh",
        "-c",
        "printf %s \"$PGPASSWORD\"; exit $1",
        "-",
        "7",
    ]);
    assert_eq!(output.status.code(), Some(7), "{}", said(&output));
    let token = String::from_utf8(output.stdout).unwrap();
    assert_eq!(claims(&token)["aud"], AUDIENCE);
    // As a shell ends.
    for (program, status, expected) in [
        ("/nonexistent", 127, "/nonexistent: No such file"),
        ("/", 126, "/: Permission denied"),
    ] {
        let arguments = ["--from", "managed-identity", "--exec", program];
        let said = emulator.refused(&arguments, status);
        assert!(said.contains(expected), "{said}");
    }
}

/// Arguments need not be UTF-8.
#[test]
fn a_program_gets_its_arguments_as_they_are() {
    let emulator = Emulator::start();
    let mut program = emulator.program(&["--from", "managed-identity", "--exec", "printf", "%s"]);
    let output = program.arg(OsStr::from_bytes(b"\xff")).output().unwrap();
    assert_eq!(output.stdout, b"\xff", "{}", said(&output));
}

#[test]
fn wrong_usage_says_what_is_right() {
    let emulator = Emulator::start();
    for (arguments, status, expected) in [
        (vec![], 2, "--from"),
        (
            vec!["--from", "managed-identity", "--audience", "x"],
            2,
            "application id URI such as api://",
        ),
        (
            vec![
                "--from",
                "managed-identity",
                "--audience",
                "api://a,api://b",
            ],
            2,
            "for one audience",
        ),
        (vec!["--from", "az", "--passfile", "/tmp/x"], 2, "--for"),
        (
            vec!["--from", "az", "--passfile", "/tmp/x", "--for", "db"],
            2,
            "HOST:PORT:DATABASE:USER",
        ),
        (vec!["--from", "az", "--every", "5"], 2, "--passfile"),
        (vec!["--from", "az"], 1, "install the Azure CLI"),
        (
            vec!["--from", "device-code", "--authority-host", "http://x"],
            2,
            "--authority-host",
        ),
        (
            vec![
                "--from",
                "device-code",
                "--cloud",
                "china",
                "--authority-host",
                "https://login.microsoftonline.us",
            ],
            2,
            "which is usgov",
        ),
        (
            vec![
                "--from",
                "device-code",
                "--cloud",
                "public",
                "--authority-host",
                "https://localhost:8443",
            ],
            2,
            "leave one of them out",
        ),
    ] {
        let said = emulator.refused(&arguments, status);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    let mut help = Command::new(env!("CARGO_BIN_EXE_aadauth-token"));
    let output = help.arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "managed-identity",
        "workload-identity",
        "device-code",
        "inspect",
        "--every",
    ] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn what_a_tenant_lacks_is_wrong_usage() {
    let emulator = Emulator::start();
    let mut program = emulator.program(&["--from", "device-code"]);
    let output = program.env_remove("AZURE_TENANT_ID").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("--tenant is missing"),
        "{}",
        said(&output)
    );
}

#[test]
fn tenant_and_audience_of_the_environment_are_judged_by() {
    let emulator = Emulator::start();
    let keys = SigningKeys::open(emulator.state.path()).unwrap();
    let file = emulator.path("keys.json");
    private_file(&file, &keys.key_set(None).to_string());
    let token = emulator.run(&["--from", "managed-identity"]).stdout;
    let judge = |audience: &str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_aadauth-token"));
        program
            .args([
                "inspect",
                "--authority-host",
                &emulator.running.authority,
                "--keys",
            ])
            .arg(&file)
            .env("AADAUTH_AUDIENCE", audience)
            .env("AZURE_TENANT_ID", crate::emulator::TENANT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = program.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&token).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    let judged = judge(AUDIENCE);
    assert!(judged.ends_with("accepted\n"), "{judged}");
    let judged = judge("api://other");
    assert!(judged.contains("refused: "), "{judged}");
}
