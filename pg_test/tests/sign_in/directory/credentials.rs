//! How the server authenticates to Entra, and its proxy.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use entra_emulator::directory::BUILT_IN;
use pg_test::Result;
use pg_test::emulator::{Emulator, program};
use pg_test::plan::Plan;
use pg_test::process::checked;
use pg_test::wait::until;
use serde_json::json;

use crate::directory_server::{ALICE, SERVER_APPLICATION, SERVER_SECRET, set_mode};
use crate::rig::{Rig, ensure};

pub fn all(rig: &Rig) -> Result<()> {
    let certificate = Certificate::make(rig)?;
    // The directory knows what is public of it.
    let secret = "secrets = [\"aadauth-server-secret\"]";
    let both = format!("{secret}\ncertificates = ['''{}''']", certificate.public);
    let directory = BUILT_IN.replacen(secret, &both, 1);
    ensure(directory != BUILT_IN, || {
        "the directory has another secret".to_owned()
    })?;
    for (name, credential) in [
        ("by-secret", Credential::Secret),
        ("by-certificate", Credential::Certificate(certificate.file)),
        ("by-managed-identity", Credential::ManagedIdentity),
        ("by-workload-identity", Credential::WorkloadIdentity),
    ] {
        let emulator =
            Emulator::prepare(rig.run(), &format!("entra-{name}"))?.with_directory(&directory)?;
        let own = rig.server_of_directory(name, emulator, |plan, emulator| {
            credential.plan(rig, plan, emulator)
        })?;
        let source = own
            .accepted("dba", &own.silent_user(ALICE)?)
            .map_err(|error| format!("{name}: {error}"))?;
        ensure(source == "directory", || source)?;
    }
    Ok(())
}

enum Credential {
    Secret,
    Certificate(PathBuf),
    ManagedIdentity,
    WorkloadIdentity,
}

impl Credential {
    fn plan(self, rig: &Rig, plan: Plan, emulator: &Emulator) -> Result<Plan> {
        if let Credential::Secret = self {
            return Ok(plan);
        }
        let plan = plan.unset("aadauth.client_secret_file");
        Ok(match self {
            Credential::Secret => plan,
            Credential::Certificate(file) => {
                plan.set("aadauth.credential", "client_certificate").set(
                    "aadauth.client_certificate_file",
                    &file.display().to_string(),
                )
            }
            Credential::ManagedIdentity => plan
                .set("aadauth.credential", "managed_identity")
                .unset("aadauth.client_id")
                .environment(
                    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
                    &emulator.managed_identity_host(),
                ),
            Credential::WorkloadIdentity => {
                let mut command = Command::new(program());
                command
                    .args(["federated-token", "--state"])
                    .arg(emulator.state())
                    .args(["--issuer", "https://kubernetes.example.com"])
                    .args(["--subject", "system:serviceaccount:databases:postgresql"]);
                let token = checked(&mut command)?;
                let file = rig.secret_file("workload.token", token.trim())?;
                plan.set("aadauth.credential", "workload_identity")
                    .set("aadauth.federated_token_file", &file.display().to_string())
            }
        })
    }
}

/// A self-signed certificate, and its key.
struct Certificate {
    public: String,
    /// Both, for the server.
    file: PathBuf,
}

