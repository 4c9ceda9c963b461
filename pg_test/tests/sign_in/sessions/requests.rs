//! Revoking and restoring as requests to the session worker: in force when the function returns, or an error.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::process::signal;
use pg_test::server::Server;
use pg_test::wait::until;
use pg_test::wire::{Connection, Refusal};
use rustix::process::Signal;
use uuid::Uuid;

use super::revocation::{restore, revoke};
use super::rights::with_admin;
use super::{REVOKED, expect_end, expect_rows};
use crate::Test;
use crate::rig::{Rig, ensure};

pub const TESTS: &[Test] = &[
    ("what_is_rolled_back_counts", rolled_back),
    ("an_open_transaction_holds_nobody_up", open_transaction),
    ("any_transaction_may_revoke", any_transaction),
    ("who_holds_the_table_is_named", held_table),
    ("no_worker_no_success", stopped_worker),
    ("a_canceled_request_has_no_effect", canceled),
    ("shortening_is_restoring", shortened),
    ("room_is_shared", room),
    ("it_says_how_many_sessions_end", count_of_sessions),
    ("rights_are_not_those_of_a_transaction", uncommitted_rights),
    ("a_lock_that_is_held_briefly_loses_no_request", brief_locks),
    ("sessions_that_end_leave_no_request", ended_sessions),
    ("a_flood_of_requests_keeps_no_superuser_out", flood),
];

fn refused(session: &mut Connection, sql: &str) -> Result<Refusal> {
    match session.execute(sql)? {
        Ok(rows) => Err(format!("{sql} went through: {rows:?}").into()),
        Err(refusal) => Ok(refusal),
    }
}

fn expect_refused(
    session: &mut Connection,
    sql: &str,
    sqlstate: &str,
    words: &str,
) -> Result<Refusal> {
    let refusal = refused(session, sql)?;
    ensure(
        refusal.sqlstate == sqlstate && refusal.message.contains(words),
        || format!("{sql}: {refusal:?}"),
    )?;
    Ok(refusal)
}

fn listed(server: &Server, object_id: Uuid) -> Result<bool> {
    let query =
        format!("SELECT count(*) FROM aadauth.revoked_principals WHERE object_id = '{object_id}'");
    Ok(server.sql(&query)? == "1")
}

fn rolled_back(rig: &Rig) -> Result<()> {
    let person = rig.person(&rig.server, "not_spared")?;
    let token = rig.token_of(&person)?;
    let mut session = rig.session(&rig.server, "not_spared", &token)?;
    let mut superuser = rig.server.superuser()?;
    superuser.query(&format!("BEGIN; {}", revoke(person.object_id)))?;
    expect_end(&mut session, REVOKED)?;
    rig.refused(&rig.server, "not_spared", &token, "revoked")?;
    superuser.query("ROLLBACK")?;
    rig.refused(&rig.server, "not_spared", &token, "revoked")?;
    superuser.query(&format!("BEGIN; {}; ROLLBACK", restore(person.object_id)))?;
    rig.accepted(&rig.server, "not_spared", &token).map(drop)
}

fn open_transaction(rig: &Rig) -> Result<()> {
    let (server, mut chief) = with_admin(rig, "revoking-idle", |plan| {
        plan.set("max_prepared_transactions", "1")
    })?;
    let [first, second] = [Uuid::new_v4(), Uuid::new_v4()];
    chief.query(&format!("BEGIN; {}", revoke(first)))?;
    server.sql(&format!("{}; {}", revoke(second), restore(first)))?;
    chief.query(&format!("{}; PREPARE TRANSACTION 'kept'", revoke(first)))?;
    server.sql(&format!("{}; {}", restore(first), restore(second)))?;
    ensure(!listed(&server, first)?, || "still revoked".to_owned())
}

