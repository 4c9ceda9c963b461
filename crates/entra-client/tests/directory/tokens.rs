//! The token with which Graph is asked: how often it is fetched, and what it may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use entra_api::{DirectoryError, ErrorKind};
use entra_client::Directory;

use crate::emulator::soon;
use crate::rig::{SENTINEL, directory, graph, is_token_request, token};
use crate::server::{Reply, Server};

/// Asks something that takes one request to Graph.
fn ask(directory: &Directory, deadline: Instant) -> Result<(), DirectoryError> {
    match directory.find_by_app_id(uuid::Uuid::from_u128(1), deadline) {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) => panic!("{found:?}"),
    }
}

fn nobody() -> Reply {
    Reply::json(r#"{"value":[]}"#)
}

fn tokens(server: &Server) -> usize {
    server
        .asked()
        .iter()
        .filter(|asked| is_token_request(asked))
        .count()
}

#[test]
fn one_token_serves_many_questions() {
    let server = graph(|_| nobody());
    let directory = directory(&server);
    for _ in 0..5 {
        ask(&directory, soon()).unwrap();
    }
    assert_eq!((tokens(&server), server.asked().len()), (1, 6));
    for asked in server.asked_at("/v1.0/") {
        assert_eq!(
            asked.headers["authorization"],
            format!("Bearer {SENTINEL}.token")
        );
    }
}

#[test]
fn those_who_ask_at_once_share_one_request_for_a_token() {
    let server = Server::start(|asked| match is_token_request(asked) {
        true => {
            thread::sleep(Duration::from_millis(500));
            token(3600)
        }
        false => nobody(),
    });
    let directory = directory(&server);
    thread::scope(|threads| {
        for _ in 0..16 {
            threads.spawn(|| ask(&directory, soon()).unwrap());
        }
    });
    assert_eq!((tokens(&server), server.asked().len()), (1, 17));
}

#[test]
fn those_who_wait_for_a_token_share_its_failure() {
    let server = Server::start(|_| {
        thread::sleep(Duration::from_millis(500));
        Reply::status(503)
    });
    let directory = directory(&server);
    let started = Instant::now();
    thread::scope(|threads| {
        for _ in 0..16 {
            threads.spawn(|| {
                let error = ask(&directory, soon()).unwrap_err();
                assert_eq!(error.kind, ErrorKind::Unreachable);
            });
        }
    });
    // One after the other, sixteen would take eight seconds for each attempt.
    assert!(
        started.elapsed() < Duration::from_secs(6),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn who_waits_for_a_token_keeps_to_their_own_deadline() {
    let server = Server::start(|_| Reply::Silence);
    let directory = directory(&server);
    thread::scope(|threads| {
        threads.spawn(|| ask(&directory, Instant::now() + Duration::from_secs(4)));
        while server.asked().is_empty() {
            thread::yield_now();
        }
        let started = Instant::now();
        let error = ask(&directory, started + Duration::from_millis(500)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_millis(1500));
    });
    assert_eq!(tokens(&server), 1);
}

#[test]
fn a_token_is_renewed_before_it_expires() {
    let server = Server::start(|asked| match is_token_request(asked) {
        true => token(4),
        false => nobody(),
    });
    let directory = directory(&server);
    let started = Instant::now();
    while tokens(&server) < 2 {
        ask(&directory, soon()).unwrap();
        assert!(started.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_millis(20));
    }
    let renewed = started.elapsed();
    assert!(
        renewed >= Duration::from_secs(3) && renewed < Duration::from_secs(4),
        "{renewed:?}"
    );
}

#[test]
fn a_token_serves_until_it_expires_if_there_is_no_new_one() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let server = Server::start(move |asked| match is_token_request(asked) {
        true if count.fetch_add(1, Ordering::SeqCst) == 0 => token(6),
        true => Reply::status(503),
        false => nobody(),
    });
    let directory = directory(&server);
    let started = Instant::now();
    while asked.load(Ordering::SeqCst) < 2 {
        ask(&directory, soon()).unwrap();
        assert!(started.elapsed() < Duration::from_secs(6));
        thread::sleep(Duration::from_millis(20));
    }
    // And it's not asked for at every turn.
    for _ in 0..10 {
        ask(&directory, soon()).unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let error = loop {
        assert!(started.elapsed() < Duration::from_secs(12));
        match ask(&directory, soon()) {
            Ok(()) => thread::sleep(Duration::from_millis(20)),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(started.elapsed() >= Duration::from_secs(6));
}

#[test]
fn a_refused_credential_is_not_tried_at_every_turn() {
    let refusal =
        format!(r#"{{"error":"invalid_client","error_description":"AADSTS7000222: {SENTINEL}"}}"#);
    let server = Server::start(move |_| Reply::Answer(401, &[], refusal.clone()));
    let directory = directory(&server);
    for _ in 0..20 {
        let error = ask(&directory, soon()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::CredentialRefused);
        assert!(error.message.contains("AADSTS7000222"), "{error}");
        assert!(!error.message.contains(SENTINEL), "{error}");
    }
    assert_eq!(server.asked().len(), 1);
    // But soon again: a corrected credential must not wait for long.
    let started = Instant::now();
    while server.asked().len() < 2 {
        assert!(started.elapsed() < Duration::from_secs(20));
        let _ = ask(&directory, soon());
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_token_endpoint_that_asks_for_a_pause_gets_it() {
    let server = Server::start(|_| Reply::Answer(429, &[("Retry-After", "30")], String::new()));
    let directory = directory(&server);
    for _ in 0..5 {
        let error = ask(&directory, soon()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Throttled);
    }
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_token_that_graph_refuses_is_replaced_once() {
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let server = graph(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Answer(
            401,
            &[],
            r#"{"error":{"code":"InvalidAuthenticationToken"}}"#.to_owned(),
        ),
        _ => nobody(),
    });
    let directory = directory(&server);
    ask(&directory, soon()).unwrap();
    assert_eq!((tokens(&server), refused.load(Ordering::SeqCst)), (2, 2));
    ask(&directory, soon()).unwrap();
    assert_eq!((tokens(&server), refused.load(Ordering::SeqCst)), (2, 3));

    let server = graph(|_| {
        let body = format!(
            r#"{{"error":{{"code":"InvalidAuthenticationToken","message":"{SENTINEL}"}}}}"#
        );
        Reply::Answer(401, &[], body)
    });
    let error = ask(&crate::rig::directory(&server), soon()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::CredentialRefused);
    assert!(
        error.message.contains("InvalidAuthenticationToken"),
        "{error}"
    );
    assert!(!error.message.contains(SENTINEL), "{error}");
    assert_eq!((tokens(&server), server.asked().len()), (2, 4));
}

#[test]
fn what_is_no_token_is_refused() {
    let long = "x".repeat(65_537);
    for body in [
        String::new(),
        "null".to_owned(),
        r#"{"access_token":"s3nt1nel"}"#.to_owned(),
        r#"{"access_token":"s3nt1nel","expires_in":0}"#.to_owned(),
        r#"{"access_token":"s3nt1nel","expires_in":-1}"#.to_owned(),
        r#"{"access_token":"s3nt1nel","expires_in":1e3}"#.to_owned(),
        r#"{"access_token":"s3nt1nel","expires_in":99999999}"#.to_owned(),
        r#"{"access_token":"s3nt1nel","expires_in":"soon"}"#.to_owned(),
        r#"{"access_token":"s3nt1nel","expires_in":18446744073709551615}"#.to_owned(),
        r#"{"access_token":"","expires_in":3600}"#.to_owned(),
        r#"{"access_token":"two words","expires_in":3600}"#.to_owned(),
        r#"{"access_token":"s3nt1nel\r\nX: y","expires_in":3600}"#.to_owned(),
        r#"{"access_token":["s3nt1nel"],"expires_in":3600}"#.to_owned(),
        r#"{"access_token":"s3nt1nel","access_token":"other","expires_in":3600}"#.to_owned(),
        format!(r#"{{"access_token":"{long}","expires_in":3600}}"#),
    ] {
        let shown = body.chars().take(80).collect::<String>();
        let server = Server::start(move |_| Reply::json(body.clone()));
        let error = ask(&directory(&server), soon()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadAnswer, "{shown}: {error}");
        assert!(!error.message.contains(SENTINEL), "{error}");
        // Nothing of the kind was sent to Graph.
        assert!(server.asked_at("/v1.0/").is_empty(), "{shown}");
    }
}

#[test]
fn numbers_may_be_text() {
    let body = r#"{"access_token":"abc","expires_in":"3600","expires_on":"1700000000"}"#;
    let server = Server::start(move |asked| match is_token_request(asked) {
        true => Reply::json(body),
        false => nobody(),
    });
    ask(&directory(&server), soon()).unwrap();
}
