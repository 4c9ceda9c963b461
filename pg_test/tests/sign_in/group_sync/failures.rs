//! What goes wrong in the directory, the network or the server takes no rights from anybody, and harms
//! nobody but the one it is about.

use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::process::signal;
use pg_test::wait::until;
use rustix::process::Signal;
use serde_json::json;

use super::{ALICE, ALICE_ID, ANALYSTS, DBA, STRANGER, Synced};
use crate::Test;
use crate::rig::{Rig, ensure};

pub const TESTS: &[Test] = &[
    ("a_listing_that_fails_changes_nothing", listing),
    ("a_listing_that_breaks_off_changes_nothing", broken_off),
    (
        "a_refused_credential_is_reported_for_every_group",
        credential,
    ),
    ("an_object_id_that_is_no_groups_changes_nothing", no_group),
    ("a_shutdown_does_not_wait_for_the_directory", shutdown),
    ("the_killed_workers_work_is_completed", killed),
    ("a_run_that_fails_as_a_whole_says_so", as_a_whole),
];

/// 2,500 members: three pages.
const CROWD: (&str, &str) = ("crowd", "ad000000-0000-4000-8000-000000000001");

fn crowd(members: u32) -> String {
    format!(
        "[[tenant.group]]\nname = \"crowd\"\noid = \"{}\"\ngenerated_members = {members}\n",
        CROWD.1
    )
}

/// Roles and memberships, all of them.
const MEMBERSHIPS: &str = "SELECT md5(string_agg(m::text, ' ' ORDER BY m)) FROM (
    SELECT roleid, member, admin_option FROM pg_auth_members) AS m";

fn listing(rig: &Rig) -> Result<()> {
    let mut synced = Synced::start(rig, "sync-listing", "")?;
    synced.map(&[DBA])?;
    synced.sync()?;
    // To be revoked and to be created, if the list were read.
    synced
        .emulator
        .change_members("dba", &[STRANGER], &[ALICE])?;
    let before = synced.server.sql(MEMBERSHIPS)?;
    for fault in [
        json!("garbage"),
        json!({ "huge": 3_000_000 }),
        json!("truncated"),
        json!({ "redirect": "https://localhost:1/" }),
        // A longer pause than the worker takes: it does not retry within the run.
        json!({ "throttled": 200 }),
    ] {
        synced
            .emulator
            .disturb(&json!({ "fault": fault, "endpoint": "graph" }))?;
        let rows = synced.sync()?;
        ensure(
            rows.len() == 1 && rows[0].short() == ("dba", "listing-failed"),
            || format!("{fault}: {rows:?}"),
        )?;
        let status = synced.status("dba")?;
        ensure(
            status["state"] == "failed" && status["problem"].is_string(),
            || status.to_string(),
        )?;
        synced.emulator.behave()?;
    }
    synced.emulator.stop()?;
    let rows = synced.sync()?;
    ensure(
        rows.len() == 1 && rows[0].short() == ("dba", "listing-failed"),
        || format!("{rows:?}"),
    )?;
    let after = synced.server.sql(MEMBERSHIPS)?;
    ensure(after == before, || "memberships have changed".to_owned())?;
    rig.accepted(&synced.server, ALICE, &synced.token(ALICE)?)
        .map(drop)
}

/// A page out of the middle fails for good.
fn broken_off(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-broken-off", &crowd(2500))?;
    synced.map(&[CROWD])?;
    rig.map(&synced.server, "leaver", ALICE_ID, "user")?;
    synced.server.sql("GRANT crowd TO leaver")?;
    synced
        .emulator
        .disturb(&json!({ "fault": "garbage", "endpoint": "graph", "every": 2 }))?;
    let rows = synced.sync()?;
    ensure(
        rows.len() == 1 && rows[0].short() == ("crowd", "listing-failed"),
        || format!("{rows:?}"),
    )?;
    let status = synced.status("crowd")?;
    ensure(status["seen"].as_i64().is_some_and(|seen| seen > 0), || {
        format!("no page was read: {status}")
    })?;
    synced.expect_members("crowd", "leaver")?;
    synced.emulator.behave()?;
    let rows = synced.sync()?;
    ensure(
        rows.len() == 2501 && rows.iter().any(|row| row.short() == ("leaver", "revoked")),
        || format!("{} rows", rows.len()),
    )
}

fn credential(rig: &Rig) -> Result<()> {
    let mut synced = Synced::start(rig, "sync-credential", "")?;
    synced.map(&[DBA, ANALYSTS])?;
    let secret = rig.secret_file("sync-wrong.secret", "a-secret-that-nobody-knows")?;
    let secret = secret.display().to_string();
    synced
        .server
        .configure(&[("aadauth.client_secret_file", Some(&secret))])?;
    let mark = synced.server.log()?.len();
    synced.sync_and_expect(&[("analysts", "listing-failed"), ("dba", "listing-failed")])?;
    let log = synced.server.log_since(mark)?;
    ensure(!log.contains("a-secret-that"), || log)?;
    synced.expect_members("dba", "")
}