fn any_transaction(rig: &Rig) -> Result<()> {
    let id = Uuid::new_v4();
    for mode in [
        "ISOLATION LEVEL REPEATABLE READ",
        "ISOLATION LEVEL SERIALIZABLE",
        "READ ONLY",
    ] {
        let mut superuser = rig.server.superuser()?;
        superuser.query(&format!("BEGIN {mode}; SELECT count(*) FROM pg_class"))?;
        superuser.query(&revoke(id))?;
        ensure(listed(&rig.server, id)?, || format!("{mode}: not revoked"))?;
        superuser.query(&restore(id))?;
    }
    // From another database, the list is the same.
    rig.server.sql("CREATE DATABASE revoking_elsewhere")?;
    rig.server
        .sql_in("revoking_elsewhere", "CREATE EXTENSION aadauth")?;
    rig.server.sql_in("revoking_elsewhere", &revoke(id))?;
    ensure(listed(&rig.server, id)?, || "not revoked".to_owned())?;
    rig.server.sql_in("revoking_elsewhere", &restore(id))?;
    rig.server.sql("DROP DATABASE revoking_elsewhere").map(drop)
}

fn held_table(rig: &Rig) -> Result<()> {
    let mut server = rig.server("revoking-held", |plan| {
        plan.set("max_prepared_transactions", "1")
    })?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    let mut superuser = server.superuser()?;
    let listed_before = Uuid::new_v4();
    superuser.query(&revoke(listed_before))?;
    // A role that may lock every table.
    server.sql("CREATE ROLE writer LOGIN; GRANT pg_write_all_data TO writer")?;
    let mut holder = server.superuser()?;
    let pid = holder.query("SELECT pg_backend_pid()")?.concat();
    for lock in [
        "SET SESSION AUTHORIZATION writer; BEGIN; LOCK TABLE aadauth.revoked_principals",
        "RESET SESSION AUTHORIZATION; BEGIN; UPDATE aadauth.revoked_principals SET until = '2000-01-01'",
    ] {
        holder.query(lock)?;
        let started = Instant::now();
        let refusal = expect_refused(
            &mut superuser,
            &restore(listed_before),
            "55P03",
            &format!("locked by the transaction of the session with process ID {pid}"),
        )?;
        ensure(refusal.hint.is_some(), || format!("{refusal:?}"))?;
        let took = started.elapsed();
        ensure(took < Duration::from_secs(4), || format!("{took:?}"))?;
        holder.query("ROLLBACK")?;
    }
    ensure(listed(&server, listed_before)?, || {
        "restored in spite of the error".to_owned()
    })?;
    holder.query(
        "BEGIN; LOCK TABLE aadauth.revoked_principals; CREATE TABLE public.written (); PREPARE TRANSACTION 'held'",
    )?;
    let held = "locked by the prepared transaction \"held\"";
    expect_refused(&mut superuser, &revoke(person.object_id), "55P03", held)?;
    rig.accepted(&server, "someone", &token)?;
    // Without the list nobody signs in, and the log says why.
    server.restart()?;
    rig.await_keys(&server)?;
    server.wait_for_log(
        0,
        &format!("revocations are not read: table aadauth.revoked_principals is {held}"),
    )?;
    rig.refused(&server, "someone", &token, "revocations-unavailable")?;
    server.sql("ROLLBACK PREPARED 'held'")?;
    until("the list is read", || {
        Ok(rig.session(&server, "someone", &token).ok().map(drop))
    })
}

