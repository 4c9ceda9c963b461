//! Directories and workers that fail: bounded waits, clear reasons, and no effect on other sign-ins.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::process::signal;
use pg_test::wait::{until, until_within};
use pg_test::wire::Connection;
use rustix::process::Signal;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::directory_server::{ALICE, DirectoryServer, GUEST, STRANGER};
use crate::rig::{Rig, Subject, ensure};

const WORKER: &str = "aadauth network worker";

/// Long enough for a machine with more to do; no wait of the server's comes near it.
const SOON: Duration = Duration::from_secs(20);

fn on_graph(fault: Value) -> Value {
    json!({ "fault": fault, "endpoint": "graph" })
}

fn took<T>(body: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    Ok((body()?, start.elapsed()))
}

fn worker(own: &DirectoryServer<'_>) -> Result<u32> {
    own.server
        .child(WORKER)?
        .ok_or_else(|| "no network worker".into())
}

pub fn bad_graph(rig: &Rig) -> Result<()> {
    let own = rig.directory_server_with("bad-graph", |plan, _| {
        Ok(plan.set("aadauth.directory_timeout", "2s"))
    })?;
    let (cached, guest) = (own.silent_user(ALICE)?, own.silent_user(GUEST)?);
    let claimed = own.token(Subject::User(ALICE.to_owned())).text()?;
    own.accepted("dba", &cached)?;
    let before = worker(&own)?;
    for (fault, reason) in [
        (json!({ "slow": 10_000 }), "directory-timed-out"),
        (json!("unavailable"), "directory-unavailable"),
        (json!("error"), "directory-unavailable"),
        (json!({ "throttled": 60 }), "directory-unavailable"),
        (json!("garbage"), "directory-unavailable"),
        (json!("truncated"), "directory-unavailable"),
        (json!({ "huge": 4_000_000 }), "directory-unavailable"),
        (
            json!({ "redirect": "https://localhost:1/" }),
            "directory-unavailable",
        ),
    ] {
        own.emulator.disturb(&on_graph(fault.clone()))?;
        let refused = || own.refused("analysts", &guest, reason);
        let (_, long) = took(refused).map_err(|error| format!("{fault}: {error}"))?;
        ensure(long < SOON, || format!("{fault}: waited {long:?}"))?;
        own.accepted("dba", &cached)?;
        own.accepted("dba", &claimed)?;
        own.emulator.behave()?;
    }
    own.accepted("analysts", &guest)?;
    ensure(worker(&own)? == before, || {
        "the worker did not survive".to_owned()
    })
}

/// One request hangs for ten seconds; all others are answered at once.
pub fn slow(rig: &Rig) -> Result<()> {
    let own = rig.directory_server_with("slow-graph", |plan, _| {
        Ok(plan.set("aadauth.directory_timeout", "30s"))
    })?;
    let tokens = [ALICE, GUEST, STRANGER]
        .iter()
        .map(|user| own.silent_user(user))
        .collect::<Result<Vec<_>>>()?;
    // So that the server has its own token, and the connection.
    own.accepted("loop-b", &tokens[0])?;
    own.emulator
        .disturb(&json!({ "fault": { "slow": 10_000 }, "endpoint": "graph", "times": 1 }))?;
    let mut hanging = asking(&own, "dba", &tokens[0])?;
    let start = Instant::now();
    own.accepted("analysts", &tokens[1])?;
    own.refused("analysts", &tokens[2], "not-a-group-member")?;
    own.accepted("loop-b", &tokens[0])?;
    own.accepted("dba", &own.token(Subject::User(ALICE.to_owned())).text()?)?;
    let beside = start.elapsed();
    ensure(beside < Duration::from_secs(8), || {
        format!("the others took {beside:?}")
    })?;
    ensure(hanging.outcome()?.is_in(), || {
        "the slow answer did not count".to_owned()
    })
}

