//! Microsoft's own client libraries, unmodified, get tokens from the emulator by every credential, those of Node by
//! every one that needs no browser. `.ci/prerequisites test` installs them.
//!
//! The emulator listens on port 443, for which the tests need root: Python's library keeps the host
//! of an authority and forgets its port when it asks for a user's realm. Each test has a loopback
//! address of its own, so that nobody else's port 443 is in the way.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "../server/emulator.rs"]
#[allow(dead_code)]
mod emulator;

use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{CertificateParams, KeyPair, RsaKeySize};

use emulator::{Emulator, PROGRAM};

const SIGNER: &str = "51640000-0000-4000-8000-000000000090";

/// An emulator, and the files that the credentials of the libraries need.
struct Rig {
    emulator: Emulator,
    files: tempfile::TempDir,
}

impl Rig {
    /// `number` tells tests of one process apart.
    fn start(number: u32) -> Rig {
        let files = tempfile::tempdir().unwrap();
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let certificate = CertificateParams::default()
            .self_signed(&key)
            .unwrap()
            .pem();
        let pem = files.path().join("signer.pem");
        std::fs::write(&pem, key.serialize_pem() + &certificate).unwrap();
        let directory = files.path().join("directory.toml");
        std::fs::write(&directory, with_signer()).unwrap();

        let process = std::process::id() * 4 + number;
        let [_, _, high, low] = process.to_be_bytes();
        let address = format!("127.{}.{high}.{low}", 64 + (process >> 16) % 64);
        let directory = directory.to_str().unwrap();
        let extra = [
            &["--directory", directory, "--port", "443"][..],
            &["--listen", &address, "--host", &address],
        ];
        let emulator = Emulator::start_on(tempfile::tempdir().unwrap(), &extra.concat());
        assert_eq!(emulator.running.authority, format!("https://{address}"));

        let words = [
            &["--issuer", "https://kubernetes.example.com"][..],
            &["--subject", "system:serviceaccount:databases:postgresql"],
        ];
        let token = emulator.run(&["federated-token"], &words.concat());
        assert!(token.status.success(), "{token:?}");
        std::fs::write(files.path().join("federated"), token.stdout).unwrap();
        Rig { emulator, files }
    }

    /// Runs a script, which must succeed, and returns what it printed.
    fn run(&self, interpreter: &Path, script: &str, environment: &[(&str, &str)]) -> String {
        let running = &self.emulator.running;
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = Path::new(PROGRAM).parent().unwrap();
        let path = format!(
            "{}:{}:{}",
            here.join("bin").display(),
            program.display(),
            std::env::var("PATH").unwrap()
        );
        let mut command = Command::new(interpreter);
        command
            .arg(here.join("tests/azure_identity").join(script))
            .env("PATH", path)
            .env("EMULATOR_STATE", self.emulator.state.path())
            .env("EMULATOR_CERTIFICATE", self.files.path().join("signer.pem"))
            .env("EMULATOR_FEDERATED", self.files.path().join("federated"))
            .env("NODE_PATH", target().join("node/node_modules"))
            .env("NODE_EXTRA_CA_CERTS", &running.ca_file)
            .env("AZURE_AUTHORITY_HOST", &running.authority)
            .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &running.imds);
        for name in [
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "IDENTITY_ENDPOINT",
            "MSI_ENDPOINT",
        ] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        let output = command
            .envs(environment.iter().copied())
            .output()
            .unwrap_or_else(|error| {
                panic!(
                    "{}: {error}; run .ci/prerequisites test",
                    interpreter.display()
                )
            });
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{script}: {}\n{printed}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        printed
    }
}

/// Where `.ci/prerequisites` installs: the target directory, in which the emulator was built.
fn target() -> PathBuf {
    Path::new(PROGRAM)
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .to_owned()
}

/// The node that the libraries need, where the system's is too old, or else the system's.
fn node_program() -> PathBuf {
    let own = target().join("node/runtime/node_modules/.bin/node");
    if own.exists() {
        own
    } else {
        PathBuf::from("node")
    }
}

/// The built-in directory, and the application `signer` with its certificate.
fn with_signer() -> String {
    let application = format!(
        "  [[tenant.application]]\n  name = \"signer\"\n  client_id = \"{SIGNER}\"\n  \
         oid = \"51640000-0000-4000-8000-000000000091\"\n  certificates = [\"signer.pem\"]\n  \
         redirect_uris = [\"http://localhost/signed-in\"]\n\n"
    );
    let marker = "  [[tenant.application]]\n";
    entra_emulator::directory::BUILT_IN.replacen(marker, &(application + marker), 1)
}

/// How many lines of `printed` are about `credential`.
fn count(printed: &str, credential: &str) -> usize {
    printed
        .lines()
        .filter(|line| line.starts_with(credential))
        .count()
}

#[test]
fn python() {
    let rig = Rig::start(0);
    let printed = rig.run(&target().join("venv/bin/python"), "credentials.py", &[]);
    for (credential, checks) in [
        ("client secret", 4),
        ("certificate", 3),
        ("workload identity", 1),
        ("client assertion", 2),
        ("user name and password", 3),
        ("device code", 3),
        ("Azure CLI", 2),
        ("managed identity", 4),
        ("App Service", 5),
        ("environment", 3),
        ("default", 5),
    ] {
        assert_eq!(
            count(&printed, credential),
            checks,
            "{credential}\n{printed}"
        );
    }
}

/// By authorization codes, for which the libraries open a browser.
#[test]
fn python_with_a_browser() {
    let rig = Rig::start(2);
    let python = target().join("venv/bin/python");
    let printed = rig.run(&python, "authorization_code.py", &[]);
    for (way, checks) in [("msal", 6), ("interactive browser", 2)] {
        assert_eq!(count(&printed, way), checks, "{way}\n{printed}");
    }
}

#[test]
fn node() {
    let rig = Rig::start(1);
    let printed = rig.run(&node_program(), "credentials.js", &[]);
    for (credential, checks) in [
        ("client secret", 4),
        ("certificate", 3),
        ("workload identity", 1),
        ("client assertion", 2),
        ("user name and password", 3),
        ("device code", 3),
        ("Azure CLI", 2),
        ("managed identity", 4),
        ("environment", 3),
        ("default", 5),
    ] {
        assert_eq!(
            count(&printed, credential),
            checks,
            "{credential}\n{printed}"
        );
    }

    let running = &rig.emulator.running;
    let app_service = [
        ("EMULATOR_PART", "app-service"),
        ("IDENTITY_ENDPOINT", &running.identity_endpoint),
        ("IDENTITY_HEADER", &running.identity_header),
    ];
    let printed = rig.run(&node_program(), "credentials.js", &app_service);
    assert_eq!(count(&printed, "App Service"), 4, "{printed}");
}