fn stopped_worker(rig: &Rig) -> Result<()> {
    let server = rig.server("revoking-stopped", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let worker = server
        .child("aadauth session worker")?
        .ok_or("there is no session worker")?;
    signal(worker, Signal::STOP)?;
    let mut superuser = server.superuser()?;
    let attempt = expect_refused(
        &mut superuser,
        &revoke(person.object_id),
        "55000",
        "did not answer",
    );
    signal(worker, Signal::CONT)?;
    let refusal = attempt?;
    ensure(
        refusal.detail.as_deref() == Some("Nothing was changed.") && refusal.hint.is_some(),
        || format!("{refusal:?}"),
    )?;
    // What is requested later is carried out, and the first request is not.
    let other = Uuid::new_v4();
    superuser.query(&revoke(other))?;
    ensure(
        listed(&server, other)? && !listed(&server, person.object_id)?,
        || "revoked in spite of the error".to_owned(),
    )?;
    rig.accepted(&server, "someone", &rig.token_of(&person)?)
        .map(drop)
}

fn canceled(rig: &Rig) -> Result<()> {
    let server = rig.server("revoking-canceled", |plan| plan)?;
    let worker = server
        .child("aadauth session worker")?
        .ok_or("there is no session worker")?;
    let [canceled, other] = [Uuid::new_v4(), Uuid::new_v4()];
    let mut superuser = server.superuser()?;
    superuser.query("SET statement_timeout = '200ms'")?;
    signal(worker, Signal::STOP)?;
    let attempt = expect_refused(&mut superuser, &revoke(canceled), "57014", "canceling");
    signal(worker, Signal::CONT)?;
    attempt?;
    // Nor while the worker waits for a lock.
    let mut holder = server.superuser()?;
    holder.query("BEGIN; LOCK TABLE aadauth.revoked_principals")?;
    let attempt = expect_refused(&mut superuser, &revoke(canceled), "57014", "canceling");
    holder.query("COMMIT")?;
    attempt?;
    superuser.query("SET statement_timeout = 0")?;
    superuser.query(&revoke(other))?;
    ensure(
        listed(&server, other)? && !listed(&server, canceled)?,
        || "carried out in spite of the cancellation".to_owned(),
    )
}

fn shortened(rig: &Rig) -> Result<()> {
    let (server, mut chief) = with_admin(rig, "revoking-shorter", |plan| plan)?;
    let [by_superuser, by_admin] = [Uuid::new_v4(), Uuid::new_v4()];
    let denied = "must be superuser to restore a principal that a superuser revoked";
    let until = |id: Uuid, hours: u32| {
        format!("SELECT aadauth.revoke('{id}', now() + interval '{hours} hours')")
    };
    server.sql(&until(by_superuser, 2))?;
    for sql in [until(by_superuser, 1), restore(by_superuser)] {
        expect_refused(&mut chief, &sql, "42501", denied)?;
    }
    // To make it longer is no way around it, and hides nobody.
    chief.query(&until(by_superuser, 3))?;
    let listed = server.sql(
        "SELECT revoked_by, by_superuser, until > now() + interval '150 min' FROM aadauth.revocations",
    )?;
    ensure(listed == "postgres|t|t", || listed)?;
    for sql in [until(by_superuser, 1), restore(by_superuser)] {
        expect_refused(&mut chief, &sql, "42501", denied)?;
    }
    let mark = server.log_length()?;
    server.sql(&until(by_superuser, 1))?;
    server.wait_for_log(mark, &format!("oid={by_superuser} by=\"postgres\""))?;
    let log = server.log_since(mark)?;
    ensure(log.contains("principal restored from "), || log.clone())?;
    // What an admin has revoked, an admin restores.
    chief.query(&revoke(by_admin))?;
    server.wait_for_log(
        mark,
        &format!("principal revoked: oid={by_admin} by=\"alice@contoso.com\""),
    )?;
    chief.query(&until(by_admin, 1))?;
    chief.query(&restore(by_admin))?;
    server
        .wait_for_log(
            mark,
            &format!("principal restored: oid={by_admin} by=\"alice@contoso.com\""),
        )
        .map(drop)
}

fn room(rig: &Rig) -> Result<()> {
    let (server, mut chief) = with_admin(rig, "revoking-room", |plan| plan)?;
    let own = chief
        .query("SELECT (aadauth.current_principal()).object_id")?
        .concat();
    let fill = |count: u32, by: &str| {
        format!(
            "INSERT INTO aadauth.revoked_principals (object_id, until, revoked_by, revoked_by_id, by_superuser)
             SELECT gen_random_uuid(), 'infinity', 'a test', {by}, false FROM generate_series(1, {count})"
        )
    };
    let id = Uuid::new_v4();
    server.sql(&fill(999, &format!("'{own}'")))?;
    chief.query(&revoke(id))?;
    let refusal = expect_refused(
        &mut chief,
        &revoke(Uuid::new_v4()),
        "54000",
        "cannot revoke more than 1000 principals as one admin",
    )?;
    ensure(refusal.hint.is_some(), || format!("{refusal:?}"))?;
    // One that is there already needs no room.
    chief.query(&revoke(id))?;
    server.sql(&fill(8000, "gen_random_uuid()"))?;
    server.sql(&format!(
        "DELETE FROM aadauth.revoked_principals WHERE revoked_by_id = '{own}' AND object_id <> '{id}'"
    ))?;
    server.sql(&fill(999, "NULL"))?;
    let refusal = expect_refused(
        &mut chief,
        &revoke(Uuid::new_v4()),
        "54000",
        "cannot revoke more than 9000 principals as an admin",
    )?;
    ensure(refusal.detail.is_some(), || format!("{refusal:?}"))?;
    let full = "cannot revoke more than 10000 principals";
    let mut superuser = server.superuser()?;
    superuser.query(&revoke(Uuid::new_v4()))?;
    superuser.query(&fill(999, "NULL"))?;
    expect_refused(&mut superuser, &revoke(Uuid::new_v4()), "54000", full)?;
    // Reasons are short.
    let reason = |length: usize| {
        format!(
            "SELECT aadauth.revoke('{id}', reason => '{}')",
            "x".repeat(length)
        )
    };
    expect_refused(
        &mut chief,
        &reason(1001),
        "22001",
        "reason is 1001 bytes long",
    )?;
    chief.query(&reason(1000)).map(drop)
}

fn count_of_sessions(rig: &Rig) -> Result<()> {
    let person = rig.person(&rig.server, "two_sessions")?;
    let token = rig.token_of(&person)?;
    let mut one = rig.session(&rig.server, "two_sessions", &token)?;
    let mut two = rig.session(&rig.server, "two_sessions", &token)?;
    let mark = rig.server.log_length()?;
    rig.server.sql(&format!(
        "SET log_min_messages = notice; {}",
        revoke(person.object_id)
    ))?;
    rig.server
        .wait_for_log(mark, "terminating 2 sessions of the principal")?;
    expect_end(&mut one, REVOKED)?;
    expect_end(&mut two, REVOKED)?;
    let mut superuser = rig.server.superuser()?;
    superuser.query(&restore(person.object_id))?;
    let mut back = rig.session(&rig.server, "two_sessions", &token)?;
    expect_rows(&mut back, "SELECT 1", &["1"])
}

/// What the transaction has changed it may take back; the revocation stays.
fn uncommitted_rights(rig: &Rig) -> Result<()> {
    let (server, mut chief) = with_admin(rig, "revoking-uncommitted", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    chief.query("BEGIN; CREATE ROLE written")?;
    let refusal = expect_refused(
        &mut chief,
        &revoke(person.object_id),
        "25001",
        "in a transaction that has made changes",
    )?;
    ensure(refusal.hint.is_some(), || format!("{refusal:?}"))?;
    chief.query("ROLLBACK")?;
    let mut superuser = server.superuser()?;
    superuser.query(&format!(
        "BEGIN; CREATE ROLE written; {}; ROLLBACK",
        revoke(person.object_id)
    ))?;
    ensure(listed(&server, person.object_id)?, || {
        "not revoked".to_owned()
    })
}

/// The worker waits for the lock with the latch by which it is woken.
fn brief_locks(rig: &Rig) -> Result<()> {
    let server = rig.server("revoking-brief", |plan| plan)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| -> Result<()> {
            let mut holder = server.superuser()?;
            while !done.load(Ordering::Relaxed) {
                holder.query(
                    "BEGIN; LOCK TABLE aadauth.revoked_principals; SELECT pg_sleep(0.2); COMMIT",
                )?;
            }
            Ok(())
        });
        let mut superuser = server.superuser()?;
        let outcome = (0..20).try_for_each(|_| {
            // Reads the list, too.
            server.reload()?;
            superuser.query(&revoke(Uuid::new_v4())).map(drop)
        });
        done.store(true, Ordering::Relaxed);
        holder.join().map_err(|_| "the holder panicked")??;
        outcome
    })
}