/// Sends the token and returns when Graph has been asked.
fn asking(own: &DirectoryServer<'_>, role: &str, token: &str) -> Result<Connection> {
    let before = own.emulator.membership_requests()?;
    let (mut connection, _) = own.rig.connect(&own.server, role)?;
    connection.request()?;
    connection.password(token.as_bytes())?;
    until("Graph is asked", || {
        Ok((own.emulator.membership_requests()? > before).then_some(()))
    })?;
    Ok(connection)
}

pub fn redirect(rig: &Rig) -> Result<()> {
    let own = rig.directory_server("redirected")?;
    let elsewhere = TcpListener::bind("127.0.0.1:0")?;
    elsewhere.set_nonblocking(true)?;
    let address = format!("https://localhost:{}/v1.0", elsewhere.local_addr()?.port());
    own.emulator
        .disturb(&on_graph(json!({ "redirect": address })))?;
    own.refused("dba", &own.silent_user(ALICE)?, "directory-unavailable")?;
    let came = elsewhere.accept().map(|(_, from)| from);
    ensure(came.is_err(), || {
        format!("the redirect was followed: {came:?}")
    })
}

pub fn logged_once(rig: &Rig) -> Result<()> {
    let own = rig.directory_server_with("log-once", |plan, _| {
        Ok(plan.set("aadauth.group_cache_ttl", "0"))
    })?;
    let alice = own.silent_user(ALICE)?;
    let mark = own.server.log()?.len();
    own.emulator.disturb(&on_graph(json!("garbage")))?;
    for _ in 0..4 {
        own.refused("dba", &alice, "directory-unavailable")?;
    }
    own.emulator.behave()?;
    for _ in 0..3 {
        own.accepted("dba", &alice)?;
    }
    let log = own.server.log_since(mark)?;
    let count = |text: &str| log.matches(text).count();
    ensure(count("the directory does not respond: ") == 1, || {
        format!("not one line on the problem:\n{log}")
    })?;
    ensure(count("the directory responds again") == 1, || {
        format!("not one line on the recovery:\n{log}")
    })
}

pub fn worker_ends(rig: &Rig) -> Result<()> {
    let own = rig.directory_server_with("worker-ends", |plan, _| {
        Ok(plan.set("aadauth.directory_timeout", "30s"))
    })?;
    let alice = own.silent_user(ALICE)?;
    own.emulator.disturb(&on_graph(json!({ "slow": 60_000 })))?;
    let mut hanging = asking(&own, "dba", &alice)?;
    let before = worker(&own)?;
    signal(before, Signal::TERM)?;
    let outcome = hanging.outcome()?;
    // At once: before there is another one, which would tell them as well.
    let next = own.server.child(WORKER)?;
    ensure(next.is_none_or(|next| next == before), || {
        "waited until there was another worker".to_owned()
    })?;
    let refusal = outcome.refusal().ok_or("not refused")?;
    ensure(refusal.message.contains("could not find out"), || {
        refusal.message.clone()
    })?;
    own.server.wait_for_log(
        0,
        "the network worker, which queries the directory, is not running",
    )?;
    own.emulator.behave()?;
    until_within(SOON, "the worker is back", || {
        Ok(own.server.child(WORKER)?.filter(|now| *now != before))
    })?;
    until("the directory is asked again", || {
        let sign_in = own.sign_in("dba", &alice)?;
        Ok(sign_in.outcome.is_in().then_some(()))
    })
}

