//! The Entra emulator: keys and tokens from its library, its server as a process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use entra_emulator::certificate::CertificateAuthority;
use entra_emulator::server::Running;
use entra_emulator::state::{CA_CERTIFICATE, StateDirectory};
use entra_emulator::{Authority, Deviation, Directory, SigningKeys, Subject, TokenRequest, mint};
use reqwest::Method;
use reqwest::blocking::Client;
use rustix::process::Signal;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Result;
use crate::place::{RunDirectory, target};
use crate::process::Owned;
use crate::set_up::free_port;
use crate::wait::until;

/// The tenant of the emulator's built-in directory.
pub const TENANT: &str = "6b1f0c7e-2a3d-4e58-9b41-0c5d7e8f9a01";
/// Its resource whose tokens have version 1, and the one whose tokens have version 2.
pub const AUDIENCE: &str = "api://aada0000-0000-4000-8000-000000000050";
pub const AUDIENCE_V2: &str = "api://aada0000-0000-4000-8000-000000000051";
/// What the second resource's tokens carry as audience.
pub const AUDIENCE_V2_ID: &str = "aada0000-0000-4000-8000-000000000051";

/// An emulator with a state directory of its own, running or not.
pub struct Emulator {
    state: PathBuf,
    directory: Directory,
    directory_file: Option<PathBuf>,
    port: u16,
    imds_port: u16,
    process: Option<Owned>,
}

impl Emulator {
    /// Makes the certificate authority; nothing listens yet. All emulators that are prepared so have the same signing
    /// keys: to make them takes a second of processor time.
    ///
    /// # Errors
    /// The run's directory isn't writable.
    pub fn prepare(run: &RunDirectory, name: &str) -> Result<Emulator> {
        static SHARED: Mutex<Option<SigningKeys>> = Mutex::new(None);
        let emulator = Emulator::without_keys(run, name)?;
        let mut shared = SHARED.lock().map_err(|_| "no signing keys could be made")?;
        match &*shared {
            Some(keys) => keys.copy_to(&emulator.state)?,
            None => *shared = Some(SigningKeys::open(&emulator.state)?),
        }
        Ok(emulator)
    }

    /// The same with signing keys that no other emulator has.
    ///
    /// # Errors
    /// As [`Emulator::prepare`].
    pub fn with_own_keys(run: &RunDirectory, name: &str) -> Result<Emulator> {
        let emulator = Emulator::without_keys(run, name)?;
        SigningKeys::open(&emulator.state)?;
        Ok(emulator)
    }

    fn without_keys(run: &RunDirectory, name: &str) -> Result<Emulator> {
        let state = run.path().join(name);
        CertificateAuthority::open(&StateDirectory::open(&state)?)?;
        Ok(Emulator {
            state,
            directory: Directory::built_in()?,
            directory_file: None,
            port: free_port()?,
            imds_port: free_port()?,
            process: None,
        })
    }

    /// Gives it a directory other than the one that is built in, as TOML; before it starts.
    ///
    /// # Errors
    /// The text is no directory file.
    pub fn with_directory(mut self, toml: &str) -> Result<Emulator> {
        let file = self.state.with_extension("toml");
        fs::write(&file, toml)?;
        self.directory = Directory::read(&file)?;
        self.directory_file = Some(file);
        Ok(self)
    }

