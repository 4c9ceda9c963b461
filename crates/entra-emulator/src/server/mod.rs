//! The emulator as a server: the authority over TLS, the managed identity endpoint over plain HTTP
//! as on virtual machines, and the control interface.

mod authorize;
mod control;
mod discovery;
mod disturb;
mod emulator;
mod endpoint;
mod error;
mod faults;
mod form;
mod graph;
mod managed_identity;
mod requests;
mod routes;
mod token_endpoint;
mod unproven;
mod user_realm;

use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::authority::Authority;
use crate::certificate::{CertificateAuthority, CertificateError};
use crate::directory::{Directory, LookupError, Subject};
use crate::signing_keys::{SigningKeyError, SigningKeys};
use crate::state::{CA_CERTIFICATE, RUNNING, StateDirectory, StateError};
use crate::token::{MintError, opaque_value};

use disturb::Gate;
use emulator::{Emulator, Shared};

pub use faults::{Fault, FaultOrder};
pub use token_endpoint::{DeviceAnswer, DeviceOrder};

/// The address of the last server on a state directory, for `entra-emulator token`.
const AUTHORITY: &str = "authority";
const SERVER_CERTIFICATE: &str = "server.pem";
const SERVER_KEY: &str = "server.key";
/// How long requests that are under way may go on after a signal to stop.
const FAREWELL: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Key(#[from] SigningKeyError),
    #[error(transparent)]
    User(#[from] LookupError),
    #[error(transparent)]
    Secret(#[from] MintError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: io::Error },
    #[error("TLS: {0}")]
    Tls(String),
    #[error("{0}")]
    System(#[from] io::Error),
    #[error(
        "{0} is not a loopback address; every client that reaches the emulator gets tokens in any name; \
         --beyond-loopback allows it"
    )]
    BeyondLoopback(IpAddr),
    #[error("no emulator runs on state directory {0}; start one with entra-emulator serve")]
    NotRunning(String),
    #[error("no emulator has run on state directory {0} yet; start one, or pass --authority")]
    NeverRan(String),
    #[error("{file} of the state directory is damaged: {problem}")]
    Damaged { file: &'static str, problem: String },
}

/// Where and how to serve.
pub struct Options {
    pub state: PathBuf,
    pub directory: Directory,
    /// Ports of the authority and of the managed identity endpoint; 0 picks free ones.
    pub port: u16,
    pub imds_port: u16,
    pub address: IpAddr,
    /// An address other than loopback is meant.
    pub beyond_loopback: bool,
    /// The host name in the authority's address, and in its certificate beside localhost.
    pub host: String,
    /// The user who enters every device code at once, and signs in wherever a browser is sent.
    pub device_user: Option<String>,
    /// The secret of App Service's endpoint; without it, a random one.
    pub identity_header: Option<String>,
}

/// What `emulator.json` says while a server runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Running {
    pub authority: String,
    /// Where Graph is: the authority's own address.
    pub graph: String,
    pub imds: String,
    /// The endpoint of App Service, and the secret that requests there carry in a header.
    pub identity_endpoint: String,
    pub identity_header: String,
    pub ca_file: PathBuf,
    pub control: String,
    pub pid: u32,
}

impl Running {
    /// What runs on the state directory, if its file is there.
    pub fn read(state: &StateDirectory) -> Result<Option<Running>, ServeError> {
        let Some(text) = state.read(RUNNING)? else {
            return Ok(None);
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| ServeError::Damaged {
                file: RUNNING,
                problem: error.to_string(),
            })
    }
}

/// The authority that last served on the state directory.
pub fn last_authority(state: &StateDirectory) -> Result<Authority, ServeError> {
    let never = || ServeError::NeverRan(state.file("").display().to_string());
    let text = state.read(AUTHORITY)?.ok_or_else(never)?;
    text.trim().parse().map_err(|problem| ServeError::Damaged {
        file: AUTHORITY,
        problem,
    })
}

/// Serves until SIGTERM or SIGINT. `ready` is called once requests are answered and
/// `emulator.json` says where.
pub fn serve(options: Options, ready: impl FnOnce(&Running)) -> Result<(), ServeError> {
    if !options.address.is_loopback() && !options.beyond_loopback {
        return Err(ServeError::BeyondLoopback(options.address));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(run(options, ready))
}

async fn run(options: Options, ready: impl FnOnce(&Running)) -> Result<(), ServeError> {
    let state = StateDirectory::open(&options.state)?;
    let keys = SigningKeys::open(&options.state)?;
    let tls = tls_configuration(&state, &options.host)?;
    let authority_listener = listen(options.address, options.port)?;
    let imds_listener = listen(options.address, options.imds_port)?;
    let control_listener = listen(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)?;

    let port = authority_listener.local_addr()?.port();
    // 443 is what https means.
    let address = match port {
        443 => format!("https://{}", options.host),
        port => format!("https://{}:{port}", options.host),
    };
    let imds = imds_listener.local_addr()?;
    let imds = if options.address.is_loopback() {
        format!("http://{imds}")
    } else {
        format!("http://{}:{}", options.host, imds.port())
    };
    let device_user = options.device_user.map(Subject::User);
    if let Some(user) = &device_user {
        options.directory.find(user)?;
    }
    let running = Running {
        graph: address.clone(),
        authority: address,
        identity_endpoint: format!("{imds}{}", endpoint::APP_SERVICE),
        imds,
        identity_header: options.identity_header.map_or_else(opaque_value, Ok)?,
        ca_file: state.file(CA_CERTIFICATE),
        control: format!("http://{}", control_listener.local_addr()?),
        pid: std::process::id(),
    };
    let emulator: Shared = Arc::new(Emulator {
        directory: RwLock::new(options.directory),
        authority: Authority::at(&running.authority),
        keys: Mutex::new(keys),
        faults: Mutex::default(),
        requests: Mutex::default(),
        managed_tokens: Mutex::default(),
        identity_header: running.identity_header.clone(),
        refresh_tokens: Mutex::default(),
        device_codes: Mutex::default(),
        authorization_codes: Mutex::default(),
        device_user,
        state: state.clone(),
    });

    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let handle = Handle::new();
    let gate = Gate(emulator.clone());
    let authority = tokio::spawn(
        server(authority_listener)?
            .acceptor(RustlsAcceptor::new(tls).acceptor(gate.clone()))
            .handle(handle.clone())
            .serve(routes::authority(emulator.clone()).into_make_service()),
    );
    let imds = tokio::spawn(
        server(imds_listener)?
            .acceptor(gate)
            .handle(handle.clone())
            .serve(routes::managed_identity(emulator.clone()).into_make_service()),
    );
    let control = tokio::spawn(
        server(control_listener)?
            .handle(handle.clone())
            .serve(control::routes(emulator).into_make_service()),
    );

    state.write(AUTHORITY, &format!("{}\n", running.authority))?;
    let text = serde_json::to_string_pretty(&running).map_err(io::Error::from)?;
    state.write(RUNNING, &format!("{text}\n"))?;
    ready(&running);

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    state.remove(RUNNING)?;
    handle.graceful_shutdown(Some(FAREWELL));
    for task in [authority, imds, control] {
        task.await.map_err(io::Error::other)??;
    }
    Ok(())
}

fn listen(address: IpAddr, port: u16) -> Result<TcpListener, ServeError> {
    let opened = TcpListener::bind((address, port)).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    opened.map_err(|source| ServeError::Listen {
        address: format!("{address}:{port}"),
        source,
    })
}

fn server(listener: TcpListener) -> io::Result<Server<std::net::SocketAddr>> {
    axum_server::from_tcp(listener)
}

fn tls_configuration(state: &StateDirectory, host: &str) -> Result<RustlsConfig, ServeError> {
    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    if !names.iter().any(|name| name == host) {
        names.push(host.to_owned());
    }
    let issued = CertificateAuthority::open(state)?.issue(&names)?;
    state.write_secret(SERVER_KEY, &issued.key)?;
    state.write(SERVER_CERTIFICATE, &issued.certificate)?;

    let failed = |error: &dyn std::fmt::Display| ServeError::Tls(error.to_string());
    let certificate =
        CertificateDer::from_pem_slice(issued.certificate.as_bytes()).map_err(|e| failed(&e))?;
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).map_err(|e| failed(&e))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut configuration = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| failed(&e))?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(|e| failed(&e))?;
    configuration.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(RustlsConfig::from_config(Arc::new(configuration)))
}
