use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::settings::Wake;

fn settings(milliseconds: u64) -> Arc<Settings> {
    Arc::new(Settings {
        server: "host=a".to_owned(),
        deadline: Duration::from_millis(milliseconds),
        wake: Wake::Off,
    })
}

fn question(role: &str) -> Question {
    Question {
        role: role.as_bytes().to_vec(),
        credential: Zeroizing::new(b"secret".to_vec()),
        client: "unix".to_owned(),
    }
}

fn accepted() -> Answer {
    Ok(Reply {
        verdict: Verdict::Accepted,
        notice: None,
    })
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn an_answer_reaches_its_question() {
    let (settings, exchange) = (settings(60_000), Exchange::new(settings(60_000)));
    thread::scope(|scope| {
        let asked = scope.spawn(|| exchange.ask(question("alice"), &settings));
        let (number, question) = exchange.next(LONG).unwrap();
        assert_eq!(question.role, b"alice");
        assert_eq!(&**question.credential, b"secret");
        assert!(exchange.is_awaited(number));
        assert!(exchange.answer(number, accepted(), Health::Good));
        assert_eq!(asked.join().unwrap(), accepted());
    });
    assert_eq!(exchange.health(), Health::Good);
}

#[test]
fn without_an_answer_it_returns_at_the_deadline_and_stops_the_thread() {
    let (settings, exchange) = (settings(50), Exchange::new(settings(50)));
    let stops = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&stops);
    exchange.set_stop(Some(Arc::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    })));
    let began = Instant::now();
    let reason = exchange.ask(question("alice"), &settings).unwrap_err();
    assert!(began.elapsed() >= settings.deadline);
    assert_eq!(reason, "no answer from the server within 50 ms");
    assert_eq!(stops.load(Ordering::Relaxed), 1);
    // The question is gone: nobody asks it later.
    assert!(exchange.next(Duration::ZERO).is_none());
}

#[test]
fn after_a_miss_it_returns_at_once_until_the_server_answers() {
    let (short, long) = (settings(1), settings(60_000));
    let exchange = Exchange::new(Arc::clone(&short));
    exchange.ask(question("alice"), &short).unwrap_err();
    let began = Instant::now();
    exchange.ask(question("alice"), &long).unwrap_err();
    assert!(began.elapsed() < LONG);
    assert!(exchange.next(Duration::ZERO).is_none());
    // The connection thread connects with what the last login had.
    assert_eq!(exchange.settings(), long);
    exchange.set_health(Health::Good);
    thread::scope(|scope| {
        let asked = scope.spawn(|| exchange.ask(question("alice"), &long));
        let (number, _) = exchange.next(LONG).unwrap();
        exchange.answer(number, accepted(), Health::Good);
        assert_eq!(asked.join().unwrap(), accepted());
    });
}

#[test]
fn a_late_answer_meets_no_other_question() {
    let (short, long) = (settings(50), settings(60_000));
    let exchange = Exchange::new(Arc::clone(&short));
    let late = thread::scope(|scope| {
        let asked = scope.spawn(|| exchange.ask(question("alice"), &short));
        let taken = exchange.next(2 * short.deadline);
        asked.join().unwrap().unwrap_err();
        taken
    });
    exchange.set_health(Health::Good);
    thread::scope(|scope| {
        let asked = scope.spawn(|| exchange.ask(question("mallory"), &long));
        let (number, _) = exchange.next(LONG).unwrap();
        // The connection thread may have been too slow even to take the first.
        if let Some((late, _)) = late {
            assert_ne!(late, number);
            assert!(!exchange.answer(late, accepted(), Health::Good));
        }
        assert!(exchange.is_awaited(number));
        let refused = Ok(Reply {
            verdict: Verdict::Refused,
            notice: None,
        });
        assert!(exchange.answer(number, refused.clone(), Health::Good));
        assert_eq!(asked.join().unwrap(), refused);
        assert!(!exchange.answer(number, accepted(), Health::Good));
    });
}

#[test]
fn many_threads_get_their_own_answers() {
    let settings = settings(60_000);
    let exchange = Exchange::new(Arc::clone(&settings));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let (exchange, settings) = (&exchange, &settings);
                scope.spawn(move || {
                    for number in 0..100 {
                        let role = format!("{client}-{number}");
                        let reply = exchange.ask(question(&role), settings).unwrap();
                        assert_eq!(reply.notice, Some(role));
                    }
                })
            })
            .collect();
        for _ in 0..800 {
            let (number, question) = exchange.next(LONG).unwrap();
            let reply = Reply {
                verdict: Verdict::Refused,
                notice: Some(String::from_utf8(question.role.clone()).unwrap()),
            };
            assert!(exchange.answer(number, Ok(reply), Health::Good));
        }
        for client in clients {
            client.join().unwrap();
        }
    });
}
