//! The identity of the machine: of a virtual machine by the emulator's endpoint, of App Service by a
//! server that plays it. Which one is there is for the environment to say, so each test runs itself
//! in a process with another one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use entra_api::{CredentialSource, DirectorySettings, HttpSettings};
use entra_client::Directory;
use entra_token::{Authority, Cloud};
use uuid::Uuid;

use crate::emulator::{Emulator, TENANT, soon};
use crate::rig::{CLIENT, SENTINEL, in_a_process};
use crate::server::{Proxy, Reply, Server};

/// What the process in the other environment finds in it: the directory, the authorities to trust, the
/// client id if there is one, the proxy if there is one, and what must come of a probe.
const GRAPH: &str = "TEST_GRAPH";
const TRUSTED: &str = "TEST_TRUSTED";
const AS: &str = "TEST_AS";
const BY_WAY_OF: &str = "TEST_BY_WAY_OF";
const EXPECTED: &str = "TEST_EXPECTED";

/// Plays the part of the process in the other environment, if this is it.
fn is_the_other() -> bool {
    let Ok(graph) = std::env::var(GRAPH) else {
        return false;
    };
    let client_id = std::env::var(AS).ok();
    let directory = Directory::new(DirectorySettings {
        tenant: TENANT,
        // Nobody is there: the machine is asked and not the authority.
        authority: Authority::new(Cloud::Public, Some("https://localhost:1")).unwrap(),
        graph,
        client_id: client_id.map(|id| Uuid::try_parse(&id).unwrap()),
        credential: CredentialSource::ManagedIdentity,
        http: HttpSettings {
            ca_file: std::env::var_os(TRUSTED).map(Into::into),
            proxy: std::env::var(BY_WAY_OF).ok(),
        },
    });
    let outcome = match directory.and_then(|directory| directory.probe(soon())) {
        Ok(()) => "fine".to_owned(),
        Err(error) => format!("{}: {error}", error.kind.code()),
    };
    assert!(!outcome.contains(SENTINEL), "{outcome}");
    let expected = std::env::var(EXPECTED).unwrap();
    assert!(outcome.contains(&expected), "{outcome}, not {expected}");
    true
}

#[test]
fn the_machine_endpoint_gives_a_token() {
    if is_the_other() {
        return;
    }
    let emulator = Emulator::start();
    let proxy = Proxy::start(200);
    for imds in [
        emulator.running.imds.clone(),
        format!("{}/", emulator.running.imds),
    ] {
        in_a_process(
            "managed_identity::the_machine_endpoint_gives_a_token",
            &[
                (GRAPH, &emulator.running.graph),
                (TRUSTED, &emulator.running.ca_file.display().to_string()),
                ("AZURE_POD_IDENTITY_AUTHORITY_HOST", &imds),
                (BY_WAY_OF, &proxy.url()),
                ("http_proxy", &proxy.url()),
                (EXPECTED, "fine"),
            ],
        );
    }
    assert_eq!(emulator.requests("imds"), 2);
    assert_eq!(emulator.requests("token"), 0);
    // The proxy was asked for Graph, never for the machine's own endpoint.
    let graph = emulator.running.graph.strip_prefix("https://").unwrap();
    assert!(!proxy.tunnels().is_empty());
    for tunnel in proxy.tunnels() {
        assert_eq!(tunnel.path, graph);
    }
}

#[test]
fn one_identity_among_several_is_asked_for() {
    if is_the_other() {
        return;
    }
    let emulator = Emulator::start();
    let batch = "ba7c0000-0000-4000-8000-000000000040";
    for (client_id, expected) in [
        // It may read nothing; the machine's own may.
        (
            batch,
            "permission-missing: the server's identity lacks User.Read.All, GroupMember.Read.All, Application.Read.All",
        ),
        (&CLIENT.to_string(), "credential-refused"),
    ] {
        in_a_process(
            "managed_identity::one_identity_among_several_is_asked_for",
            &[
                (GRAPH, &emulator.running.graph),
                (TRUSTED, &emulator.running.ca_file.display().to_string()),
                ("AZURE_POD_IDENTITY_AUTHORITY_HOST", &emulator.running.imds),
                (AS, client_id),
                (EXPECTED, expected),
            ],
        );
    }
    assert_eq!(emulator.requests("imds"), 2);
}

