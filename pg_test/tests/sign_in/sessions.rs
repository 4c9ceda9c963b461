//! Live sessions: their principals, and what ends them.

pub mod ended;
pub mod expiry;
pub mod loading;
pub mod requests;
pub mod revocation;
pub mod rights;
pub mod seen;
pub mod standby;

use pg_test::Result;
use pg_test::server::Server;
use pg_test::wait::until;
use pg_test::wire::{Connection, Outcome, Refusal};

use crate::rig::ensure;

const EXPIRED: (&str, &str) = (
    "57E01",
    "terminating connection because the access token has expired",
);
const REVOKED: (&str, &str) = (
    "57E02",
    "terminating connection because the access of this principal was revoked",
);

/// Sends a query and leaves it at that.
fn start_query(connection: &mut Connection, sql: &str) -> Result<()> {
    connection.send(Some(b'Q'), format!("{sql}\0").as_bytes())
}

/// Reads on until the server ends the session; in which words.
fn words_of_the_end(connection: &mut Connection) -> Result<Refusal> {
    match connection.outcome()? {
        Outcome::Refused(refusal) => Ok(refusal),
        other => Err(format!("the session was not ended but {other:?}").into()),
    }
}

/// Expects that the server ends the session in those words, and hangs up.
fn expect_end(connection: &mut Connection, words: (&str, &str)) -> Result<()> {
    expect_words(connection, words)?;
    let after = connection.outcome()?;
    ensure(after == Outcome::Closed, || format!("and then {after:?}"))
}

/// Expects that the server ends the session in those words.
fn expect_words(connection: &mut Connection, (sqlstate, message): (&str, &str)) -> Result<()> {
    let words = words_of_the_end(connection)?;
    let same = (
        words.severity.as_str(),
        words.sqlstate.as_str(),
        words.message.as_str(),
    );
    ensure(same == ("FATAL", sqlstate, message), || {
        format!("{words:?}")
    })?;
    ensure(words.hint.is_some() && words.detail.is_none(), || {
        format!("{words:?}")
    })
}

/// How many sessions the principal has, as the superuser sees it.
fn count(server: &Server, object_id: impl std::fmt::Display) -> Result<usize> {
    let query = format!("SELECT count(*) FROM aadauth.sessions WHERE object_id = '{object_id}'");
    Ok(server.sql(&query)?.parse()?)
}

fn await_count(server: &Server, object_id: impl std::fmt::Display, wanted: usize) -> Result<()> {
    until(&format!("there are {wanted} sessions"), || {
        Ok((count(server, &object_id)? == wanted).then_some(()))
    })
}

fn expect_rows(connection: &mut Connection, sql: &str, expected: &[&str]) -> Result<()> {
    let rows = connection.query(sql)?;
    ensure(rows == expected, || format!("{sql}: {rows:?}"))
}
