//! Password files.

use std::fs;
use std::process::Command;

use crate::emulator::{
    AUDIENCE, Emulator, SERVER, Started, claims, mode, private_file, said, until,
};

const OTHER: &str = "db:5432:*:postgres:secret\n";

/// With the token of a managed identity, renewed each second.
fn every_second(emulator: &Emulator) -> Started {
    let path = emulator.path("pgpass");
    let arguments = [
        "--from",
        "managed-identity",
        "--every",
        "1",
        "--for",
        "*:*:*:vm",
    ];
    let mut program = emulator.program(&arguments);
    program.arg("--passfile").arg(path);
    Started::new(program)
}

#[test]
fn a_password_file_is_renewed() {
    let emulator = Emulator::start();
    let file = emulator.path("pgpass");
    let path = file.to_str().unwrap();
    let arguments = [
        "--from",
        "workload-identity",
        "--passfile",
        path,
        "--for",
        r"d\:b:5432:*:vm-app",
    ];
    let read = || fs::read_to_string(&file).unwrap_or_default();
    let token = || {
        let text = read();
        let line = text.lines().nth(1).unwrap_or_default().to_owned();
        line.strip_prefix(r"d\:b:5432:*:vm-app:")
            .map(str::to_owned)
            .unwrap_or_default()
    };
    let federated = emulator.federated_token();
    let program = |arguments: &[&str]| {
        let mut program = emulator.program(arguments);
        program.env("AZURE_FEDERATED_TOKEN_FILE", &federated);
        program.env("AZURE_CLIENT_ID", SERVER);
        program
    };
    let output = program(&arguments).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(mode(&file), 0o600);
    assert_eq!(read().lines().count(), 2);
    assert_eq!(claims(&token())["aud"], AUDIENCE);
    assert!(!said(&output).contains(&token()));
    let once = token();
    let every: Vec<&str> = arguments.iter().copied().chain(["--every", "1"]).collect();
    let mut started = Started::new(program(&every));
    until("it is written again", || token() != once);
    let again = token();
    until("and again", || token() != again && !token().is_empty());
    // Without an answer, the token at hand stays until there is one.
    emulator.fail("token", Some(1));
    started.says("status 500; trying again in 2 s");
    let kept = token();
    assert_eq!(claims(&kept)["aud"], AUDIENCE);
    until("it is renewed again", || {
        token() != kept && !token().is_empty()
    });
}

#[test]
fn another_file_is_not_replaced() {
    let emulator = Emulator::start();
    let file = emulator.path("pgpass");
    private_file(&file, OTHER);
    let path = file.to_str().unwrap();
    let arguments = [
        "--from",
        "managed-identity",
        "--passfile",
        path,
        "--for",
        "db:*:*:vm",
    ];
    assert!(
        emulator
            .refused(&arguments, 1)
            .contains("choose another file")
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), OTHER);
    let directory = [
        "--from",
        "managed-identity",
        "--passfile",
        "/tmp",
        "--for",
        "db:*:*:vm",
    ];
    assert!(
        emulator
            .refused(&directory, 1)
            .contains("not a regular file")
    );
}

#[test]
fn a_file_that_appears_later_is_not_replaced() {
    let emulator = Emulator::start();
    let file = emulator.path("pgpass");
    let mut started = every_second(&emulator);
    started.says("has a token");
    emulator.fail("imds", None);
    started.says("trying again in 2 s");
    private_file(&file, OTHER);
    emulator.clear_faults();
    started.says("it was not written by aadauth-token");
    assert_eq!(fs::read_to_string(&file).unwrap(), OTHER);
    // It goes on once that file has gone.
    fs::remove_file(&file).unwrap();
    started.says("has a token");
}

#[test]
fn links_and_pipes_are_not_replaced() {
    let emulator = Emulator::start();
    let file = emulator.path("pgpass");
    std::os::unix::fs::symlink(emulator.path("elsewhere"), &file).unwrap();
    let path = file.to_str().unwrap();
    let arguments = [
        "--from",
        "managed-identity",
        "--passfile",
        path,
        "--for",
        "*:*:*:vm",
    ];
    assert!(emulator.refused(&arguments, 1).contains("symbolic links"));
    fs::remove_file(&file).unwrap();
    let made = Command::new("mkfifo").arg(&file).status().unwrap();
    assert!(made.success());
    assert!(
        emulator
            .refused(&arguments, 1)
            .contains("not a regular file")
    );
}

/// As at boot, when the network comes later.
#[test]
fn a_first_token_is_tried_again() {
    let emulator = Emulator::start();
    emulator.fail("imds", Some(1));
    let mut started = every_second(&emulator);
    started.says("trying again in 2 s");
    started.says("has a token");
    let path = emulator.path("once");
    let arguments = ["--passfile", path.to_str().unwrap(), "--for", "*:*:*:vm"];
    drop(started);
    emulator.clear_faults();
    emulator.fail("imds", Some(1));
    let once = [&["--from", "managed-identity"], &arguments[..]].concat();
    assert!(!emulator.refused(&once, 1).contains("trying again"));
}
