//! HTTPS: what it accepts, where it goes, how long and how much.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use entra_api::{CaFileError, HttpSettings};
use entra_client::http::LARGEST_BODY;
use entra_client::{Http, HttpError, Response};
use rcgen::{CertificateParams, KeyPair};
use time::OffsetDateTime;

use crate::emulator::soon;
use crate::rig::{http, in_a_process};
use crate::server::{Authority, Proxy, Reply, Server};

fn get(server: &Server) -> Result<Response, HttpError> {
    get_within(server, Duration::from_secs(20))
}

fn get_within(server: &Server, limit: Duration) -> Result<Response, HttpError> {
    Http::new(&http(server))
        .unwrap()
        .get(&server.url(), Instant::now() + limit)
}

fn transport(result: Result<Response, HttpError>) -> String {
    match result {
        Err(HttpError::Transport(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_has_its_status_body_and_date() {
    let headers = &[
        ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("Retry-After", "7"),
    ];
    let server = Server::start(|_| Reply::Answer(418, headers, "short".to_owned()));
    let response = get(&server).unwrap();
    assert_eq!(response.status, 418);
    assert_eq!(response.body.as_slice(), b"short");
    assert_eq!(response.date, Some(784_111_777));
    assert_eq!(response.retry_after, Some(Duration::from_secs(7)));
    assert!(!format!("{response:?}").contains("short"));

    let server = Server::start(|_| Reply::Answer(200, &[("Date", "x")], String::new()));
    let response = get(&server).unwrap();
    assert_eq!((response.date, response.retry_after), (None, None));
}

#[test]
fn retry_after_may_be_a_date() {
    // Long past: no pause.
    let headers = &[("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT")];
    let server = Server::start(|_| Reply::Answer(429, headers, String::new()));
    assert_eq!(get(&server).unwrap().retry_after, Some(Duration::ZERO));
}

#[test]
fn nothing_but_https_is_asked() {
    let server = Server::plain(|_| Reply::json("{}"));
    let client = Http::new(&HttpSettings::default()).unwrap();
    let place = format!("localhost:{}", server.address.port());
    for url in [
        format!("http://{place}/"),
        format!("HTTP://{place}/"),
        format!("ftp://{place}/"),
        format!("https://user@{place}/"),
        format!("https://user:password@{place}/"),
        format!("https://:password@{place}/"),
        place,
        "https://".to_owned(),
        String::new(),
    ] {
        let refused = client.get(&url, soon()).unwrap_err();
        assert_eq!(refused, HttpError::Address, "{url}");
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn redirects_are_answers() {
    let elsewhere = Server::plain(|_| Reply::json("{}"));
    let secure = Server::start(|_| Reply::json("{}"));
    for target in [
        format!("http://localhost:{}/", elsewhere.address.port()),
        secure.url(),
        "/".to_owned(),
    ] {
        let server = Server::start(move |_| {
            let head = "HTTP/1.1 302 X\r\nConnection: close\r\nContent-Length: 0\r\n";
            Reply::Bytes(format!("{head}Location: {target}\r\n\r\n").into_bytes())
        });
        assert_eq!(get(&server).unwrap().status, 302);
        assert_eq!(server.connections(), 1);
    }
    assert_eq!(elsewhere.connections() + secure.connections(), 0);
}

/// Runs into the deadline, and not far beyond it.
fn times_out(server: &Server, limit: Duration) {
    let started = Instant::now();
    let refused = get_within(server, limit).unwrap_err();
    let took = started.elapsed();
    assert!(matches!(refused, HttpError::Slow(_)), "{refused:?}");
    assert!(
        took >= limit && took < limit + Duration::from_secs(1),
        "{took:?}"
    );
}

#[test]
fn the_deadline_holds_whatever_the_server_does() {
    let second = Duration::from_secs(1);
    times_out(&Server::start(|_| Reply::Silence), second);
    times_out(&Server::start(|_| Reply::Stuck), second);
    // Each byte comes in time; all of them don't.
    let drip = || Reply::Drip("x".repeat(1000), Duration::from_millis(100));
    times_out(&Server::start(move |_| drip()), second);
    let heads = || "HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000_000);
    times_out(
        &Server::start(move |_| Reply::Drip(heads(), Duration::from_millis(10))),
        second,
    );
    // The handshake is part of it.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    let started = Instant::now();
    let client = Http::new(&HttpSettings::default()).unwrap();
    let refused = client.get(&url, started + second).unwrap_err();
    assert!(matches!(refused, HttpError::Slow(_)), "{refused:?}");
    assert!(started.elapsed() < 2 * second);
    // What is past is not even tried.
    let server = Server::start(|_| Reply::json("{}"));
    let client = Http::new(&http(&server)).unwrap();
    let refused = client.get(&server.url(), Instant::now()).unwrap_err();
    assert!(matches!(refused, HttpError::Slow(_)), "{refused:?}");
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_connection_is_made_within_five_seconds_or_not_at_all() {
    // Accepts, and never shakes hands.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    let client = Http::new(&HttpSettings::default()).unwrap();
    let started = Instant::now();
    let refused = client
        .get(&url, started + Duration::from_secs(30))
        .unwrap_err();
    let took = started.elapsed();
    assert_eq!(refused, HttpError::SlowConnection);
    assert!(
        took >= Duration::from_secs(5) && took < Duration::from_secs(8),
        "{took:?}"
    );
}

#[test]
fn a_body_is_read_up_to_the_limit() {
    for (length, is_read) in [(LARGEST_BODY, true), (LARGEST_BODY + 1, false)] {
        let server = Server::start(move |_| Reply::json("x".repeat(length)));
        match get(&server) {
            Ok(response) => assert!(is_read && response.body.len() == length),
            Err(refused) => assert!(!is_read && refused == HttpError::TooLarge(LARGEST_BODY)),
        }
    }
    let started = Instant::now();
    let refused = get(&Server::start(|_| Reply::Endless)).unwrap_err();
    assert_eq!(refused, HttpError::TooLarge(LARGEST_BODY));
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn compression_is_not_asked_for() {
    let headers = &[("Content-Encoding", "gzip")];
    let server = Server::start(|_| Reply::Answer(200, headers, "\x1f not really".to_owned()));
    let response = get(&server).unwrap();
    assert_eq!(response.body.as_slice(), b"\x1f not really");
    let asked = server.asked();
    assert!(
        !asked[0].headers.contains_key("accept-encoding"),
        "{asked:?}"
    );
}

#[test]
fn the_certificate_must_be_of_the_host_and_of_the_authority() {
    let stranger = Authority::new().issue("localhost");
    let other_host = |authority: &Authority| authority.issue("elsewhere.test");
    let authority = Authority::new();
    let wrong_host = other_host(&authority);
    for (authority, certificate) in [
        (Authority::new(), stranger),
        (authority, wrong_host),
        expired(),
    ] {
        let host = Ipv4Addr::LOCALHOST.into();
        let server = Server::with(host, authority, Some(certificate), |_| Reply::json("{}"));
        let problem = transport(get(&server));
        assert!(problem.contains("certificate"), "{problem}");
        assert!(server.asked().is_empty());
    }
}

/// A certificate that was good until yesterday, of an authority that is trusted.
fn expired() -> (Authority, (String, String)) {
    let authority = Authority::new();
    let ca_key = std::fs::read_to_string(authority.path().join("ca.key")).unwrap();
    let ca = std::fs::read_to_string(authority.file()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&ca_key).unwrap()).unwrap();
    let mut parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
    parameters.not_before = OffsetDateTime::now_utc() - time::Duration::days(30);
    parameters.not_after = OffsetDateTime::now_utc() - time::Duration::days(1);
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.signed_by(&key, &issuer).unwrap();
    (authority, (certificate.pem(), key.serialize_pem()))
}

#[test]
fn the_file_of_authorities_is_read_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let refused = |path: &PathBuf| {
        let settings = HttpSettings {
            ca_file: Some(path.clone()),
            proxy: None,
        };
        Http::new(&settings).map(drop).unwrap_err()
    };
    assert!(matches!(
        refused(&path),
        HttpError::CaFile(CaFileError::Unreadable { .. })
    ));
    std::fs::write(&path, "no certificate here").unwrap();
    assert_eq!(
        refused(&path),
        HttpError::CaFile(CaFileError::Empty(path.clone()))
    );
    // The last is a key on one line, of which no byte may get into a message.
    for broken in [
        "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n",
        "-----BEGIN PRIVATE KEY----- c2VjcmV0 -----END PRIVATE KEY-----",
    ] {
        std::fs::write(&path, broken).unwrap();
        assert_eq!(
            refused(&path),
            HttpError::CaFile(CaFileError::Malformed(path.clone()))
        );
        let message = refused(&path).to_string();
        let secret = format!("{:?}", b"c2VjcmV0");
        let secret = secret.trim_matches(['[', ']']);
        assert!(
            !message.contains("c2VjcmV0") && !message.contains(secret),
            "{message}"
        );
    }
}

#[test]
fn addresses_of_version_6_work() {
    let authority = Authority::new();
    let certificate = authority.issue("::1");
    let host = Ipv6Addr::LOCALHOST.into();
    let server = Server::with(host, authority, Some(certificate), |_| Reply::json("six"));
    let client = Http::new(&http(&server)).unwrap();
    let url = format!("https://[::1]:{}/", server.address.port());
    assert_eq!(client.get(&url, soon()).unwrap().body.as_slice(), b"six");
}

#[test]
fn what_is_not_http_is_refused() {
    for bytes in [
        b"no HTTP at all\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 X\r\nContent-Length: 10\r\nConnection: close\r\n\r\nshort".to_vec(),
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec(),
        [b"HTTP/1.1 200 X\r\nX: ".to_vec(), vec![b'x'; 2_000_000]].concat(),
    ] {
        let sent = bytes.clone();
        let server = Server::start(move |_| Reply::Bytes(sent.clone()));
        let problem = transport(get(&server));
        assert!(
            problem.len() <= 300 && !problem.contains("short"),
            "{problem}"
        );
    }
    assert!(!transport(get(&Server::start(|_| Reply::Close))).is_empty());
}

#[test]
fn nobody_listens() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    drop(listener);
    let client = Http::new(&HttpSettings::default()).unwrap();
    let problem = transport(client.get(&url, soon()));
    assert!(problem.contains("refused"), "{problem}");
}

const TARGET: &str = "TEST_TARGET";
const TRUSTED: &str = "TEST_TRUSTED";

#[test]
fn proxies_of_the_environment_are_not_used() {
    if let Ok(url) = std::env::var(TARGET) {
        let settings = HttpSettings {
            ca_file: Some(std::env::var_os(TRUSTED).unwrap().into()),
            proxy: None,
        };
        let response = Http::new(&settings).unwrap().get(&url, soon()).unwrap();
        assert_eq!(response.body.as_slice(), b"direct");
        return;
    }
    let server = Server::start(|_| Reply::json("direct"));
    let proxy = Proxy::start(200);
    let trusted = server.authority.file();
    let mut variables = vec![
        (TARGET, server.url()),
        (TRUSTED, trusted.display().to_string()),
    ];
    for name in [
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "http_proxy",
    ] {
        variables.push((name, proxy.url()));
    }
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    in_a_process("https::proxies_of_the_environment_are_not_used", &variables);
    assert_eq!((server.connections(), proxy.tunnels().len()), (1, 0));
}
