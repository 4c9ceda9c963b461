//! The emulator in this process, and the program beside it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entra_emulator::SigningKeys;
use entra_emulator::federation::{ForeignIssuers, ForeignToken};
use entra_emulator::server::{self, Options, Running};
use entra_emulator::state::StateDirectory;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

pub const TENANT: &str = "6b1f0c7e-2a3d-4e58-9b41-0c5d7e8f9a01";
pub const AUDIENCE: &str = "api://aada0000-0000-4000-8000-000000000050";
/// An application with a federated credential.
pub const SERVER: &str = "aada5e4e-0000-4000-8000-000000000070";
pub const ALICE: &str = "a11ce000-0000-4000-8000-000000000001";

/// A running emulator, and a home directory.
pub struct Emulator {
    pub state: TempDir,
    pub running: Running,
}

impl Emulator {
    /// Alice enters every device code at once.
    pub fn start() -> Emulator {
        Emulator::with_user(Some("alice@contoso.com".to_owned()))
    }

    /// Nobody enters a device code until the control interface is told.
    pub fn without_user() -> Emulator {
        Emulator::with_user(None)
    }

    fn with_user(device_user: Option<String>) -> Emulator {
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
            device_user,
            identity_header: None,
        };
        thread::spawn(move || {
            server::serve(options, |running| sender.send(running.clone()).unwrap()).unwrap();
        });
        let running = receiver.recv_timeout(Duration::from_secs(60)).unwrap();
        Emulator { state, running }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.state.path().join(name)
    }

    /// A file with the token of a pod.
    pub fn federated_token(&self) -> PathBuf {
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
    pub fn program(&self, arguments: &[&str]) -> Command {
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

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.program(arguments).output().unwrap()
    }

    /// The claims of the token that the program prints, and what it says.
    pub fn printed(&self, arguments: &[&str]) -> (Value, String) {
        let output = self.run(arguments);
        let said = said(&output);
        assert!(output.status.success(), "{said}");
        let token = String::from_utf8(output.stdout).unwrap();
        let token = token.strip_suffix('\n').unwrap();
        assert!(!said.contains(token), "{said}");
        (claims(token), said)
    }

    /// Tells the control interface.
    pub fn control(&self, method: Method, path: &str, body: &str) -> Value {
        let client = reqwest::blocking::Client::builder().no_proxy();
        let request = client
            .build()
            .unwrap()
            .request(method, format!("{}/{path}", self.running.control))
            .header("content-type", "application/json")
            .body(body.to_owned());
        let answer = request.send().unwrap();
        let status = answer.status();
        let text = answer.text().unwrap();
        assert!(status.is_success(), "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// From now on, an endpoint answers with status 500, so many times or until the faults are cleared.
    pub fn fail(&self, endpoint: &str, times: Option<u32>) {
        let order = json!({ "fault": "error", "endpoint": endpoint, "times": times });
        self.control(Method::PUT, "faults", &order.to_string());
    }

    pub fn clear_faults(&self) {
        self.control(Method::DELETE, "faults", "");
    }

    /// What the program says when it gets no token.
    pub fn refused(&self, arguments: &[&str], status: i32) -> String {
        let output = self.run(arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert!(output.stdout.is_empty(), "{said}");
        said
    }
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

pub fn private_file(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

pub fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A program that runs on, until the test ends.
pub struct Started {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// All that it has said.
    pub said: String,
}

impl Started {
    pub fn new(mut program: Command) -> Started {
        let program = program.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let said = String::new();
        Started {
            child,
            stderr,
            said,
        }
    }

    /// The next line with this text, among the next twenty.
    pub fn says(&mut self, text: &str) -> String {
        for _ in 0..20 {
            let mut line = String::new();
            self.stderr.read_line(&mut line).unwrap();
            assert!(!line.is_empty(), "it has ended: {}", self.said);
            self.said.push_str(&line);
            if line.contains(text) {
                return line;
            }
        }
        panic!("it does not say {text}: {}", self.said);
    }

    /// Its status, and what it prints, once it ends by itself.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut printed = String::new();
        let stdout = self.child.stdout.take();
        stdout.unwrap().read_to_string(&mut printed).unwrap();
        self.stderr.read_to_string(&mut self.said).unwrap();
        (self.child.wait().unwrap().code(), printed)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