impl Certificate {
    fn make(rig: &Rig) -> Result<Certificate> {
        let place = |name| rig.run().path().join(name);
        let (key, certificate) = (place("client.key"), place("client.crt"));
        checked(
            Command::new("openssl")
                .args([
                    "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                ])
                .args(["-subj", "/CN=postgresql"])
                .arg("-keyout")
                .arg(&key)
                .arg("-out")
                .arg(&certificate),
        )?;
        let public = std::fs::read_to_string(certificate)?;
        let content = public.clone() + &std::fs::read_to_string(key)?;
        Ok(Certificate {
            public,
            file: rig.secret_file("client.pem", &content)?,
        })
    }
}

pub fn open_secret(rig: &Rig) -> Result<()> {
    let own = rig.directory_server("open-secret")?;
    let secret = rig.run().path().join("open-secret.secret");
    let alice = own.silent_user(ALICE)?;
    set_mode(&secret, "0644")?;
    own.refused("dba", &alice, "directory-unavailable")?;
    let problem = own
        .server
        .wait_for_log(0, "the directory does not respond: ")?;
    ensure(
        problem.contains("WARNING") && problem.contains("open-secret.secret"),
        || problem.clone(),
    )?;
    ensure(!own.server.log()?.contains(SERVER_SECRET), || {
        "the secret is in the log".to_owned()
    })?;
    // Corrected: the next request uses it, without a reload.
    set_mode(&secret, "0600")?;
    own.accepted("dba", &alice).map(drop)
}

pub fn in_no_log(rig: &Rig) -> Result<()> {
    const WRONG: &str = "a-secret-that-is-wrong";
    let mut own = rig.directory_server_with("secret-in-log", |plan, _| {
        Ok(plan
            .set("log_min_messages", "debug5")
            .set("aadauth.group_cache_ttl", "0"))
    })?;
    let alice = own.silent_user(ALICE)?;
    own.accepted("dba", &alice)?;
    for fault in ["garbage", "truncated", "error"] {
        for endpoint in ["token", "graph"] {
            own.server.reload()?;
            own.emulator
                .disturb(&json!({ "fault": fault, "endpoint": endpoint }))?;
            own.refused("dba", &alice, "directory-unavailable")?;
            own.emulator.behave()?;
        }
    }
    let secret = rig.secret_file("secret-in-log-wrong.secret", WRONG)?;
    let secret = secret.display().to_string();
    own.server
        .configure(&[("aadauth.client_secret_file", Some(&secret))])?;
    own.refused("dba", &alice, "directory-unavailable")?;
    let log = own.server.log()?;
    ensure(log.contains("AADSTS7000215"), || {
        "the wrong secret was not refused as one".to_owned()
    })?;
    ensure(log.contains("DEBUG"), || {
        "the log is not a full one".to_owned()
    })?;
    // Tokens begin with the encoded {\" of their header.
    for text in [SERVER_SECRET, WRONG, "eyJ"] {
        ensure(!log.contains(text), || format!("{text} is in the log"))?;
    }
    Ok(())
}

pub fn missing_setting(rig: &Rig) -> Result<()> {
    let mut own = rig.directory_server("missing-setting")?;
    let alice = own.silent_user(ALICE)?;
    for (setting, value) in [
        ("aadauth.client_id", SERVER_APPLICATION),
        (
            "aadauth.client_secret_file",
            &rig.run()
                .path()
                .join("missing-setting.secret")
                .display()
                .to_string(),
        ),
    ] {
        let mark = own.server.log()?.len();
        own.server.configure(&[(setting, None)])?;
        own.refused("dba", &alice, "groups-unknown")?;
        own.server.wait_for_log(
            mark,
            &format!("the directory is not queried: {setting} is not set"),
        )?;
        own.server.configure(&[(setting, Some(value))])?;
        until("the directory is asked again", || {
            let sign_in = own.sign_in("dba", &alice)?;
            Ok(sign_in.outcome.is_in().then_some(()))
        })?;
    }
    Ok(())
}

pub fn proxy(rig: &Rig) -> Result<()> {
    let proxy = ConnectProxy::start()?;
    let own = rig.directory_server_with("proxy", |plan, _| {
        Ok(plan.set("aadauth.https_proxy", &proxy.address))
    })?;
    // The signing keys have come that way already.
    let for_keys = proxy.connections();
    ensure(for_keys > 0, || {
        "the signing keys came around the proxy".to_owned()
    })?;
    let alice = own.silent_user(ALICE)?;
    own.accepted("dba", &alice)?;
    ensure(proxy.connections() > for_keys, || {
        "Graph was asked around the proxy".to_owned()
    })
}

/// A proxy that knows CONNECT and nothing else (RFC 9110 section 9.3.6).
struct ConnectProxy {
    address: String,
    connections: Arc<AtomicUsize>,
}

impl ConnectProxy {
    /// It listens for as long as the test program runs.
    fn start() -> Result<ConnectProxy> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = format!("http://localhost:{}", listener.local_addr()?.port());
        let connections = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                std::thread::spawn(move || connect(client, &count));
            }
        });
        Ok(ConnectProxy {
            address,
            connections,
        })
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn connect(mut client: TcpStream, count: &AtomicUsize) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 4096 {
        client.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.split(' ').next());
    let Some(target) = target else {
        return client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n");
    };
    let mut server = TcpStream::connect(target)?;
    count.fetch_add(1, Ordering::SeqCst);
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let back = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut client, &mut server);
    let _ = server.shutdown(Shutdown::Write);
    let _ = back.join();
    Ok(())
}
