//! A server that does not answer: everybody is refused, soon, and let in when it answers again.

use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::process::signal;
use pg_test::rig::{Rig, ensure};
use pg_test::wait::until;
use rustix::process::Signal;

use crate::Test;
use crate::pgbouncer::{Pooled, SESSION};
use crate::relay::Relay;

pub const TESTS: &[Test] = &[
    ("the_server_is_stopped_and_started", server_stopped),
    ("the_standing_backend_is_killed", backend_killed),
    ("the_standing_backend_hangs", backend_hangs),
    ("an_answer_is_lost", answer_lost),
    ("the_function_is_made_again", function_made_again),
];

/// More than a refusal takes on a machine that does something else, and less than libpq's own limits.
const SOON: Duration = Duration::from_secs(1);

fn server_stopped(rig: &Rig) -> Result<()> {
    let mut pooled = Pooled::start(rig, "pooled-stopped", |plan| plan)?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let token = rig.token_of(&person)?;
    pooled.query(SESSION, &person.role, &token, "SELECT 1")?;
    pooled.server.stop()?;
    for _ in 0..10 {
        let began = Instant::now();
        let outcome = pooled.sign_in(SESSION, &person.role, &token)?.outcome;
        ensure(!outcome.is_in() && began.elapsed() < SOON, || {
            format!("{outcome:?} after {:?}", began.elapsed())
        })?;
    }
    // Without a verdict, the client's own words are in the log.
    pooled.sign_in(SESSION, "pooled\nperson\x1b", &token)?;
    let log = pooled.log()?;
    ensure(
        log.contains(r#"no verdict: role "pooled\nperson\u{1b}""#),
        || log,
    )?;
    pooled.server.start()?;
    rig.await_keys(&pooled.server)?;
    until("the server is asked again", || {
        let outcome = pooled.sign_in(SESSION, &person.role, &token)?.outcome;
        Ok(outcome.is_in().then_some(()))
    })
}

/// No login notices.
fn backend_killed(rig: &Rig) -> Result<()> {
    let pooled = Pooled::start(rig, "pooled-killed", |plan| plan)?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let token = rig.token_of(&person)?;
    pooled.query(SESSION, &person.role, &token, "SELECT 1")?;
    for _ in 0..5 {
        let backend = pooled.standing_backend()?;
        signal(backend, Signal::TERM)?;
        until("the backend has ended", || {
            Ok((!std::path::Path::new(&format!("/proc/{backend}")).exists()).then_some(()))
        })?;
        pooled.query(SESSION, &person.role, &token, "SELECT 1")?;
        ensure(pooled.standing_backend()? != backend, || {
            "the same".to_owned()
        })?;
    }
    Ok(())
}

/// The first login waits for the deadline, others not at all; the module replaces the connection by itself.
fn backend_hangs(rig: &Rig) -> Result<()> {
    const DEADLINE: Duration = Duration::from_millis(300);
    let pooled = Pooled::start(rig, "pooled-hangs", |plan| plan)?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let token = rig.token_of(&person)?;
    pooled.query(SESSION, &person.role, &token, "SELECT 1")?;
    pooled.configure("deadline = 300")?;
    let backend = pooled.standing_backend()?;
    signal(backend, Signal::STOP)?;
    let began = Instant::now();
    let outcome = pooled.sign_in(SESSION, &person.role, &token)?.outcome;
    let took = began.elapsed();
    println!("with a backend that hangs, a login is refused after {took:?}");
    let answered = until("another backend answers", || {
        let outcome = pooled.sign_in(SESSION, &person.role, &token)?.outcome;
        Ok(outcome.is_in().then_some(()))
    });
    // Otherwise the server would wait for it at its end.
    signal(backend, Signal::CONT)?;
    answered?;
    ensure(
        !outcome.is_in() && took >= DEADLINE && took < DEADLINE + SOON,
        || format!("{outcome:?} after {took:?}"),
    )?;
    let log = pooled.log()?;
    ensure(
        log.contains("no answer from the server within 300 ms"),
        || log,
    )
}

/// The server has decided, and the connection breaks before it can say so: it is asked again, and both decisions are in the
/// audit.
fn answer_lost(rig: &Rig) -> Result<()> {
    let pooled = Pooled::start(rig, "pooled-lost", |plan| plan)?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let token = rig.token_of(&person)?;
    let relay = Relay::start(pooled.server.port())?;
    pooled.configure_through(relay.port, "deadline = 2000")?;
    pooled.query(SESSION, &person.role, &token, "SELECT 1")?;
    let events = || {
        pooled.server.sql(
            "SELECT outcome, count(*), count(DISTINCT event_id) FROM aadauth.sign_in_audit
             WHERE method = 'pooler' AND aadauth.await_sign_ins() GROUP BY 1 ORDER BY 1",
        )
    };
    let before = events()?;
    ensure(before == "authenticated|1|1", || before)?;
    for (secret, is_good, expected) in [
        (token.as_str(), true, "authenticated|3|3"),
        ("password", false, "authenticated|3|3\nrefused|2|2"),
    ] {
        relay.lose_next_answer();
        let outcome = pooled.sign_in(SESSION, &person.role, secret)?.outcome;
        ensure(relay.has_lost_it() && outcome.is_in() == is_good, || {
            format!("{secret:.8}: {outcome:?}")
        })?;
        let after = events()?;
        ensure(after == expected, || format!("{secret:.8}: {after}"))?;
    }
    Ok(())
}

/// The object id that the module has found is no function's any more.
fn function_made_again(rig: &Rig) -> Result<()> {
    let pooled = Pooled::start(rig, "pooled-made-again", |plan| plan)?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let token = rig.token_of(&person)?;
    pooled.query(SESSION, &person.role, &token, "SELECT 1")?;
    let backend = pooled.standing_backend()?;
    let make = |change: &str| {
        pooled.server.sql(&format!(
            "DO $$
             DECLARE definition text := pg_get_functiondef('aadauth.pooler_check'::regproc);
             BEGIN
                 ALTER EXTENSION aadauth DROP FUNCTION aadauth.pooler_check;
                 DROP FUNCTION aadauth.pooler_check;
                 EXECUTE definition;
                 GRANT EXECUTE ON FUNCTION aadauth.pooler_check TO aadauth_pooler;
                 {change}
             END $$"
        ))
    };
    let member = "ALTER EXTENSION aadauth ADD FUNCTION aadauth.pooler_check(bytea, bytea, text);";
    make(member)?;
    pooled.query(SESSION, &person.role, &token, "SELECT 1")?;
    ensure(pooled.standing_backend()? == backend, || {
        "the connection was not kept".to_owned()
    })?;
    // Not a superuser's, and not the extension's: it is not trusted.
    for change in [
        "",
        &format!(
            "{member} CREATE ROLE pooled_owner; ALTER FUNCTION aadauth.pooler_check OWNER TO pooled_owner;"
        ),
    ] {
        make(member)?;
        pooled.query(SESSION, &person.role, &token, "SELECT 1")?;
        make(change)?;
        let outcome = pooled.sign_in(SESSION, &person.role, &token)?.outcome;
        ensure(!outcome.is_in(), || format!("let in after {change:?}"))?;
        if change.is_empty() {
            pooled.server.sql(member)?;
        }
    }
    Ok(())
}
