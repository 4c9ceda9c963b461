//! The audit's table in dumps: moved with one, left out of one, and restored from one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pg_test::Result;
use pg_test::place::major;
use pg_test::process::checked;
use pg_test::server::Server;
use pg_test::wait::until;

use super::{WEEKS, await_roles, plant};
use crate::Test;
use crate::rig::{Rig, ensure};

pub const TESTS: &[Test] = &[
    ("a_dump_by_others_leaves_it_out", dumped_by_others),
    ("it_moves_to_a_database_of_its_own", moved),
    ("a_dump_is_restored_in_one_transaction", restored_at_once),
    (
        "a_dump_is_restored_while_sign_ins_are_recorded",
        restored_at_work,
    ),
    ("a_clean_restore_keeps_the_revocations", restored_clean),
];

/// The owner of what else is in the database.
fn dumped_by_others(rig: &Rig) -> Result<()> {
    let server = rig.server("dumped-by-others", |plan| plan)?;
    server.sql(
        "CREATE ROLE owner; CREATE SCHEMA app AUTHORIZATION owner;
         SET ROLE owner; CREATE TABLE app.notes AS SELECT 4711 AS id",
    )?;
    let all = pg_dump(&server, &["--role=owner"]);
    let refusal = all.err().map(|error| error.to_string()).unwrap_or_default();
    ensure(refusal.contains("permission denied"), || refusal)?;
    let dumped = fs::read_to_string(pg_dump(&server, &["--role=owner", "-N", "aadauth"])?)?;
    ensure(
        dumped.contains("4711") && dumped.contains("EXTENSION IF NOT EXISTS aadauth"),
        || dumped.clone(),
    )?;
    if major()?.parse::<u32>()? < 17 {
        return Ok(());
    }
    let arguments = [
        "--role=owner",
        "-N",
        "aadauth",
        "--exclude-extension=aadauth",
    ];
    let dumped = fs::read_to_string(pg_dump(&server, &arguments)?)?;
    ensure(
        dumped.contains("4711") && !dumped.contains("aadauth"),
        || dumped.clone(),
    )
}