fn no_group(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-no-group", "")?;
    // As a superuser's mistake: Graph has no group with that id, but it has the id.
    synced.map_unasked(
        "carols",
        "ca401000-0000-4000-8000-000000000003",
        "group",
        "",
    )?;
    rig.map(&synced.server, "ally", ALICE_ID, "user")?;
    synced.server.sql("GRANT carols TO ally")?;
    synced.sync_and_expect(&[("carols", "listing-failed")])?;
    synced.expect_members("carols", "ally")
}

fn shutdown(rig: &Rig) -> Result<()> {
    let mut synced = Synced::start(rig, "sync-shutdown", "")?;
    synced.map(&[DBA])?;
    synced
        .emulator
        .disturb(&json!({ "fault": { "slow": 20_000 }, "endpoint": "graph" }))?;
    let worker = worker(&synced)?;
    std::thread::scope(|scope| {
        let run = scope.spawn(|| synced.sync());
        until("the listing is under way", || {
            Ok((synced.status("dba")?["state"] == "listing").then_some(()))
        })?;
        let began = Instant::now();
        signal(worker, Signal::TERM)?;
        let outcome = run.join().map_err(|_| "the run panicked")?;
        ensure(began.elapsed() < Duration::from_secs(2), || {
            format!("the worker took {:?} to end", began.elapsed())
        })?;
        match outcome {
            Ok(rows) => Err(format!("a worker that has ended has answered: {rows:?}").into()),
            Err(error) => ensure(error.to_string().contains("ended before"), || {
                error.to_string()
            }),
        }
    })?;
    let status = synced.status("dba")?;
    ensure(status["state"] == "interrupted", || status.to_string())?;
    // It comes back, and hangs again; then the whole server stops.
    until("the worker lists again", || {
        Ok((synced.status("dba")?["state"] == "listing").then_some(()))
    })?;
    let began = Instant::now();
    synced.server.stop()?;
    ensure(began.elapsed() < Duration::from_secs(3), || {
        format!("the server took {:?} to stop", began.elapsed())
    })
}

pub fn worker(synced: &Synced<'_>) -> Result<u32> {
    until("the worker runs", || {
        synced.server.child("aadauth group sync")
    })
}

fn killed(rig: &Rig) -> Result<()> {
    const MEMBERS: u32 = 3000;
    const COUNT: &str = "SELECT count(*), count(DISTINCT objectid),
            (SELECT count(*) FROM pg_auth_members WHERE roleid = 'crowd'::regrole AND member <> 'azure_pg_admin'::regrole)
        FROM pgaadauth_list_principals(false) WHERE principaltype = 'user'";
    let synced = Synced::start(rig, "sync-killed", &crowd(MEMBERS))?;
    synced.map(&[CROWD])?;
    let worker = worker(&synced)?;
    std::thread::scope(|scope| {
        let run = scope.spawn(|| synced.sync());
        let part = until("a part of the members is done", || {
            let status = synced.status("crowd")?;
            let created = status["created"].as_u64().unwrap_or_default();
            Ok((created > 0).then_some(created))
        })?;
        ensure(part < u64::from(MEMBERS), || {
            "the run was done before it could be killed".to_owned()
        })?;
        signal(worker, Signal::KILL)?;
        ensure(run.join().map_err(|_| "the run panicked")?.is_err(), || {
            "the run went through".to_owned()
        })
    })?;
    let all = format!("{MEMBERS}|{MEMBERS}|{MEMBERS}");
    until("the first run after the crash completes it", || {
        let status = synced.status("crowd");
        Ok(status
            .is_ok_and(|status| status["state"] == "done")
            .then_some(()))
    })?;
    let count = synced.server.sql(COUNT)?;
    ensure(count == all, || count)?;
    let recorded = synced.server.sql(
        "SELECT count(*), count(DISTINCT member_id), count(DISTINCT run) > 1
         FROM aadauth.group_sync_changes WHERE action = 'created'",
    )?;
    ensure(recorded == format!("{MEMBERS}|{MEMBERS}|t"), || recorded)?;
    synced.sync_and_expect(&[])
}

/// Before it comes to the groups, of which the table still has the result of the run before.
fn as_a_whole(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-whole", "")?;
    synced.map(&[DBA])?;
    synced.sync()?;
    let state = || {
        synced
            .server
            .sql("SELECT state || ':' || coalesce(problem, '') FROM aadauth.group_sync_status")
    };
    let before = state()?;
    ensure(before == "done:", || before)?;
    let mut holder = synced.server.superuser()?;
    holder.query("BEGIN; LOCK TABLE aadauth.group_sync_groups IN EXCLUSIVE MODE")?;
    match synced.sync() {
        Ok(rows) => return Err(format!("it went through: {rows:?}").into()),
        Err(error) => ensure(error.to_string().contains("lock timeout"), || {
            error.to_string()
        })?,
    }
    let failed = state()?;
    ensure(
        failed.starts_with("failed:") && failed.contains("lock timeout"),
        || failed.clone(),
    )?;
    holder.query("COMMIT")?;
    synced.sync()?;
    let after = state()?;
    ensure(after == "done:", || after)
}
