//! Sessions whose principal is revoked, whatever they are doing.

use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::server::Server;
use pg_test::wait::until;
use pg_test::wire::Connection;

use super::revocation::{restore, revoke};
use super::{REVOKED, await_count, expect_end, expect_words, start_query};
use crate::Test;
use crate::rig::{Person, Rig, ensure};

pub const TESTS: &[Test] = &[
    ("two_hundred_sessions_end_within_a_second", two_hundred),
    ("a_long_query_is_ended", long_query),
    ("replication_is_ended", replication),
];

fn two_hundred(rig: &Rig) -> Result<()> {
    let server = rig.server("two-hundred", |plan| plan.set("max_connections", "250"))?;
    let person = rig.person(&server, "many")?;
    let token = rig.token_of(&person)?;
    let mut administrator = administrator(rig, &server)?;
    // What else the machine does may cost a round, but not three.
    let mut rounds = Vec::new();
    while rounds.len() < 3 {
        let round = end_two_hundred(rig, &server, &person, &token, &mut administrator)?;
        rounds.push(round);
        if round < Duration::from_secs(1) {
            return Ok(());
        }
        administrator.query(&restore(person.object_id))?;
        until("they may sign in again", || {
            Ok(rig.session(&server, "many", &token).ok().map(drop))
        })?;
    }
    Err(format!("it took {rounds:?}").into())
}

/// From the call of aadauth.revoke until the last of 200 clients has read why its session ended.
fn end_two_hundred(
    rig: &Rig,
    server: &Server,
    person: &Person,
    token: &str,
    administrator: &mut Connection,
) -> Result<Duration> {
    const SESSIONS: usize = 200;
    await_count(server, person.object_id, 0)?;
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        let mut session = rig.session(server, "many", token)?;
        // Some idle, some in a transaction, some in a query.
        match number % 3 {
            1 => drop(session.query("BEGIN")?),
            2 => start_query(&mut session, "SELECT pg_sleep(3600)")?,
            _ => (),
        }
        sessions.push(session);
    }
    await_count(server, person.object_id, SESSIONS)?;
    let started = Instant::now();
    administrator.query(&revoke(person.object_id))?;
    let revoked = started.elapsed();
    for session in &mut sessions {
        expect_words(session, REVOKED)?;
    }
    let told = started.elapsed();
    await_count(server, person.object_id, 0)?;
    println!(
        "{SESSIONS} sessions were ended {told:.1?} after aadauth.revoke was called, which took {revoked:.1?}; \
         their processes were gone after {:.1?}",
        started.elapsed()
    );
    Ok(told)
}

/// A superuser's connection, made before the clock runs.
fn administrator(rig: &Rig, server: &Server) -> Result<Connection> {
    server.sql("CREATE ROLE administrator LOGIN SUPERUSER PASSWORD 'of the administrator'")?;
    let (mut connection, _) = rig.connect(server, "administrator")?;
    connection.request()?;
    let outcome = connection.scram(b"of the administrator", || Ok(()))?;
    ensure(outcome.is_in(), || format!("{outcome:?}"))?;
    Ok(connection)
}

fn long_query(rig: &Rig) -> Result<()> {
    let person = rig.person(&rig.server, "busy")?;
    let mut session = rig.session(&rig.server, "busy", &rig.token_of(&person)?)?;
    start_query(
        &mut session,
        "SELECT count(*) FROM generate_series(1, 100000000000)",
    )?;
    until("the query runs", || {
        let query =
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'busy' AND state = 'active'";
        Ok((rig.server.sql(query)? == "1").then_some(()))
    })?;
    let mark = rig.server.log()?.len();
    rig.server.sql(&revoke(person.object_id))?;
    expect_end(&mut session, REVOKED)?;
    // The log has the same words, and why the session ended.
    rig.server
        .wait_for_log(mark, &format!("FATAL:  {}", REVOKED.1))?;
    rig.server
        .wait_for_log(
            mark,
            "session ended (principal revoked): UPN=alice@contoso.com",
        )
        .map(drop)
}

fn replication(rig: &Rig) -> Result<()> {
    let server = rig.server("revoked-replication", |plan| {
        plan.set("max_wal_senders", "5").set("wal_level", "replica")
    })?;
    let person = rig.person(&server, "follower")?;
    server.sql("ALTER ROLE follower REPLICATION")?;
    let token = rig.token_of(&person)?;
    let mut idle = rig.session_with(&server, "follower", &token, &[("replication", "true")])?;
    let mut streaming =
        rig.session_with(&server, "follower", &token, &[("replication", "true")])?;
    let position = server.sql("SELECT pg_current_wal_flush_lsn()")?;
    start_query(
        &mut streaming,
        &format!("START_REPLICATION PHYSICAL {position}"),
    )?;
    until("it streams", || {
        Ok(
            (server.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")?
                == "1")
                .then_some(()),
        )
    })?;
    let shown = server.sql("SELECT count(*) FROM aadauth.sessions WHERE database IS NULL")?;
    ensure(shown == "2", || shown)?;
    server.sql(&revoke(person.object_id))?;
    expect_end(&mut idle, REVOKED)?;
    expect_end(&mut streaming, REVOKED)
}