    /// Starts the server, on the same ports as before, and waits until it answers.
    ///
    /// # Errors
    /// It doesn't start.
    pub fn start(&mut self) -> Result<()> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.state.with_extension("log"))?;
        let mut command = Command::new(program());
        command
            .args(["serve", "--port", &self.port.to_string()])
            .args(["--imds-port", &self.imds_port.to_string()])
            .arg("--state")
            .arg(&self.state)
            .args(
                self.directory_file
                    .iter()
                    .flat_map(|file| [Path::new("--directory"), file]),
            )
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let mut process = Owned::start("entra-emulator", &mut command, Signal::TERM)?;
        let id = process.id();
        until("the emulator listens", || {
            if !process.is_running()? {
                let log = fs::read_to_string(self.state.with_extension("log"))?;
                return Err(format!("the emulator did not start:\n{log}").into());
            }
            Ok(self.running()?.filter(|running| running.pid == id))
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends the server: from now on nobody answers at its address.
    ///
    /// # Errors
    /// It goes on.
    pub fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.end(Signal::TERM).map(drop),
            None => Ok(()),
        }
    }

    /// Its address as authority, whether it runs or not.
    pub fn authority(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The address of the managed identity endpoint.
    pub fn managed_identity_host(&self) -> String {
        format!("http://127.0.0.1:{}", self.imds_port)
    }

    /// Where App Service's variables IDENTITY_ENDPOINT and IDENTITY_HEADER lead.
    ///
    /// # Errors
    /// The emulator isn't running.
    pub fn identity_endpoint(&self) -> Result<(String, String)> {
        let running = self.running()?.ok_or("the emulator is not running")?;
        Ok((running.identity_endpoint, running.identity_header))
    }

    /// Certificates of the authority that vouches for it, and for the servers under test.
    pub fn authorities(&self) -> PathBuf {
        self.state.join(CA_CERTIFICATE)
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Writes a certificate for `localhost` and `db.example.com`, and its key; where they are.
    ///
    /// # Errors
    /// The directory isn't writable.
    pub fn server_certificate(&self) -> Result<(PathBuf, PathBuf)> {
        let authority = CertificateAuthority::open(&StateDirectory::open(&self.state)?)?;
        let made =
            authority.issue(&["localhost", "127.0.0.1", "db.example.com"].map(str::to_owned))?;
        let certificate = self.state.with_extension("server.pem");
        let key = self.state.with_extension("server.key");
        fs::write(&certificate, made.certificate)?;
        fs::write(&key, made.key)?;
        Ok((certificate, key))
    }

    /// A token in the making: by default good, for [`AUDIENCE`].
    pub fn token(&self, subject: Subject) -> Token<'_> {
        let authority = Authority::at(&self.authority());
        Token {
            emulator: self,
            request: TokenRequest::new(subject, AUDIENCE, authority, now()),
        }
    }

    /// Makes a new signing key; the old ones stay published.
    ///
    /// # Errors
    /// The emulator isn't running.
    pub fn rotate(&self) -> Result<()> {
        self.control(Method::POST, "/keys/rotate", &Value::Null)
            .map(drop)
    }

    /// From now on, answers are disturbed as `fault` says (`crates/entra-emulator`).
    ///
    /// # Errors
    /// The emulator isn't running, or knows no such fault.
    pub fn disturb(&self, fault: &Value) -> Result<()> {
        self.control(Method::PUT, "/faults", fault).map(drop)
    }

    /// # Errors
    /// The emulator isn't running.
    pub fn behave(&self) -> Result<()> {
        self.control(Method::DELETE, "/faults", &Value::Null)
            .map(drop)
    }

    /// Adds members to a group, and takes others out of it; all named as in the directory file.
    ///
    /// # Errors
    /// The emulator isn't running, or knows no such group or member.
    pub fn change_members(&self, group: &str, add: &[&str], remove: &[&str]) -> Result<()> {
        let change = json!({ "members": { "group": group, "add": add, "remove": remove } });
        self.control(Method::POST, "/directory", &change).map(drop)
    }

    /// Deletes a user, a group, an application or a managed identity.
    ///
    /// # Errors
    /// The emulator isn't running, or knows nothing of that name.
    pub fn delete(&self, name: &str) -> Result<()> {
        let change = json!({ "delete": { "name": name } });
        self.control(Method::POST, "/directory", &change).map(drop)
    }

    /// Enters the code that a client shows, for this user.
    ///
    /// # Errors
    /// The emulator isn't running, no such code waits, or there is no such user.
    pub fn enter_device_code(&self, code: &str, user: &str) -> Result<()> {
        let order = json!({ "user_code": code, "answer": { "approve": user } });
        self.control(Method::POST, "/device", &order).map(drop)
    }

    /// How often Graph was asked whether somebody is in a group.
    ///
    /// # Errors
    /// The emulator isn't running.
    pub fn membership_requests(&self) -> Result<u64> {
        let requests = self.control(Method::GET, "/requests", &Value::Null)?;
        let paths = requests["paths"]
            .as_object()
            .ok_or_else(|| format!("no paths: {requests}"))?;
        let asked = paths
            .iter()
            .filter(|(path, _)| path.ends_with("/checkMemberGroups"))
            .filter_map(|(_, count)| count.as_u64());
        Ok(asked.sum())
    }

    /// How often Graph was asked anything.
    ///
    /// # Errors
    /// The emulator isn't running.
    pub fn graph_requests(&self) -> Result<u64> {
        self.requests("graph")
    }

    /// Blocks a user's account, or lets it be used again.
    ///
    /// # Errors
    /// The emulator isn't running, or knows no such user.
    pub fn enable_user(&self, user: &str, enabled: bool) -> Result<()> {
        let change = json!({ "user": { "user": user, "enabled": enabled } });
        self.control(Method::POST, "/directory", &change).map(drop)
    }

    /// How often its key endpoints were asked.
    ///
    /// # Errors
    /// The emulator isn't running.
    pub fn key_fetches(&self) -> Result<u64> {
        self.requests("keys")
    }

    fn requests(&self, endpoint: &str) -> Result<u64> {
        let requests = self.control(Method::GET, "/requests", &Value::Null)?;
        requests["endpoints"][endpoint]
            .as_u64()
            .ok_or_else(|| format!("no count: {requests}").into())
    }

    fn control(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        static CLIENT: LazyLock<reqwest::Result<Client>> = LazyLock::new(|| {
            Client::builder()
                .no_proxy()
                .pool_max_idle_per_host(0)
                .build()
        });
        let running = self.running()?.ok_or("the emulator is not running")?;
        let client = CLIENT.as_ref().map_err(ToString::to_string)?;
        let request = client.request(method, format!("{}{path}", running.control));
        let answer = request
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()?
            .error_for_status()?;
        Ok(serde_json::from_str(&answer.text()?)?)
    }

    fn running(&self) -> Result<Option<Running>> {
        Ok(Running::read(&StateDirectory::open(&self.state)?)?)
    }
}

