//! The ledger itself: what it must notice.

use pg_test::Result;
use pg_test::emulator::AUDIENCE;
use pg_test::rig::ensure;

use crate::ledger::{Answer, Attempt, Balance, MANY, Row};

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
    ("an_agreement_without_roles", agreement_without_roles),
    ("a_count_without_roles_that_is_too_low", low_without_roles),
    ("a_count_without_roles_that_is_too_high", high_without_roles),
    ("a_count_without_roles_of_another_address", other_address),
    ("a_count_without_roles_of_another_reason", other_reason),
    ("a_role_that_exists_in_a_count_without_roles", hidden_role),
];

const REASON: &str = "signature-invalid";

fn attempt(mark: &str, answer: Answer) -> Attempt {
    Attempt {
        mark: mark.to_owned(),
        role: "someone".to_owned(),
        role_exists: true,
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
    noticed_among(&attempts(), rows(), &[(what, 1)], change)
}

/// Expects that what `change` makes of the rows is noticed, as so many things of those kinds.
fn noticed_among(
    attempts: &[Attempt],
    mut rows: Vec<Row>,
    what: &[(&str, usize)],
    change: impl FnOnce(&mut Vec<Row>),
) -> Result<()> {
    change(&mut rows);
    let balance = Balance::compare(attempts, &rows);
    let found = [
        ("lost", balance.lost.len()),
        ("doubled", balance.doubled.len()),
        ("wrong", balance.wrong.len()),
    ];
    let noticed: Vec<_> = found.into_iter().filter(|(_, count)| *count > 0).collect();
    ensure(noticed == what, || format!("{noticed:?}, not {what:?}"))?;
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

const PASSWORD_FAILED: &str = "password-failed";

/// One of those attempts as roles that don't exist.
fn invented(number: u8, address: &str, answer: Option<Answer>) -> Attempt {
    let role = format!("nobody {number}");
    let told = || {
        Answer::Refused(format!(
            "password authentication failed for user \"{role}\""
        ))
    };
    Attempt {
        mark: format!("invented-{number}"),
        role_exists: false,
        address: address.to_owned(),
        answer: answer.unwrap_or_else(told),
        role,
    }
}

/// Five attempts as roles that don't exist, from three addresses, and one without an answer.
fn attempts_without_roles() -> Vec<Attempt> {
    vec![
        invented(1, "127.0.0.2", None),
        invented(2, "127.0.0.2", None),
        invented(3, "127.0.0.2", None),
        invented(4, "127.0.0.3", None),
        invented(5, "", None),
        invented(6, "127.0.0.2", Some(Answer::Nothing)),
    ]
}

/// The rows of those: one with its role, two in a row for their address, and two in one without an address.
fn rows_without_roles() -> Vec<Row> {
    let role = |role: &str, address: &str, row: Row| Row {
        role: role.to_owned(),
        address: address.to_owned(),
        ..row
    };
    let counted = |count| row("", "refused", PASSWORD_FAILED, count);
    vec![
        role(
            "nobody 1",
            "127.0.0.2",
            row("invented-1", "refused", PASSWORD_FAILED, 1),
        ),
        role(MANY, "127.0.0.2", counted(2)),
        role(MANY, "", counted(2)),
    ]
}

fn noticed_without_roles(what: &[(&str, usize)], change: impl FnOnce(&mut Vec<Row>)) -> Result<()> {
    noticed_among(
        &attempts_without_roles(),
        rows_without_roles(),
        what,
        change,
    )
}

fn agreement_without_roles() -> Result<()> {
    let mut rows = rows_without_roles();
    let balance = Balance::compare(&attempts_without_roles(), &rows);
    balance.check()?;
    ensure(
        (balance.recorded, balance.counted_without_role) == (1, 4)
            && (balance.without_role, balance.unanswered) == (2, 1),
        || format!("{balance:?}"),
    )?;
    // The one without an answer may be in either.
    for number in [1, 2] {
        rows[number].count += 1;
        Balance::compare(&attempts_without_roles(), &rows).check()?;
        rows[number].count -= 1;
    }
    Ok(())
}

fn low_without_roles() -> Result<()> {
    noticed_without_roles(&[("lost", 1)], |rows| rows[1].count = 1)?;
    noticed_without_roles(&[("lost", 1)], |rows| rows[2].count = 1)
}

fn high_without_roles() -> Result<()> {
    noticed_without_roles(&[("doubled", 1)], |rows| rows[1].count = 4)?;
    noticed_without_roles(&[("doubled", 1)], |rows| rows[2].count = 4)
}

fn other_address() -> Result<()> {
    noticed_without_roles(&[("lost", 2), ("doubled", 1)], |rows| {
        "127.0.0.4".clone_into(&mut rows[1].address);
    })
}

fn other_reason() -> Result<()> {
    noticed_without_roles(&[("lost", 2), ("doubled", 1)], |rows| {
        REASON.clone_into(&mut rows[1].reason);
    })
}

/// Names that no role has take no room of those that exist.
fn hidden_role() -> Result<()> {
    let what = [("lost", 1), ("doubled", 1)];
    noticed_among(&attempts(), rows(), &what, |rows| {
        MANY.clone_into(&mut rows[3].role);
    })
}