fn moved(rig: &Rig) -> Result<()> {
    let mut server = rig.server("moved", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let revoked = rig.person(&server, "revoked")?;
    server.sql(&format!("SELECT aadauth.revoke('{}')", revoked.object_id))?;
    let sign_in = rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    let recorded = rig.event(&server, &sign_in.mark)?;
    server.sql("CREATE DATABASE audit")?;
    server.configure(&[("aadauth.database", Some("audit"))])?;
    let meanwhile = rig.sign_in(&server, "revoked", &rig.token_of(&revoked)?)?;
    ensure(!meanwhile.outcome.is_in(), || "let in".to_owned())?;
    let file = pg_dump(&server, &["-n", "aadauth", "-e", "aadauth"])?;
    let said = restore(&server, "audit", &file, &["-1"])?;
    ensure(said.is_empty(), || said)?;
    server.sql_beside_workers("DROP EXTENSION aadauth CASCADE")?;
    let later = rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    let refused = rig.sign_in(&server, "revoked", &rig.token_of(&revoked)?)?;
    ensure(!refused.outcome.is_in(), || "let in".to_owned())?;
    let id = recorded["event_id"].as_str().ok_or("no id")?;
    let query = format!(
        "SELECT string_agg(outcome || coalesce(reason, ''), ' ' ORDER BY occurred_at) FROM aadauth.sign_in_audit
         WHERE event_id = '{id}' OR application_name IN ('{}', '{}', '{}')",
        meanwhile.mark, later.mark, refused.mark
    );
    let expected = "authenticated refusedrevoked authenticated refusedrevoked";
    until("all four are in the new database", || {
        Ok((server.sql_in("audit", &query)? == expected).then_some(()))
    })?;
    server.restart()?;
    let refused = rig.sign_in(&server, "revoked", &rig.token_of(&revoked)?)?;
    ensure(!refused.outcome.is_in(), || "let in".to_owned())
}

fn restored_at_once(rig: &Rig) -> Result<()> {
    let (_dumped, file, events) = dump(rig, "at-once")?;
    ensure(events.len() == 2, || format!("{events:?}"))?;
    let server = rig.start_plan(rig.plan("at-once")?)?;
    // The workers see all of it at once.
    let said = restore(&server, "postgres", &file, &["-1"])?;
    ensure(said.is_empty(), || said)?;
    await_local(&server)?;
    // Under another name, beside it, the old weeks can be looked at.
    server.sql("CREATE DATABASE archive")?;
    restore(&server, "archive", &file, &[])?;
    let old = "SELECT min(c.oid::regclass::text) FROM pg_class AS c
        WHERE relnamespace = 'aadauth'::regnamespace AND relkind = 'r' AND NOT relispartition";
    let week = server.sql_in("archive", old)?;
    let rows = server.sql_in("archive", &format!("SELECT count(*) > 0 FROM {week}"))?;
    ensure(rows == "t", || week.clone())?;
    let restored = ids(&server, "true")?;
    ensure(events.is_subset(&restored), || format!("{restored:?}"))?;
    let tables = server.sql(WEEKS)?;
    let guarded = server.sql(
        "SELECT bool_and(relrowsecurity) AND count(*) = 3 FROM pg_inherits
         JOIN pg_class ON oid = inhrelid WHERE inhparent = 'aadauth.sign_in_audit'::regclass",
    )?;
    ensure(guarded == "t", || tables)
}

fn restored_at_work(rig: &Rig) -> Result<()> {
    let (_dumped, file, events) = dump(rig, "at-work")?;
    let server = rig.start_plan(rig.plan("at-work")?)?;
    let said = restore(&server, "postgres", &file, &[])?;
    // The week that this server has begun already is there, and is filled.
    for error in said.lines().filter(|line| line.contains("ERROR:")) {
        ensure(
            [
                "already exists",
                "already a partition",
                "multiple primary keys",
            ]
            .iter()
            .any(|harmless| error.contains(harmless)),
            || said.clone(),
        )?;
    }
    await_local(&server)?;
    let all = server.sql("SELECT event_id FROM aadauth.sign_in_audit")?;
    let restored: BTreeSet<String> = all.lines().map(str::to_owned).collect();
    ensure(restored.len() == all.lines().count(), || {
        "events are there twice".to_owned()
    })?;
    ensure(events.is_subset(&restored), || {
        format!("{said}\n{restored:?}")
    })
}

/// `pg_dump --clean` onto the server that was dumped, with the workers connected.
fn restored_clean(rig: &Rig) -> Result<()> {
    let server = rig.server("clean", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let revoked = rig.person(&server, "revoked")?;
    server.sql(&format!("SELECT aadauth.revoke('{}')", revoked.object_id))?;
    plant(&server, &[("old-1", 50)])?;
    await_roles(&server, "old-1")?;
    let sign_in = rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    rig.event(&server, &sign_in.mark)?;
    let file = pg_dump(&server, &["--clean", "--if-exists"])?;
    let dumped = ids(&server, "role IN ('someone', 'old-1')")?;
    let is_refused = || rig.refused(&server, "revoked", &rig.token_of(&revoked)?, "revoked");
    // In one transaction, nothing happens.
    let said = restore(&server, "postgres", &file, &["-1", "-v", "ON_ERROR_STOP=1"])?;
    ensure(
        said.contains("cannot drop extension aadauth without deleting the revocations"),
        || said.clone(),
    )?;
    is_refused()?;
    // Otherwise, the extension stays with the revocations, and the weeks are as they were dumped.
    restore(&server, "postgres", &file, &[])?;
    is_refused()?;
    let later = rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    rig.event(&server, &later.mark)?;
    let all = server.sql("SELECT event_id FROM aadauth.sign_in_audit")?;
    let restored: BTreeSet<String> = all.lines().map(str::to_owned).collect();
    ensure(
        restored.len() == all.lines().count() && dumped.is_subset(&restored),
        || format!("{dumped:?} became {restored:?}"),
    )?;
    let listed = server.sql("SELECT roles FROM aadauth.revocations")?;
    ensure(listed == "{revoked}", || listed)
}

/// A server that has recorded something this week and long ago, a dump of it, which is gone with the server, and the ids
/// of these events.
fn dump(rig: &Rig, name: &str) -> Result<(Server, PathBuf, BTreeSet<String>)> {
    let server = rig.server(&format!("{name}-dumped"), |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    plant(&server, &[("old-1", 50)])?;
    await_roles(&server, "old-1")?;
    let sign_in = rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    rig.event(&server, &sign_in.mark)?;
    let file = pg_dump(&server, &[])?;
    let events = ids(&server, "role IN ('someone', 'old-1')")?;
    Ok((server, file, events))
}

/// A dump of the database `postgres`.
fn pg_dump(server: &Server, options: &[&str]) -> Result<PathBuf> {
    let file = server.socket().join("dump.sql");
    let mut pg_dump = server.client("pg_dump")?;
    pg_dump.args(options).arg("-f").arg(&file).arg("postgres");
    checked(&mut pg_dump)?;
    Ok(file)
}

fn ids(server: &Server, condition: &str) -> Result<BTreeSet<String>> {
    let query = format!("SELECT event_id FROM aadauth.sign_in_audit WHERE {condition}");
    Ok(server.sql(&query)?.lines().map(str::to_owned).collect())
}

/// Restores a dump, going on after errors, and returns what psql said.
fn restore(server: &Server, database: &str, file: &Path, options: &[&str]) -> Result<String> {
    let mut psql = server.client("psql")?;
    let output = psql
        .args(options)
        .args(["-XAtq", "-d", database, "-f"])
        .arg(file)
        .output()?;
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Waits until the server has recorded something of its own.
fn await_local(server: &Server) -> Result<()> {
    let own = "SELECT count(*) > 0 FROM aadauth.sign_in_audit WHERE role = 'postgres'
        AND occurred_at > pg_postmaster_start_time()";
    until("the server records its own sign-ins", || {
        Ok((server.sql_in_new_session(own)? == "t").then_some(()))
    })
}
