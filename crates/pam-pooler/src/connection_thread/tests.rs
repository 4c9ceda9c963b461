use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

use zeroize::Zeroizing;

use super::*;
use crate::exchange::Verdict;
use crate::settings::Wake;

/// What happens at the server, in this order; the test fails if something else does.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    Connect(Result<(), String>),
    LookUp(Result<(), Failure>),
    Ask(Result<Verdict, Failure>),
    /// Longer than anybody waits.
    AskTooLate,
    Closed,
}
use Event::{Ask, AskTooLate, Closed, Connect as Connects, LookUp};

#[derive(Default)]
struct Script {
    events: RefCell<VecDeque<Event>>,
    /// Whether the server keeps its connections open.
    is_open: Cell<bool>,
}

impl Script {
    fn next(&self) -> Event {
        self.events.borrow_mut().pop_front().unwrap()
    }
}

struct Scripted<'a>(&'a Script, &'a Exchange);

impl Connection for Scripted<'_> {
    fn is_open(&self) -> bool {
        self.0.is_open.get()
    }

    fn look_up(&mut self, _limit: Duration) -> Result<(), Failure> {
        match self.0.next() {
            LookUp(result) => result,
            other => panic!("looked up instead of {other:?}"),
        }
    }

    fn ask(&mut self, _question: &Question) -> Result<Reply, Failure> {
        let accepted = |verdict| Reply {
            verdict,
            notice: None,
        };
        match self.0.next() {
            Ask(result) => result.map(accepted),
            AskTooLate => {
                while !matches!(self.1.health(), Health::Bad(_)) {
                    thread::yield_now();
                }
                Ok(accepted(Verdict::Accepted))
            }
            other => panic!("asked instead of {other:?}"),
        }
    }

    fn stop(&self) -> Stop {
        Arc::new(|| ())
    }
}

impl Drop for Scripted<'_> {
    fn drop(&mut self) {
        if !thread::panicking() {
            assert_eq!(self.0.next(), Closed);
        }
    }
}

struct Connector<'a>(&'a Script, &'a Exchange);

impl<'a> Connect for Connector<'a> {
    type Connection = Scripted<'a>;

    fn connect(&self, _settings: &Settings) -> Result<Scripted<'a>, String> {
        match self.0.next() {
            Connects(result) => result.map(|()| Scripted(self.0, self.1)),
            other => panic!("connected instead of {other:?}"),
        }
    }
}

/// Asks once for each answer that is expected, `None` being none; everything must happen as in the script.
fn play(events: &[Event], is_open: bool, answers: &[Option<Verdict>]) -> Health {
    let settings = |deadline| {
        Arc::new(Settings {
            server: "host=a".to_owned(),
            deadline: Duration::from_millis(deadline),
            wake: Wake::Off,
        })
    };
    let is_late = events.contains(&AskTooLate);
    let settings = settings(if is_late { 20 } else { 60_000 });
    let script = Script::default();
    script.events.borrow_mut().extend(events.iter().cloned());
    script.is_open.set(is_open);
    let exchange = Exchange::new(Arc::clone(&settings));
    let connect = Connector(&script, &exchange);
    let mut thread = ConnectionThread {
        exchange: &exchange,
        connect: &connect,
        connection: None,
    };
    for expected in answers {
        let answer = thread::scope(|scope| {
            let asked = scope.spawn(|| {
                let question = Question {
                    role: b"alice".to_vec(),
                    credential: Zeroizing::new(b"secret".to_vec()),
                    client: "unix".to_owned(),
                };
                exchange.ask(question, &settings)
            });
            if !matches!(exchange.health(), Health::Bad(_)) {
                thread.step(Duration::from_secs(60), Duration::ZERO);
            }
            asked.join().unwrap()
        });
        assert_eq!(answer.ok().map(|reply| reply.verdict), *expected);
    }
    // With nobody asking, what remains is to probe.
    if !script.events.borrow().iter().all(|event| *event == Closed) {
        thread.step(Duration::ZERO, Duration::ZERO);
    }
    drop(thread);
    assert!(script.events.borrow().is_empty(), "{:?}", script.events);
    exchange.health()
}