/// Runs a test again where App Service's endpoint is at `url`.
fn with_app_service(test: &str, url: &str, graph: &Server, expected: &str) {
    in_a_process(
        test,
        &[
            (GRAPH, &graph.url()),
            (TRUSTED, &graph.authority.file().display().to_string()),
            ("IDENTITY_ENDPOINT", url),
            ("IDENTITY_HEADER", SENTINEL),
            ("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1"),
            (AS, &CLIENT.to_string()),
            (EXPECTED, expected),
        ],
    );
}

fn graph() -> Server {
    Server::start(|_| Reply::json(r#"{"value":[]}"#))
}

#[test]
fn app_service_gives_a_token() {
    if is_the_other() {
        return;
    }
    // It says when a token expires, as text, and not how long it lives.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let token = format!(
        r#"{{"access_token":"abc","expires_on":"{}"}}"#,
        now + 86_400
    );
    let endpoint = Server::plain(move |_| Reply::json(token.clone()));
    let graph = graph();
    let url = format!("http://{}/msi/token", endpoint.address);
    with_app_service(
        "managed_identity::app_service_gives_a_token",
        &url,
        &graph,
        "fine",
    );
    let asked = endpoint.asked();
    assert_eq!(asked.len(), 1);
    let resource = "https%3A%2F%2Fgraph.microsoft.com";
    let path = format!("/msi/token?api-version=2019-08-01&resource={resource}&client_id={CLIENT}");
    assert_eq!(
        (asked[0].method.as_str(), asked[0].path.as_str()),
        ("GET", path.as_str())
    );
    assert_eq!(asked[0].headers["x-identity-header"], SENTINEL);
    assert!(!asked[0].headers.contains_key("metadata"));
    let bearer = graph.asked()[0].headers["authorization"].clone();
    assert_eq!(bearer, "Bearer abc");
}

#[test]
fn a_local_endpoint_that_misbehaves_is_refused() {
    const TEST: &str = "managed_identity::a_local_endpoint_that_misbehaves_is_refused";
    if is_the_other() {
        return;
    }
    let graph = graph();
    let elsewhere = Server::plain(|_| Reply::json(r#"{"access_token":"abc","expires_in":9}"#));
    let target = format!("http://{}/", elsewhere.address);
    let redirects = Server::plain(move |_| {
        let head = "HTTP/1.1 302 X\r\nConnection: close\r\nContent-Length: 0\r\n";
        Reply::Bytes(format!("{head}Location: {target}\r\n\r\n").into_bytes())
    });
    let refuses = Server::plain(|_| {
        let body = format!(r#"{{"error":"invalid_request","error_description":"{SENTINEL}"}}"#);
        Reply::Answer(400, &[], body)
    });
    for (url, expected) in [
        (
            format!("http://{}", redirects.address),
            "credential-refused: the managed identity endpoint in IDENTITY_ENDPOINT gives no token: status 302",
        ),
        (
            format!("http://{}", refuses.address),
            "credential-refused: the managed identity endpoint in IDENTITY_ENDPOINT gives no token: status 400 (invalid_request)",
        ),
        // Plain HTTP is spoken there, and nothing but.
        (graph.url(), "not one to be asked"),
        ("http://127.0.0.1:1".to_owned(), "unreachable"),
    ] {
        with_app_service(TEST, &url, &graph, expected);
    }
    assert_eq!(elsewhere.connections() + graph.connections(), 0);
}

#[test]
fn an_endpoint_that_is_being_updated_is_asked_again() {
    if is_the_other() {
        return;
    }
    let asked = AtomicUsize::new(0);
    let endpoint = Server::plain(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::status(404),
        1 => Reply::status(410),
        _ => Reply::json(r#"{"access_token":"abc","expires_in":"3600"}"#),
    });
    let url = format!("http://{}", endpoint.address);
    let test = "managed_identity::an_endpoint_that_is_being_updated_is_asked_again";
    with_app_service(test, &url, &graph(), "fine");
    assert_eq!(endpoint.connections(), 3);
}
