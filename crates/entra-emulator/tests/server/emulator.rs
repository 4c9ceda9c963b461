//! A running emulator with a state directory of its own.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entra_emulator::SigningKeys;
use entra_emulator::server::Running;
use entra_emulator::state::StateDirectory;
use reqwest::blocking::{Client, Response};
use reqwest::{Certificate, Method, redirect};
use serde_json::Value;
use tempfile::TempDir;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_entra-emulator");
pub const TENANT: &str = "6b1f0c7e-2a3d-4e58-9b41-0c5d7e8f9a01";
pub const AUDIENCE: &str = "api://aada0000-0000-4000-8000-000000000050";

/// A new state directory, which has signing keys: those of the others.
pub fn state() -> TempDir {
    static KEYS: LazyLock<SigningKeys> =
        LazyLock::new(|| SigningKeys::open(tempfile::tempdir().unwrap().path()).unwrap());
    let state = tempfile::tempdir().unwrap();
    KEYS.copy_to(state.path()).unwrap();
    state
}

pub struct Emulator {
    pub state: TempDir,
    pub running: Running,
    pub client: Client,
    process: Child,
}

impl Emulator {
    pub fn start() -> Emulator {
        Emulator::start_on(state(), &[])
    }

    /// Starts on a state directory that may have been used before, and waits for the line that
    /// says it is ready.
    pub fn start_on(state: TempDir, extra: &[&str]) -> Emulator {
        let mut process = Command::new(PROGRAM)
            .args(["serve", "--state"])
            .arg(state.path())
            .args(extra)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.starts_with("Entra emulator ready: "), "{line}");
        let running = Running::read(&StateDirectory::open(state.path()).unwrap())
            .unwrap()
            .unwrap();
        let client = client(&running.ca_file);
        Emulator {
            state,
            running,
            client,
            process,
        }
    }

    /// Ends the process as a service manager would, and gives its state directory back.
    pub fn stop(mut self) -> TempDir {
        let killed = Command::new("kill")
            .arg(self.process.id().to_string())
            .status()
            .unwrap();
        assert!(killed.success());
        assert!(self.process.wait().unwrap().success());
        std::mem::replace(&mut self.state, tempfile::tempdir().unwrap())
    }

    pub fn get(&self, path: &str) -> Response {
        self.client
            .get(format!("{}{path}", self.running.authority))
            .send()
            .unwrap()
    }

    pub fn get_json(&self, path: &str) -> Value {
        json(self.get(path))
    }

    pub fn post(&self, path: &str, form: &str) -> Response {
        self.client
            .post(format!("{}{path}", self.running.authority))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form.to_owned())
            .send()
            .unwrap()
    }

    /// Asks the managed identity endpoint properly.
    pub fn identity(&self, query: &str) -> Response {
        self.client
            .get(format!(
                "{}/metadata/identity/oauth2/token?api-version=2018-02-01&{query}",
                self.running.imds
            ))
            .header("Metadata", "true")
            .send()
            .unwrap()
    }

    pub fn control(&self, method: Method, path: &str, body: &Value) -> Response {
        self.client
            .request(method, format!("{}{path}", self.running.control))
            .header("Content-Type", "application/json")
            .body(body.to_string())
            .send()
            .unwrap()
    }

    /// Runs a command on the state directory.
    pub fn run(&self, command: &[&str], extra: &[&str]) -> Output {
        run(self.state.path(), command, extra)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `entra-emulator COMMAND --state STATE EXTRA`.
pub fn run(state: &Path, command: &[&str], extra: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(command)
        .arg("--state")
        .arg(state)
        .args(extra)
        .output()
        .unwrap()
}

/// A client that trusts the emulator's certificate authority and nobody else's.
pub fn client(ca_file: &Path) -> Client {
    let authority = Certificate::from_pem(&std::fs::read(ca_file).unwrap()).unwrap();
    Client::builder()
        .tls_certs_only([authority])
        .no_proxy()
        .redirect(redirect::Policy::none())
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap()
}

pub fn json(response: Response) -> Value {
    let text = response.text().unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The part of a token at `place`: 0 its header, 1 its claims.
pub fn part(token: &str, place: usize) -> Value {
    let text = token.trim().split('.').nth(place).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}
