//! The commands, and what a server leaves behind.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;

use crate::emulator::{AUDIENCE, Emulator, PROGRAM, TENANT, part, run};

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn tokens_are_printed_as_the_azure_cli_does() {
    let emulator = Emulator::start();
    let plain = text(
        emulator
            .run(&["token"], &["--user", "alice@contoso.com"])
            .stdout,
    );
    assert!(plain.ends_with('\n'));
    assert_eq!(plain.trim_end().lines().count(), 1);
    assert_eq!(part(&plain, 1)["aud"], AUDIENCE);
    assert_eq!(
        part(&plain, 1)["iss"],
        format!("{}/{TENANT}/", emulator.running.authority)
    );

    let output = emulator
        .run(
            &["token"],
            &["--managed-identity", "vm-app", "--output", "json"],
        )
        .stdout;
    let answer: Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(answer["tokenType"], "Bearer");
    assert_eq!(answer["tenant"], TENANT);
    let claims = part(answer["accessToken"].as_str().unwrap(), 1);
    assert_eq!(answer["expires_on"], claims["exp"]);
    assert!(answer["expiresOn"].as_str().unwrap().ends_with(".000000"));
}

#[test]
fn tokens_need_no_server() {
    let emulator = Emulator::start();
    let authority = emulator.running.authority.clone();
    let state = emulator.stop();
    let token = text(run(state.path(), &["token"], &["--user", "alice@contoso.com"]).stdout);
    assert_eq!(part(&token, 1)["iss"], format!("{authority}/{TENANT}/"));

    let fresh = tempfile::tempdir().unwrap();
    let refused = run(fresh.path(), &["token"], &["--user", "alice@contoso.com"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(refused.stderr).contains("pass --authority"));
    let words = ["--user", "alice@contoso.com", "--authority", "public"];
    let token = text(run(fresh.path(), &["token"], &words).stdout);
    assert_eq!(
        part(&token, 1)["iss"],
        format!("https://sts.windows.net/{TENANT}/")
    );
}

#[test]
fn mistakes_are_explained() {
    let emulator = Emulator::start();
    for (words, status, wanted) in [
        (
            &["--user", "eve@contoso.com"][..],
            1,
            "it has alice@contoso.com",
        ),
        (
            &["--user", "alice@contoso.com", "--audience", "api://x"],
            1,
            "it has api://aada0000-0000-4000-8000-000000000050",
        ),
        (
            &["--user", "alice@contoso.com", "--with", "x"],
            2,
            "entra-emulator deviations",
        ),
        (
            &["--user", "alice@contoso.com", "--size", "9"],
            1,
            "more than the 9 wanted",
        ),
        (
            &["--user", "a", "--directory", "/nonexistent.toml"],
            1,
            "/nonexistent.toml",
        ),
    ] {
        let output = emulator.run(&["token"], words);
        assert_eq!(output.status.code(), Some(status), "{words:?}");
        assert!(output.stdout.is_empty(), "{words:?}");
        let problem = text(output.stderr);
        assert!(problem.contains(wanted), "{problem}");
    }
}

#[test]
fn help_lists_the_deviations() {
    let output = Command::new(PROGRAM)
        .args(["token", "--help"])
        .output()
        .unwrap();
    let help = text(output.stdout);
    let output = Command::new(PROGRAM)
        .args(["deviations", "--output", "json"])
        .output()
        .unwrap();
    let listed: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(listed.len(), entra_emulator::Deviation::all().len());
    for row in listed {
        let line = format!("  {} ", row["name"].as_str().unwrap());
        assert!(help.contains(&line), "{line}");
    }
}

#[test]
fn certificates_are_good_for_their_names_alone() {
    let state = tempfile::tempdir().unwrap();
    let (certificate, key) = (state.path().join("db.pem"), state.path().join("db.key"));
    let words = [
        "--name",
        "db.test",
        "--name",
        "127.0.0.1",
        "--out-cert",
        certificate.to_str().unwrap(),
        "--out-key",
        key.to_str().unwrap(),
    ];
    assert!(run(state.path(), &["certificate"], &words).status.success());
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(state.path().join("ca.pem")).unwrap())
        .unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
    )
    .build()
    .unwrap();
    let leaf = CertificateDer::from_pem_file(&certificate).unwrap();
    let is_good_for = |name: &'static str| {
        let name = ServerName::try_from(name).unwrap();
        verifier
            .verify_server_cert(&leaf, &[], &name, &[], UnixTime::now())
            .is_ok()
    };
    assert!(is_good_for("db.test"));
    assert!(is_good_for("127.0.0.1"));
    assert!(!is_good_for("localhost"));
}

