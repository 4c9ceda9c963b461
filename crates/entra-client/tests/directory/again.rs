//! Graph that is busy, slow or out of order: how often it is asked again, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use entra_api::{ErrorKind, Principal};
use uuid::Uuid;

use crate::emulator::soon;
use crate::rig::{SENTINEL, directory, graph};
use crate::server::{Reply, Server};

const SOMEBODY: Uuid = Uuid::from_u128(0x50000000_0000_4000_8000_000000000001);

/// Graph that answers with the first reply so many times, and then as it should.
fn at_first(times: usize, reply: fn() -> Reply) -> Server {
    let asked = Arc::new(AtomicUsize::new(0));
    graph(
        move |_| match asked.fetch_add(1, Ordering::SeqCst) < times {
            true => reply(),
            false => Reply::json(r#"{"value":[]}"#),
        },
    )
}

fn asked(server: &Server) -> usize {
    server.asked_at("/v1.0/").len()
}

#[test]
fn a_busy_graph_is_asked_again() {
    for reply in [
        || Reply::status(500),
        || Reply::status(503),
        || Reply::status(429),
        || Reply::Answer(503, &[("Retry-After", "1")], String::new()),
        || Reply::Close,
        || Reply::Bytes(b"no HTTP".to_vec()),
    ] {
        let server = at_first(2, reply);
        let error = directory(&server)
            .find_by_app_id(SOMEBODY, soon())
            .unwrap_err();
        assert_eq!(
            (error.kind, asked(&server)),
            (ErrorKind::NotFound, 3),
            "{error}"
        );
    }
}

#[test]
fn but_not_indefinitely() {
    for (reply, kind) in [
        (
            (|| Reply::status(503)) as fn() -> Reply,
            ErrorKind::Unreachable,
        ),
        (|| Reply::status(429), ErrorKind::Throttled),
        (|| Reply::Close, ErrorKind::Unreachable),
    ] {
        let server = at_first(100, reply);
        let started = Instant::now();
        let error = directory(&server)
            .find_by_app_id(SOMEBODY, soon())
            .unwrap_err();
        assert_eq!((error.kind, asked(&server)), (kind, 3), "{error}");
        assert!(started.elapsed() < Duration::from_secs(3));
    }
}

#[test]
fn a_pause_that_graph_asks_for_is_kept() {
    let server = at_first(1, || {
        Reply::Answer(429, &[("Retry-After", "2")], String::new())
    });
    let started = Instant::now();
    let _ = directory(&server).find_by_app_id(SOMEBODY, soon());
    assert_eq!(asked(&server), 2);
    let took = started.elapsed();
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(4),
        "{took:?}"
    );
}

#[test]
fn a_pause_that_is_too_long_is_not_begun() {
    let server = at_first(1, || {
        Reply::Answer(429, &[("Retry-After", "60")], String::new())
    });
    let started = Instant::now();
    let error = directory(&server)
        .find_by_app_id(SOMEBODY, soon())
        .unwrap_err();
    assert_eq!((error.kind, asked(&server)), (ErrorKind::Throttled, 1));
    assert!(started.elapsed() < Duration::from_secs(2));
    // Nor in the background, where there would be time.
    let server = at_first(1, || {
        Reply::Answer(429, &[("Retry-After", "121")], String::new())
    });
    let error = members(&server, &AtomicBool::new(false)).unwrap_err();
    assert_eq!((error.kind, asked(&server)), (ErrorKind::Throttled, 1));
}

#[test]
fn other_answers_are_final() {
    for (reply, kind) in [
        (
            (|| Reply::status(400)) as fn() -> Reply,
            ErrorKind::BadAnswer,
        ),
        (|| Reply::status(302), ErrorKind::BadAnswer),
        (|| Reply::status(204), ErrorKind::BadAnswer),
        (|| Reply::status(403), ErrorKind::PermissionMissing),
        (|| Reply::json(SENTINEL), ErrorKind::BadAnswer),
    ] {
        let server = at_first(100, reply);
        let error = directory(&server)
            .find_by_app_id(SOMEBODY, soon())
            .unwrap_err();
        assert_eq!((error.kind, asked(&server)), (kind, 1), "{error}");
        assert!(!error.message.contains(SENTINEL), "{error}");
    }
}

#[test]
fn a_slow_graph_runs_into_the_deadline() {
    let server = graph(|_| Reply::Silence);
    let directory = directory(&server);
    let started = Instant::now();
    let deadline = started + Duration::from_secs(1);
    for kind in [
        directory
            .find_by_name("someone", deadline)
            .unwrap_err()
            .kind,
        directory
            .find_by_object_id(SOMEBODY, deadline)
            .unwrap_err()
            .kind,
        directory.probe(deadline).unwrap_err().kind,
    ] {
        assert_eq!(kind, ErrorKind::TimedOut);
    }
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
}

fn members(
    server: &Server,
    stop: &AtomicBool,
) -> Result<Vec<Principal>, entra_api::DirectoryError> {
    let mut members = Vec::new();
    directory(server).members(SOMEBODY, stop, &mut |page| {
        members.extend(page);
        true
    })?;
    Ok(members)
}

#[test]
fn work_in_the_background_has_more_patience() {
    // Back-off alone would be 1, 2 and 4 seconds.
    let server = at_first(3, || Reply::status(503));
    let started = Instant::now();
    assert_eq!(members(&server, &AtomicBool::new(false)).unwrap(), []);
    assert_eq!(asked(&server), 5);
    assert!(started.elapsed() >= Duration::from_secs(7));
}

#[test]
fn a_pause_ends_when_the_work_is_stopped() {
    let server = graph(|_| Reply::Answer(429, &[("Retry-After", "100")], String::new()));
    let stop = AtomicBool::new(false);
    thread::scope(|threads| {
        let reading = threads.spawn(|| members(&server, &stop));
        while asked(&server) == 0 {
            thread::yield_now();
        }
        let stopped = Instant::now();
        stop.store(true, Ordering::Relaxed);
        reading.join().unwrap().unwrap_err();
        assert!(stopped.elapsed() < Duration::from_secs(2));
    });
    assert_eq!(asked(&server), 1);
}