/// A request that hangs in one directory is not answered by another, and one that hangs on the way to
/// the right one is sent again by the new way.
pub fn reload(rig: &Rig) -> Result<()> {
    let mut own = rig.directory_server_with("reload", |plan, _| {
        Ok(plan.set("aadauth.directory_timeout", "30s"))
    })?;
    let alice = own.silent_user(ALICE)?;
    let authority = own.emulator.authority();
    own.emulator
        .disturb(&json!({ "fault": { "slow": 60_000 }, "endpoint": "graph", "times": 1 }))?;
    let mut hanging = asking(&own, "dba", &alice)?;
    // Another credential for the same directory.
    let secret = rig.secret_file("reload-other.secret", "aadauth-server-secret")?;
    let file = Some(secret.display().to_string());
    let changes = [("aadauth.client_secret_file", file.as_deref())];
    let (outcome, long) = took(|| {
        own.server.configure(&changes)?;
        hanging.outcome()
    })?;
    ensure(outcome.is_in() && long < SOON, || {
        format!("{outcome:?} after {long:?}")
    })?;

    own.emulator
        .disturb(&json!({ "fault": { "slow": 60_000 }, "endpoint": "graph", "times": 1 }))?;
    let mut hanging = asking(&own, "loop-b", &alice)?;
    let (outcome, long) = took(|| {
        let graph = "https://localhost:1";
        own.server
            .configure(&[("aadauth.graph_endpoint", Some(graph))])?;
        hanging.outcome()
    })?;
    ensure(outcome.refusal().is_some() && long < SOON, || {
        format!("{outcome:?} after {long:?}")
    })?;
    own.server.wait_for_log(
        0,
        "the settings of the directory have changed during the query",
    )?;
    own.server
        .configure(&[("aadauth.graph_endpoint", Some(&authority))])?;
    // A sign-in between two reloads asks the directory that its settings name.
    own.accepted("loop-b", &alice).map(drop)
}

pub fn busy(rig: &Rig) -> Result<()> {
    const SLOTS: usize = 128;
    const MORE: usize = 4;
    let own = rig.directory_server_with("busy", |plan, _| {
        Ok(plan
            .set("max_connections", "180")
            .set("aadauth.directory_timeout", "30s"))
    })?;
    let start = Instant::now();
    own.emulator.disturb(&on_graph(json!({ "slow": 60_000 })))?;
    let open = |_| -> Result<Connection> {
        let token = own
            .token(Subject::User(ALICE.to_owned()))
            .object_id(Uuid::new_v4())
            .without("groups");
        let (mut connection, _) = rig.connect(&own.server, "dba")?;
        connection.request()?;
        connection.password(token.text()?.as_bytes())?;
        Ok(connection)
    };
    let waiting = (0..SLOTS + MORE).map(open).collect::<Result<Vec<_>>>()?;
    let refused = "SELECT count(*) FROM aadauth.sign_in_audit WHERE reason = 'directory-busy'";
    until("those for whom there is no room are refused", || {
        let count: usize = own.server.sql(refused)?.parse()?;
        Ok((count == MORE).then_some(()))
    })?;
    ensure(start.elapsed() < Duration::from_secs(30), || {
        format!("refused after {:?} only", start.elapsed())
    })?;
    // Sign-ins that need no lookup are not affected.
    let claimed = own.token(Subject::User(ALICE.to_owned())).text()?;
    own.accepted("dba", &claimed)?;
    // Their clients go away: when their time is over at the latest, there is room again.
    drop(waiting);
    own.emulator.behave()?;
    let alice = own.silent_user(ALICE)?;
    until("there is room again", || {
        let sign_in = own.sign_in("dba", &alice)?;
        Ok(sign_in.outcome.is_in().then_some(()))
    })
}

pub fn stop(rig: &Rig) -> Result<()> {
    let mut own = rig.directory_server_with("stop", |plan, _| {
        Ok(plan.set("aadauth.directory_timeout", "30s"))
    })?;
    own.emulator.disturb(&on_graph(json!({ "slow": 60_000 })))?;
    let waiting = [ALICE, GUEST]
        .iter()
        .map(|user| asking(&own, "analysts", &own.silent_user(user)?))
        .collect::<Result<Vec<_>>>()?;
    let ((), long) = took(|| own.server.stop())?;
    ensure(long < Duration::from_secs(5), || {
        format!("the server took {long:?} to stop")
    })?;
    drop(waiting);
    let log = own.server.log()?;
    ensure(!log.contains("terminated by signal"), || log.clone())
}