/// As many as there are places, and more.
fn ended_sessions(rig: &Rig) -> Result<()> {
    let server = rig.server("revoking-ended", |plan| plan)?;
    let worker = server
        .child("aadauth session worker")?
        .ok_or("there is no session worker")?;
    let other = Uuid::new_v4();
    signal(worker, Signal::STOP)?;
    let outcome = (0..30).try_for_each(|_| -> Result<()> {
        let mut session = server.superuser()?;
        let pid = session.query("SELECT pg_backend_pid()")?.concat();
        super::start_query(&mut session, &revoke(Uuid::new_v4()))?;
        until("it waits", || {
            let query = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event_type = 'Extension'"
            );
            Ok((server.sql(&query)? == "1").then_some(()))
        })?;
        server.sql(&format!("SELECT pg_terminate_backend({pid}, 5000)")).map(drop)
    });
    signal(worker, Signal::CONT)?;
    outcome?;
    server.sql(&revoke(other))?;
    let count = server.sql("SELECT count(*) FROM aadauth.revoked_principals")?;
    ensure(count == "1", || format!("{count} were carried out"))
}

/// Of requests that are canceled at every moment, and of many at the same time. Nor does it keep sessions in that are to end.
fn flood(rig: &Rig) -> Result<()> {
    let (mut server, mut chief) = with_admin(rig, "revoking-flood", |plan| {
        plan.set("aadauth.clock_skew", "0")
            .set("fsync", "on")
            .set("commit_delay", "100000")
            .set("commit_siblings", "0")
    })?;
    let mut superuser = server.superuser()?;
    let any = format!(
        "SELECT aadauth.revoke('{}', now() + interval '1 min')",
        Uuid::new_v4()
    );
    // More than there are places, while the worker commits.
    chief.query("SET statement_timeout = '30ms'")?;
    for _ in 0..30 {
        expect_refused(&mut chief, &any, "57014", "canceling")?;
    }
    superuser.query(&revoke(Uuid::new_v4()))?;
    let chief_id: Uuid = chief
        .query("SET statement_timeout = 0; SELECT (aadauth.current_principal()).object_id")?
        .concat()
        .parse()?;
    let token = rig.user("alice@contoso.com").object_id(chief_id).text()?;
    let short_lived = rig.person(&server, "short_lived")?;
    server.configure(&[("aadauth.session_expiry", Some("token"))])?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let floods: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let mut session = rig.session(&server, "chief", &token)?;
                    while !done.load(Ordering::Relaxed) {
                        let _ = session.execute(&any)?;
                    }
                    Ok(())
                })
            })
            .collect();
        let outcome = || -> Result<()> {
            for _ in 0..20 {
                superuser.query(&revoke(Uuid::new_v4()))?;
            }
            let short = rig
                .user("alice@contoso.com")
                .object_id(short_lived.object_id)
                .expires_in(3);
            let mut session = rig.session(&server, "short_lived", &short.text()?)?;
            let started = Instant::now();
            expect_end(&mut session, super::EXPIRED)?;
            let took = started.elapsed();
            ensure(took < Duration::from_secs(8), || {
                format!("ended after {took:?}")
            })
        }();
        done.store(true, Ordering::Relaxed);
        for flood in floods {
            flood.join().map_err(|_| "a flood panicked")??;
        }
        outcome
    })
}
