//! What the server keeps of the directory's answers, for how long, and for whom.

use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::emulator::Emulator;
use pg_test::wait::until;
use serde_json::json;

use crate::directory_server::{ALICE, GUEST};
use crate::rig::{Rig, Subject, ensure};

pub fn graph_away(rig: &Rig) -> Result<()> {
    let mut own = rig.directory_server("away-graph")?;
    let (alice, guest) = (own.silent_user(ALICE)?, own.silent_user(GUEST)?);
    let claimed = own.token(Subject::User(ALICE.to_owned())).text()?;
    own.accepted("analysts", &alice)?;
    own.emulator.stop()?;
    let source = own.accepted("analysts", &alice)?;
    ensure(source == "cache", || source)?;
    own.refused("analysts", &guest, "directory-unavailable")?;
    // A membership of another group is another membership.
    own.refused("dba", &alice, "directory-unavailable")?;
    let source = own.accepted("dba", &claimed)?;
    ensure(source == "claim", || source)?;
    // The log says what the client isn't told.
    let log = own.server.log()?;
    let is_told = |line: &str| line.contains("DETAIL:  Reason: directory-unavailable.");
    let detail = log.lines().find(|line| is_told(line));
    let detail = detail.ok_or("no DETAIL with the reason")?;
    ensure(
        detail.contains("Cause: ") && detail.contains("aadauth.https_proxy"),
        || detail.to_owned(),
    )?;
    own.emulator.start()?;
    until("the directory answers again", || {
        let sign_in = own.sign_in("analysts", &guest)?;
        Ok(sign_in.outcome.is_in().then_some(()))
    })
}

pub fn ttl_over(rig: &Rig) -> Result<()> {
    const TTL: Duration = Duration::from_secs(8);
    let mut own = rig.directory_server_with("ttl", |plan, _| {
        Ok(plan.set("aadauth.group_cache_ttl", "8s"))
    })?;
    let alice = own.silent_user(ALICE)?;
    let asked = Instant::now();
    let source = own.accepted("dba", &alice)?;
    ensure(source == "directory", || source)?;
    own.emulator.change_members("dba", &[], &[ALICE])?;
    // Kept, until it is eight seconds old, and no longer.
    let refused = until("the member who was removed is refused", || {
        let sign_in = own.sign_in("dba", &alice)?;
        let is_early = asked.elapsed() < TTL;
        match sign_in.outcome.refusal() {
            Some(_) => Ok(Some((sign_in, is_early))),
            None => Ok(None),
        }
    })?;
    let (sign_in, is_early) = refused;
    ensure(!is_early, || "the cache was not used".to_owned())?;
    ensure(asked.elapsed() < TTL * 3, || {
        format!("refused after {:?} only", asked.elapsed())
    })?;
    rig.expect_refused(&own.server, "dba", &sign_in, "not-a-group-member")?;
    // The same, with the directory down.
    own.accepted("loop-b", &alice)?;
    own.emulator.stop()?;
    let source = own.accepted("loop-b", &alice)?;
    ensure(source == "cache", || source)?;
    let sign_in = until("the membership is too old", || {
        let sign_in = own.sign_in("loop-b", &alice)?;
        Ok(sign_in.outcome.refusal().is_some().then_some(sign_in))
    })?;
    rig.expect_refused(&own.server, "loop-b", &sign_in, "directory-unavailable")
}

pub fn ttl_zero(rig: &Rig) -> Result<()> {
    let mut own = rig.directory_server_with("ttl-zero", |plan, _| {
        Ok(plan.set("aadauth.group_cache_ttl", "0"))
    })?;
    let alice = own.silent_user(ALICE)?;
    let requests = own.requests_during(|| {
        for _ in 0..3 {
            let source = own.accepted("dba", &alice)?;
            ensure(source == "directory", || source)?;
        }
        Ok(())
    })?;
    ensure(requests == 3, || format!("{requests} requests"))?;
    // Nor is anything kept for when the setting is another one.
    own.server
        .configure(&[("aadauth.group_cache_ttl", Some("1h"))])?;
    let source = own.accepted("dba", &alice)?;
    ensure(source == "directory", || source)?;
    let source = own.accepted("dba", &alice)?;
    ensure(source == "cache", || source)?;
    // Cached answers are not used once caching is off.
    own.server
        .configure(&[("aadauth.group_cache_ttl", Some("0"))])?;
    own.emulator.change_members("dba", &[], &[ALICE])?;
    own.refused("dba", &alice, "not-a-group-member").map(drop)
}

pub fn other_directory(rig: &Rig) -> Result<()> {
    let mut own = rig.directory_server("switch")?;
    let alice = own.silent_user(ALICE)?;
    own.accepted("dba", &alice)?;
    let source = own.accepted("dba", &alice)?;
    ensure(source == "cache", || source)?;

    let mut other = Emulator::with_own_keys(rig.run(), "entra-switch-other")?;
    other.start()?;
    other.change_members("dba", &[], &[ALICE])?;
    // Graph alone is another: it does not take the first authority's tokens. The certificate authority of
    // both must be trusted.
    let both = rig.run().path().join("switch-authorities.pem");
    let first = std::fs::read_to_string(own.emulator.authorities())?;
    let second = std::fs::read_to_string(other.authorities())?;
    std::fs::write(&both, first + &second)?;
    let both = both.display().to_string();
    let before = own.emulator.authority();
    own.server.configure(&[
        ("aadauth.ca_file", Some(&both)),
        ("aadauth.graph_endpoint", Some(&other.authority())),
    ])?;
    own.refused("dba", &alice, "directory-unavailable")?;
    // Another authority and its Graph, where alice is no member.
    own.server
        .configure(&[("aadauth.authority_host", Some(&other.authority()))])?;
    rig.await_keys(&own.server)?;
    let there = other
        .token(Subject::User(ALICE.to_owned()))
        .without("groups")
        .text()?;
    let source = own.refused("dba", &there, "not-a-group-member")?;
    ensure(source == "directory", || source)?;
    // Back again: the first one is asked again.
    own.server.configure(&[
        ("aadauth.authority_host", Some(&before)),
        ("aadauth.graph_endpoint", Some(&before)),
    ])?;
    rig.await_keys(&own.server)?;
    let source = own.accepted("dba", &alice)?;
    ensure(source == "directory", || source)
}

pub fn hundred_at_once(rig: &Rig) -> Result<()> {
    let own = rig.directory_server_with("hundred", |plan, _| {
        Ok(plan
            .set("max_connections", "150")
            .set("aadauth.directory_timeout", "30s"))
    })?;
    own.emulator
        .disturb(&json!({ "fault": { "slow": 1500 }, "endpoint": "graph" }))?;
    let token = own.silent(Subject::ServicePrincipal("reporting".to_owned()))?;
    let requests = own.requests_during(|| {
        let sources = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..100)
                .map(|_| scope.spawn(|| own.rig.accepted(&own.server, "analysts", &token)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| "a thread panicked")?)
                .collect::<Result<Vec<_>>>()
        })?;
        ensure(sources.len() == 100, || sources.len().to_string())
    })?;
    ensure(requests == 1, || {
        format!("{requests} requests for a hundred sign-ins")
    })
}
