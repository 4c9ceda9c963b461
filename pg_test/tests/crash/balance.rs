//! The ledger itself: what it must notice.

use pg_test::Result;
use pg_test::emulator::AUDIENCE;
use pg_test::rig::ensure;

use crate::ledger::{Answer, Attempt, Balance, Row};

/// Every test of the ledger, by name.
type Test = (&'static str, fn() -> Result<()>);

pub const TESTS: &[Test] = &[
    ("an_agreement", agreement),
    ("a_lost_sign_in", lost_sign_in),
    ("a_lost_refusal", lost_refusal),
    ("a_doubled_row", doubled_row),
    ("a_count_that_is_too_low", low_count),
    ("a_count_that_is_too_high", high_count),
    ("another_answer_than_the_client_got", other_answer),
    ("a_row_of_an_attempt_that_was_turned_away", turned_away),
    ("a_row_of_no_attempt", of_no_attempt),
];

const REASON: &str = "signature-invalid";

fn attempt(mark: &str, answer: Answer) -> Attempt {
    Attempt {
        mark: mark.to_owned(),
        role: "someone".to_owned(),
        address: "127.0.0.2".to_owned(),
        answer,
    }
}

fn refused() -> Answer {
    let reason = entra_token::Reason::from_code(REASON);
    Answer::Refused(reason.map_or_else(String::new, |reason| {
        entra_token::client_text(reason, "someone", Some(AUDIENCE))
    }))
}

fn row(mark: &str, outcome: &str, reason: &str, count: u64) -> Row {
    Row {
        mark: mark.to_owned(),
        role: "someone".to_owned(),
        address: "127.0.0.2".to_owned(),
        outcome: outcome.to_owned(),
        reason: reason.to_owned(),
        count,
    }
}

/// Two accepted, four refused, one without an answer, one turned away.
fn attempts() -> Vec<Attempt> {
    vec![
        attempt("in-1", Answer::Accepted),
        attempt("in-2", Answer::Accepted),
        attempt("out-1", refused()),
        attempt("out-2", refused()),
        attempt("out-3", refused()),
        attempt("out-4", refused()),
        attempt("unknown", Answer::Nothing),
        attempt("away", Answer::TurnedAway),
    ]
}

/// The rows of those: three of the refusals in one.
fn rows() -> Vec<Row> {
    vec![
        row("in-1", "authenticated", "", 1),
        row("in-2", "authenticated", "", 1),
        row("out-1", "refused", REASON, 1),
        row("out-2", "refused", REASON, 3),
    ]
}

fn agreement() -> Result<()> {
    let balance = Balance::compare(&attempts(), &rows());
    balance.check()?;
    ensure(
        (balance.recorded, balance.counted, balance.unanswered) == (3, 3, 1),
        || format!("{balance:?}"),
    )?;
    // The one without an answer may be there, by itself or in a count.
    let mut own = rows();
    own.push(row("unknown", "interrupted", "interrupted", 1));
    Balance::compare(&attempts(), &own).check()?;
    let mut counted = rows();
    counted.push(row("", "interrupted", "interrupted", 1));
    Balance::compare(&attempts(), &counted).check()
}

/// Expects that what `change` makes of the rows is noticed, as the one thing that is wrong.
fn noticed(what: &str, change: impl FnOnce(&mut Vec<Row>)) -> Result<()> {
    let mut rows = rows();
    change(&mut rows);
    let balance = Balance::compare(&attempts(), &rows);
    let found = [
        ("lost", balance.lost.len()),
        ("doubled", balance.doubled.len()),
        ("wrong", balance.wrong.len()),
    ];
    ensure(
        found
            .iter()
            .all(|(name, count)| *count == usize::from(*name == what)),
        || format!("{found:?}, where one is to be {what}"),
    )?;
    ensure(balance.check().is_err(), || {
        "the check says nothing".to_owned()
    })
}

fn lost_sign_in() -> Result<()> {
    noticed("lost", |rows| drop(rows.remove(0)))
}

fn lost_refusal() -> Result<()> {
    noticed("lost", |rows| drop(rows.remove(2)))
}

fn doubled_row() -> Result<()> {
    noticed("doubled", |rows| rows.push(rows[1].clone()))
}

fn low_count() -> Result<()> {
    noticed("lost", |rows| rows[3].count = 2)
}

fn high_count() -> Result<()> {
    noticed("doubled", |rows| rows[3].count = 5)
}

fn other_answer() -> Result<()> {
    noticed("wrong", |rows| "refused".clone_into(&mut rows[0].outcome))
}

fn turned_away() -> Result<()> {
    noticed("wrong", |rows| rows.push(row("away", "refused", REASON, 1)))
}

fn of_no_attempt() -> Result<()> {
    noticed("wrong", |rows| {
        rows.push(row("stranger", "refused", REASON, 1));
    })
}