/// A request for a token that differs from a good one as the caller says.
pub struct Token<'a> {
    emulator: &'a Emulator,
    request: TokenRequest,
}

impl Token<'_> {
    #[must_use]
    pub fn audience(mut self, audience: &str) -> Self {
        audience.clone_into(&mut self.request.audience);
        self
    }

    /// About another principal than the directory's: its object id (and subject) are replaced.
    #[must_use]
    pub fn object_id(mut self, object_id: Uuid) -> Self {
        self.request
            .claims
            .push(("oid".to_owned(), Value::from(object_id.to_string())));
        self
    }

    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.request.claims.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.request.header.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub fn deviation(mut self, deviation: &'static Deviation) -> Self {
        self.request.deviations.push(deviation);
        self
    }

    /// Without a claim that a good token has.
    #[must_use]
    pub fn without(mut self, claim: &str) -> Self {
        self.request.without.push(claim.to_owned());
        self
    }

    /// Filled up to this many bytes.
    #[must_use]
    pub fn size(mut self, bytes: usize) -> Self {
        self.request.size = Some(bytes);
        self
    }

    #[must_use]
    pub fn expires_in(mut self, seconds: i64) -> Self {
        self.request.expires_in = Some(seconds);
        self
    }

    /// Signs it with the keys as they are in the state directory now.
    ///
    /// # Errors
    /// The directory knows no such principal or resource.
    pub fn text(self) -> Result<String> {
        let keys = SigningKeys::open(&self.emulator.state)?;
        Ok(mint(&self.emulator.directory, &keys, &self.request)?.text)
    }
}

/// The program that cargo built.
pub fn program() -> PathBuf {
    target().join("release/entra-emulator")
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or_default()
}
