//! Sessions that end with their token.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use pg_test::server::Server;
use pg_test::wait::until;
use pg_test::wire::Connection;
use pg_test::{Error, Result};

use super::{EXPIRED, REVOKED, await_count, expect_end, expect_rows, start_query};
use crate::Test;
use crate::rig::{Person, Rig, ensure};

pub const TESTS: &[Test] = &[
    ("a_token_that_expires_ends_its_session", ended),
    ("without_the_setting_a_session_goes_on", off),
    ("the_clocks_skew_counts", skew),
    ("a_commit_in_progress_is_whole_or_absent", commits),
];

/// Long enough to sign in with, also on a loaded machine.
const LIFE: i64 = 6;

fn server(rig: &Rig, name: &str, more: &[(&str, &str)]) -> Result<Server> {
    rig.server(name, |plan| {
        let plan = plan
            .set("aadauth.session_expiry", "token")
            .set("aadauth.clock_skew", "0");
        more.iter()
            .fold(plan, |plan, (name, value)| plan.set(name, value))
    })
}

fn short_lived(rig: &Rig, person: &Person) -> Result<String> {
    rig.user("alice@contoso.com")
        .object_id(person.object_id)
        .expires_in(LIFE)
        .text()
}

fn ended(rig: &Rig) -> Result<()> {
    let server = server(rig, "expiry", &[])?;
    let person = rig.person(&server, "someone")?;
    let mut goes_on = rig.session(&server, "someone", &rig.token_of(&person)?)?;
    let token = short_lived(rig, &person)?;
    let signed_in = Instant::now();
    let connect = || rig.session(&server, "someone", &token);
    let (mut idle, mut in_transaction, mut in_query) = (connect()?, connect()?, connect()?);
    in_transaction.query("CREATE TEMP TABLE t (); BEGIN; SELECT count(*) FROM pg_class")?;
    start_query(&mut in_query, "SELECT pg_sleep(3600)")?;
    for session in [&mut idle, &mut in_transaction, &mut in_query] {
        expect_end(session, EXPIRED)?;
    }
    let after = signed_in.elapsed();
    let expected = Duration::from_secs(LIFE.unsigned_abs());
    ensure(after + Duration::from_secs(2) > expected, || {
        format!("they ended after {after:?}")
    })?;
    // Other sessions go on, and the token is not accepted any more.
    expect_rows(&mut goes_on, "SELECT 1", &["1"])?;
    await_count(&server, person.object_id, 1)?;
    rig.refused(&server, "someone", &token, "expired")?;
    server.wait_for_log(0, "session ended (token expired): UPN=alice@contoso.com")?;
    Ok(())
}

fn off(rig: &Rig) -> Result<()> {
    let mut server = server(rig, "expiry-off", &[("aadauth.session_expiry", "off")])?;
    let person = rig.person(&server, "someone")?;
    let token = short_lived(rig, &person)?;
    let mut session = rig.session(&server, "someone", &token)?;
    let over = "SELECT now() > token_expires_at + interval '3 s' FROM aadauth.current_principal()";
    until("the token has been over for a while", || {
        Ok((session.query(over)? == ["t"]).then_some(()))
    })?;
    rig.refused(&server, "someone", &token, "expired")?;
    // Turned on, it counts for those who are there.
    server.configure(&[("aadauth.session_expiry", Some("token"))])?;
    expect_end(&mut session, EXPIRED)
}

/// A session has as long as a sign-in with its token.
fn skew(rig: &Rig) -> Result<()> {
    let server = server(rig, "expiry-skew", &[("aadauth.clock_skew", "4s")])?;
    let person = rig.person(&server, "someone")?;
    let token = short_lived(rig, &person)?;
    let mut session = rig.session(&server, "someone", &token)?;
    let over =
        "SELECT now() > token_expires_at + interval '1500 ms' FROM aadauth.current_principal()";
    until("the token is over", || {
        Ok((session.query(over)? == ["t"]).then_some(()))
    })?;
    expect_end(&mut session, EXPIRED)
}

