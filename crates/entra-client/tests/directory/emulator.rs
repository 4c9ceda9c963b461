//! The emulator, in this process.

use std::path::PathBuf;
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use entra_api::{CredentialSource, DirectorySettings, HttpSettings};
use entra_client::Directory;
use entra_emulator::SigningKeys;
use entra_emulator::server::{self, Options, Running};
use entra_token::{Authority, Cloud};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::rig;

pub const TENANT: Uuid = Uuid::from_u128(0x6b1f0c7e_2a3d_4e58_9b41_0c5d7e8f9a01);
/// The application that has the permissions, and its secret.
pub const SERVER: Uuid = Uuid::from_u128(0xaada5e4e_0000_4000_8000_000000000070);
pub const SECRET: &str = "aadauth-server-secret";

/// A running emulator with a state directory of its own. It ends with this process.
pub struct Emulator {
    pub state: TempDir,
    pub running: Running,
}

impl Emulator {
    /// With the built-in directory.
    pub fn start() -> Emulator {
        Emulator::with(entra_emulator::Directory::built_in().unwrap())
    }

    /// With this text after that of the built-in directory's first tenant.
    pub fn with_more(more: &str) -> Emulator {
        let mut text = entra_emulator::directory::BUILT_IN.to_owned();
        let place = text.find("\n[[resource]]").unwrap();
        text.insert_str(place, &format!("\n{more}\n"));
        Emulator::with(entra_emulator::Directory::parse(&text, "the test").unwrap())
    }

    fn with(directory: entra_emulator::Directory) -> Emulator {
        static KEYS: LazyLock<SigningKeys> =
            LazyLock::new(|| SigningKeys::open(tempfile::tempdir().unwrap().path()).unwrap());
        let state = tempfile::tempdir().unwrap();
        KEYS.copy_to(state.path()).unwrap();
        let (sender, receiver) = mpsc::channel();
        let options = Options {
            state: state.path().to_owned(),
            directory,
            port: 0,
            imds_port: 0,
            address: [127, 0, 0, 1].into(),
            beyond_loopback: false,
            host: "localhost".to_owned(),
            device_user: None,
            identity_header: None,
        };
        thread::spawn(move || {
            server::serve(options, |running| sender.send(running.clone()).unwrap()).unwrap();
        });
        let running = receiver.recv_timeout(Duration::from_secs(60)).unwrap();
        Emulator { state, running }
    }

    /// A file with this content that only its owner may read.
    pub fn secret_file(&self, name: &str, content: &str) -> PathBuf {
        rig::secret_file(self.state.path(), name, content)
    }

    /// The settings of the application with the permissions.
    pub fn settings(&self) -> DirectorySettings {
        let secret = self.secret_file("secret", SECRET);
        self.settings_with(Some(SERVER), CredentialSource::ClientSecret(secret))
    }

    pub fn settings_with(
        &self,
        client_id: Option<Uuid>,
        credential: CredentialSource,
    ) -> DirectorySettings {
        DirectorySettings {
            tenant: TENANT,
            authority: Authority::new(Cloud::Public, Some(&self.running.authority)).unwrap(),
            graph: self.running.graph.clone(),
            client_id,
            credential,
            http: HttpSettings {
                ca_file: Some(self.running.ca_file.clone()),
                proxy: None,
            },
        }
    }

    pub fn directory(&self) -> Directory {
        Directory::new(self.settings()).unwrap()
    }

    /// Disturbs answers as it is told to.
    pub fn disturb(&self, fault: &Value) {
        self.control("PUT", "/faults", Some(fault));
    }

    /// Changes the directory as it is told to.
    pub fn change(&self, change: &Value) {
        self.control("POST", "/directory", Some(change));
    }

    /// How many requests an endpoint has had.
    pub fn requests(&self, endpoint: &str) -> u64 {
        let requests = self.control("GET", "/requests", None);
        requests["endpoints"][endpoint]
            .as_u64()
            .unwrap_or_else(|| panic!("{requests}"))
    }

    fn control(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let client = reqwest::blocking::Client::builder()
            .no_proxy()
            .build()
            .unwrap();
        let method = method.parse().unwrap();
        let mut request = client.request(method, format!("{}{path}", self.running.control));
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let response = request.send().unwrap();
        let status = response.status();
        let text = response.text().unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(json!(null))
    }
}

/// A moment that no test reaches.
pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}