fn broken() -> Failure {
    Failure::Broken("gone".to_owned())
}

const ACCEPTED: Option<Verdict> = Some(Verdict::Accepted);
const REFUSED: Option<Verdict> = Some(Verdict::Refused);

#[test]
fn the_first_question_connects_and_looks_the_function_up() {
    let health = play(
        &[
            Connects(Ok(())),
            Ask(Err(Failure::UnknownFunction)),
            LookUp(Ok(())),
            Ask(Ok(Verdict::Accepted)),
            Ask(Ok(Verdict::Refused)),
            Closed,
        ],
        true,
        &[ACCEPTED, REFUSED],
    );
    assert_eq!(health, Health::Good);
}

#[test]
fn what_the_server_has_closed_is_replaced_before_it_is_asked() {
    let health = play(
        &[
            Connects(Ok(())),
            Ask(Ok(Verdict::Accepted)),
            Closed,
            Connects(Ok(())),
            Ask(Ok(Verdict::Refused)),
            Closed,
        ],
        false,
        &[ACCEPTED, REFUSED],
    );
    assert_eq!(health, Health::Good);
}

#[test]
fn what_breaks_is_replaced_once() {
    let good = [
        Connects(Ok(())),
        Ask(Err(broken())),
        Closed,
        Connects(Ok(())),
        Ask(Ok(Verdict::Accepted)),
        Closed,
    ];
    assert_eq!(play(&good, true, &[ACCEPTED]), Health::Good);
    let bad = [
        Connects(Ok(())),
        Ask(Err(broken())),
        Closed,
        Connects(Ok(())),
        Ask(Err(broken())),
        Closed,
    ];
    assert_eq!(play(&bad, true, &[None]), Health::Bad("gone".to_owned()));
}

#[test]
fn an_error_and_a_try_again_are_answers() {
    for answer in [
        Ask(Err(Failure::Error("42501".to_owned()))),
        Ask(Ok(Verdict::TryAgain)),
    ] {
        let expected = match &answer {
            Ask(Ok(verdict)) => Some(*verdict),
            _ => None,
        };
        let events = [Connects(Ok(())), answer, Ask(Ok(Verdict::Accepted)), Closed];
        let health = play(&events, true, &[expected, ACCEPTED]);
        assert_eq!(health, Health::Good);
    }
}

#[test]
fn a_server_that_is_down_is_tried_until_it_answers() {
    let down = || Connects(Err("down".to_owned()));
    let health = play(&[down(), down(), down()], true, &[None, None]);
    assert_eq!(health, Health::Bad("down".to_owned()));
    let health = play(
        &[
            down(),
            down(),
            Connects(Ok(())),
            LookUp(Ok(())),
            LookUp(Ok(())),
            Closed,
        ],
        true,
        &[None],
    );
    assert_eq!(health, Health::Good);
}

#[test]
fn a_server_without_the_function_keeps_the_connection() {
    let missing = || LookUp(Err(Failure::Error("no function".to_owned())));
    let events = [
        Connects(Ok(())),
        Ask(Err(Failure::UnknownFunction)),
        missing(),
        missing(),
        Closed,
    ];
    let health = play(&events, true, &[None]);
    assert_eq!(health, Health::Bad("no function".to_owned()));
}

#[test]
fn an_answer_that_comes_too_late_closes_the_connection() {
    let events = [
        Connects(Ok(())),
        AskTooLate,
        Closed,
        Connects(Ok(())),
        LookUp(Ok(())),
        LookUp(Ok(())),
        Closed,
    ];
    assert_eq!(play(&events, true, &[None]), Health::Good);
}

#[test]
fn an_idle_connection_is_probed() {
    let events = [
        Connects(Ok(())),
        Ask(Ok(Verdict::Accepted)),
        LookUp(Err(broken())),
        Closed,
    ];
    let health = play(&events, true, &[ACCEPTED]);
    assert_eq!(health, Health::Bad("gone".to_owned()));
}