/// Sessions that commit all the time are ended; what their clients were told, and what is there, agree.
fn commits(rig: &Rig) -> Result<()> {
    // So that most of the time is spent in commits.
    let slow = [
        ("fsync", "on"),
        ("commit_delay", "5000"),
        ("commit_siblings", "0"),
    ];
    let server = server(rig, "expiry-commits", &slow)?;
    let person = rig.person(&server, "writer")?;
    server.sql(
        "CREATE TABLE public.pairs (id text, half int);
         GRANT INSERT ON public.pairs TO writer",
    )?;
    let token = short_lived(rig, &person)?;
    let mut sessions = (0..6)
        .map(|_| rig.session(&server, "writer", &token))
        .collect::<Result<Vec<_>>>()?;
    let mut committed = write_until_the_end("expired", &mut sessions, EXPIRED, || Ok(()))?;
    // Revocation ends sessions at any moment that one likes.
    let token = rig.token_of(&person)?;
    for round in 0..15 {
        let mut sessions = (0..4)
            .map(|_| rig.session(&server, "writer", &token))
            .collect::<Result<Vec<_>>>()?;
        committed.extend(write_until_the_end(
            &format!("revoked-{round}"),
            &mut sessions,
            REVOKED,
            || {
                std::thread::sleep(Duration::from_millis(20 + 3 * round));
                let id = person.object_id;
                server
                    .sql(&format!("SELECT aadauth.revoke('{id}')"))
                    .map(drop)
            },
        )?);
        server.sql(&format!("SELECT aadauth.restore('{}')", person.object_id))?;
        until("they may sign in again", || {
            Ok(rig.session(&server, "writer", &token).ok().map(drop))
        })?;
    }
    await_count(&server, person.object_id, 0)?;
    let halves = server
        .sql("SELECT count(*) FROM (SELECT id FROM pairs GROUP BY id HAVING count(*) <> 2) AS h")?;
    ensure(halves == "0", || {
        format!("{halves} transactions are there by half")
    })?;
    let there: BTreeSet<String> = server
        .sql("SELECT DISTINCT id FROM pairs")?
        .lines()
        .map(str::to_owned)
        .collect();
    let lost: Vec<&String> = committed.difference(&there).collect();
    ensure(lost.is_empty(), || {
        format!("committed and not there: {lost:?}")
    })?;
    // Beyond those at most the one of each session whose answer got lost.
    let unheard = there.difference(&committed).count();
    println!(
        "66 sessions were ended; {} commits were confirmed, {unheard} were there without the client hearing of it",
        committed.len()
    );
    ensure(unheard <= 66 && committed.len() > 100, || {
        format!("{unheard} unheard of, {} confirmed", committed.len())
    })
}

/// Has each session commit transactions of two rows until the server ends it; the ids of those whose
/// commit was confirmed.
fn write_until_the_end(
    mark: &str,
    sessions: &mut [Connection],
    (_, words): (&str, &str),
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<BTreeSet<String>> {
    std::thread::scope(|scope| {
        let writers: Vec<_> = sessions
            .iter_mut()
            .enumerate()
            .map(|(writer, session)| {
                scope.spawn(move || -> Result<BTreeSet<String>> {
                    let mut committed = BTreeSet::new();
                    for number in 0.. {
                        let id = format!("{mark}-{writer}-{number}");
                        let write = |session: &mut Connection| -> Result<()> {
                            for half in 1..=2 {
                                session.query(&format!(
                                    "{} INSERT INTO pairs VALUES ('{id}', {half})",
                                    if half == 1 { "BEGIN;" } else { "" }
                                ))?;
                            }
                            session.query("COMMIT").map(drop)
                        };
                        match write(session) {
                            Ok(()) => committed.insert(id),
                            Err(error) if error.to_string().contains(words) => break,
                            Err(error) => return Err(error),
                        };
                    }
                    Ok(committed)
                })
            })
            .collect();
        let outcome = meanwhile();
        let mut committed = BTreeSet::new();
        for writer in writers {
            let ids = writer
                .join()
                .map_err(|_| Error::from("a thread panicked"))??;
            committed.extend(ids);
        }
        outcome.map(|()| committed)
    })
}