#[test]
fn restart_keeps_authority_and_keys() {
    let emulator = Emulator::start();
    let certificate = std::fs::read(&emulator.running.ca_file).unwrap();
    let keys = emulator.get_json("/common/discovery/keys");
    let port = emulator
        .running
        .authority
        .rsplit_once(':')
        .unwrap()
        .1
        .to_owned();
    let state = emulator.stop();
    assert!(!state.path().join("emulator.json").exists());
    for secret in ["ca.key", "server.key", "signing_keys.json"] {
        let mode = std::fs::metadata(state.path().join(secret))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    let emulator = Emulator::start_on(state, &["--port", &port]);
    assert_eq!(
        std::fs::read(&emulator.running.ca_file).unwrap(),
        certificate
    );
    assert_eq!(emulator.get_json("/common/discovery/keys"), keys);
}

#[test]
fn only_loopback_without_a_flag() {
    let state = tempfile::tempdir().unwrap();
    let output = run(state.path(), &["serve"], &["--listen", "0.0.0.0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(output.stderr).contains("--beyond-loopback"));
    let extra = [
        "--listen",
        "0.0.0.0",
        "--beyond-loopback",
        "--host",
        "localhost",
    ];
    let emulator = Emulator::start_on(state, &extra);
    assert_eq!(emulator.get("/common/discovery/keys").status(), 200);
    assert!(emulator.running.control.starts_with("http://127.0.0.1:"));
}

#[test]
fn control_needs_a_server_and_obeys_it() {
    let emulator = Emulator::start();
    let rotated = emulator.run(&["control"], &["rotate"]);
    assert!(rotated.status.success(), "{}", text(rotated.stderr));
    let set = emulator.run(
        &["control"],
        &["faults", "error", "--on", "keys", "--times", "1"],
    );
    assert!(set.status.success(), "{}", text(set.stderr));
    assert_eq!(emulator.get("/common/discovery/keys").status(), 500);
    assert_eq!(emulator.get("/common/discovery/keys").status(), 200);
    let counted = emulator.run(&["control"], &["requests"]).stdout;
    let counted: Value = serde_json::from_slice(&counted).unwrap();
    assert_eq!(counted["endpoints"]["keys"], 2);
    let wrong = emulator.run(&["control"], &["faults", "error", "--on", "nowhere"]);
    assert_eq!(wrong.status.code(), Some(1));

    let state = emulator.stop();
    let absent = run(state.path(), &["control"], &["requests"]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(text(absent.stderr).contains("no emulator runs"));
}

#[test]
fn keys_are_printed_for_files() {
    let emulator = Emulator::start();
    let printed = emulator.run(&["keys"], &[]).stdout;
    let printed: Value = serde_json::from_slice(&printed).unwrap();
    assert_eq!(printed, emulator.get_json("/common/discovery/keys"));
    let printed = emulator.run(&["keys"], &["--version", "2"]).stdout;
    let printed: Value = serde_json::from_slice(&printed).unwrap();
    assert_eq!(
        printed,
        emulator.get_json("/contoso.com/discovery/v2.0/keys")
    );
}
