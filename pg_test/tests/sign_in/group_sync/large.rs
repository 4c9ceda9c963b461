//! A large group, over pages, with a directory that asks for pauses.
//!
//! `AADAUTH_TEST_GROUP_SIZE=50000` makes it as large as that.

use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::wait::until_within;
use serde_json::json;

use super::Synced;
use super::failures::worker;
use crate::Test;
use crate::rig::{Rig, ensure};

pub const TESTS: &[Test] = &[("a_large_group_over_pages_and_pauses", large)];

const SIZE: &str = "AADAUTH_TEST_GROUP_SIZE";
const USUAL: u32 = 2000;
const HOUR: Duration = Duration::from_secs(3600);

fn large(rig: &Rig) -> Result<()> {
    let size: u32 = match std::env::var(SIZE) {
        Ok(size) => size.parse()?,
        Err(_) => USUAL,
    };
    let group = ("everyone", "ad000000-0000-4000-8000-000000000001");
    let synced = Synced::start(
        rig,
        "sync-large",
        &format!(
            "[[tenant.group]]\nname = \"everyone\"\noid = \"{}\"\ngenerated_members = {size}\n",
            group.1
        ),
    )?;
    synced.map(&[group])?;
    let worker = worker(&synced)?;
    let before = memory(worker, "VmHWM")?;
    // Every other page is preceded by a pause.
    synced
        .emulator
        .disturb(&json!({ "fault": { "throttled": 1 }, "endpoint": "graph", "every": 2 }))?;
    let began = Instant::now();
    let mut seen = Vec::new();
    let count = "SELECT count(*) FROM pgaadauth_sync_roles_for_group_members()";
    std::thread::scope(|scope| {
        let run = scope.spawn(|| synced.server.sql(count));
        // Progress can be watched.
        until_within(HOUR, "the run is done", || {
            let status = synced.status("everyone")?;
            let step = (
                status["state"].as_str().unwrap_or_default().to_owned(),
                status["seen"].as_i64().unwrap_or_default(),
                status["done"].as_i64().unwrap_or_default(),
            );
            if seen.last() != Some(&step) {
                seen.push(step);
            }
            Ok(run.is_finished().then_some(()))
        })?;
        let rows = run.join().map_err(|_| "the run panicked")??;
        ensure(rows == size.to_string(), || format!("{rows} rows"))
    })?;
    let first = began.elapsed();
    let after = memory(worker, "VmHWM")?;
    ensure(
        ["listing", "changing"]
            .iter()
            .all(|state| seen.iter().any(|(seen, ..)| seen == state)),
        || format!("{seen:?}"),
    )?;
    let roles = synced.server.sql(
        "SELECT count(*), count(DISTINCT objectid),
             (SELECT count(*) FROM pg_auth_members WHERE roleid = 'everyone'::regrole AND member <> 'azure_pg_admin'::regrole)
         FROM pgaadauth_list_principals(false) WHERE principaltype = 'user'",
    )?;
    ensure(roles == format!("{size}|{size}|{size}"), || roles)?;
    synced.emulator.behave()?;
    let began = Instant::now();
    synced.sync_and_expect(&[])?;
    let unchanged = began.elapsed();
    // All of them leave.
    synced.emulator.delete("everyone")?;
    let began = Instant::now();
    let rows = synced.server.sql(count)?;
    let gone = began.elapsed();
    ensure(rows == (size + 1).to_string(), || format!("{rows} rows"))?;
    synced.expect_members("everyone", "")?;
    println!(
        "group of {size}: {first:.1?} with a pause of 1 s before every other page, {unchanged:.1?} when \
         nothing has changed, {gone:.1?} to revoke all; the worker's memory went from {before} to {after} kB, \
         {} kB at the end; {} steps of progress seen",
        memory(worker, "VmHWM")?,
        seen.len()
    );
    Ok(())
}

/// A process's memory in kB, by its name in `/proc/.../status`.
fn memory(process: u32, name: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .ok_or_else(|| format!("no {name}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
