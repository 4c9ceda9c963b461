//! The program, run against the emulator in this process.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entra_emulator::SigningKeys;
use entra_emulator::federation::{ForeignIssuers, ForeignToken};
use entra_emulator::server::{self, Options, Running};
use entra_emulator::state::StateDirectory;
use serde_json::Value;
use tempfile::TempDir;

const TENANT: &str = "6b1f0c7e-2a3d-4e58-9b41-0c5d7e8f9a01";
const AUDIENCE: &str = "api://aada0000-0000-4000-8000-000000000050";
/// An application with a federated credential.
const SERVER: &str = "aada5e4e-0000-4000-8000-000000000070";
const ALICE: &str = "a11ce000-0000-4000-8000-000000000001";

/// A running emulator, whose user alice enters every device code at once, and a home directory.
struct Emulator {
    state: TempDir,
    running: Running,
}

impl Emulator {
    fn start() -> Emulator {
        static KEYS: LazyLock<SigningKeys> =
            LazyLock::new(|| SigningKeys::open(tempfile::tempdir().unwrap().path()).unwrap());
        let state = tempfile::tempdir().unwrap();
        KEYS.copy_to(state.path()).unwrap();
        let (sender, receiver) = mpsc::channel();
        let options = Options {
            state: state.path().to_owned(),
            directory: entra_emulator::Directory::built_in().unwrap(),
            port: 0,
            imds_port: 0,
            address: [127, 0, 0, 1].into(),
            beyond_loopback: false,
            host: "localhost".to_owned(),
            device_user: Some("alice@contoso.com".to_owned()),
        };
        thread::spawn(move || {
            server::serve(options, |running| sender.send(running.clone()).unwrap()).unwrap();
        });
        let running = receiver.recv_timeout(Duration::from_secs(60)).unwrap();
        Emulator { state, running }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.state.path().join(name)
    }

    /// A file with the token of a pod.
    fn federated_token(&self) -> PathBuf {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = now.as_secs() as i64;
        let state = StateDirectory::open(self.state.path()).unwrap();
        let token = ForeignToken {
            issuer: "https://kubernetes.example.com",
            subject: "system:serviceaccount:databases:postgresql",
            audience: "api://AzureADTokenExchange",
            issued_at: now,
            expires_on: now + 600,
        };
        let issuers = ForeignIssuers::open(&state).unwrap();
        let path = self.path("federated");
        private_file(&path, &issuers.sign(&token).unwrap());
        path
    }

    /// The program with an environment of the test's own.
    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aadauth-token"));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.state.path())
            .env("AADAUTH_AUDIENCE", AUDIENCE)
            .env("AZURE_TENANT_ID", TENANT)
            .env(
                "AZURE_AUTHORITY_HOST",
                format!("{}/", self.running.authority),
            )
            .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &self.running.imds)
            .arg("--ca-file")
            .arg(&self.running.ca_file)
            .args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.program(arguments).output().unwrap()
    }

    /// The claims of the token that the program prints, and what it says.
    fn printed(&self, arguments: &[&str]) -> (Value, String) {
        let output = self.run(arguments);
        let said = said(&output);
        assert!(output.status.success(), "{said}");
        let token = String::from_utf8(output.stdout).unwrap();
        let token = token.strip_suffix('\n').unwrap();
        assert!(!said.contains(token), "{said}");
        (claims(token), said)
    }

    /// What the program says when it gets no token.
    fn refused(&self, arguments: &[&str], status: i32) -> String {
        let output = self.run(arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert!(output.stdout.is_empty(), "{said}");
        said
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

fn private_file(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Ends with the test.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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

#[test]
fn a_workload_identity() {
    let emulator = Emulator::start();
    let arguments = ["--from", "workload-identity"];
    assert!(
        emulator
            .refused(&arguments, 1)
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
fn a_user_enters_a_code_once() {
    let emulator = Emulator::start();
    let arguments = ["--from", "device-code"];
    let (claims, said) = emulator.printed(&arguments);
    assert!(
        said.contains("/common/oauth2/deviceauth in a browser and enter the code "),
        "{said}"
    );
    assert_eq!(
        (&claims["oid"], &claims["aud"]),
        (&ALICE.into(), &AUDIENCE.into())
    );
    let directory = emulator.path(".cache/aadauth-token");
    let kept = || {
        let entries = fs::read_dir(&directory).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .collect::<Vec<_>>()
    };
    let files = kept();
    let [file] = files.as_slice() else {
        panic!("{files:?}")
    };
    assert_eq!((mode(&directory), mode(file)), (0o700, 0o600));
    let (claims, said) = emulator.printed(&arguments);
    assert_eq!((&claims["oid"], said.as_str()), (&ALICE.into(), ""));
    // For another resource there is another one.
    emulator.printed(&["--from", "device-code", "--audience", "ossrdbms"]);
    assert_eq!(kept().len(), 2);
    // One that others can read may not be the user's own.
    fs::set_permissions(file, PermissionsExt::from_mode(0o644)).unwrap();
    let said = emulator.refused(&arguments, 1);
    assert!(
        said.contains("group or world access") && said.contains("delete it"),
        "{said}"
    );
    // One that Entra does not know any more leads to a new code.
    private_file(file, "no-refresh-token");
    let (claims, said) = emulator.printed(&arguments);
    assert_eq!(claims["oid"], ALICE);
    assert!(
        said.contains("sign in again") && said.contains("enter the code"),
        "{said}"
    );
    assert_ne!(fs::read_to_string(file).unwrap(), "no-refresh-token");
}

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
    let missing = ["--from", "managed-identity", "--exec", "/nonexistent"];
    assert!(
        emulator
            .refused(&missing, 1)
            .contains("/nonexistent: No such file")
    );
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
    let mut running = Kept(program(&every).stderr(Stdio::piped()).spawn().unwrap());
    until("it is written again", || token() != once);
    let again = token();
    until("and again", || token() != again && !token().is_empty());
    // Without an answer, the token at hand stays until there is one.
    let client = reqwest::blocking::Client::builder()
        .no_proxy()
        .build()
        .unwrap();
    let fault = client
        .put(format!("{}/faults", emulator.running.control))
        .header("content-type", "application/json")
        .body(r#"{"fault": "error", "endpoint": "token", "times": 1}"#);
    assert!(fault.send().unwrap().status().is_success());
    let mut said = BufReader::new(running.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("status 500; trying again in 2 s") {
        line.clear();
        said.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "it has ended");
    }
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
    let other = "db:5432:*:postgres:secret\n";
    private_file(&file, other);
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
    assert_eq!(fs::read_to_string(&file).unwrap(), other);
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
fn wrong_usage_says_what_is_right() {
    let emulator = Emulator::start();
    for (arguments, status, expected) in [
        (vec![], 2, "--from"),
        (
            vec!["--from", "managed-identity", "--audience", "x"],
            1,
            "application id URI such as api://",
        ),
        (
            vec![
                "--from",
                "managed-identity",
                "--audience",
                "api://a,api://b",
            ],
            1,
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
            1,
            "--authority-host",
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
