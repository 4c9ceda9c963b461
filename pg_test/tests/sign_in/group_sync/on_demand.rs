//! `pgaadauth_sync_roles_for_group_members()`: who may call it, when, and what it returns. And who may
//! read what was done.

use std::process::Command;
use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::place::{give_to_server, pg_config_says};
use pg_test::process::{as_postgres, checked};
use pg_test::wait::until;
use serde_json::json;

use super::{ALICE, CAROL, DBA, STRANGER, Synced};
use crate::Test;
use crate::rig::{Rig, ensure};

pub const TESTS: &[Test] = &[
    ("only_who_may_map_may_ask", askers),
    ("it_says_what_is_missing", missing),
    ("any_transaction_without_changes_may_ask", isolation),
    ("a_run_that_was_under_way_is_no_answer", under_way),
    ("the_wait_can_be_cancelled", cancelled),
    ("a_reload_does_not_end_a_run_but_other_settings_do", reloads),
    ("a_database_without_the_extension_is_reported", no_extension),
    ("nor_one_that_is_not_a_superusers", not_owned),
    ("auditors_and_admins_read_and_nobody_writes", readers),
    ("not_on_a_standby", standby),
    ("it_runs_by_itself", interval),
];

const CALL: &str = "SELECT count(*) FROM pgaadauth_sync_roles_for_group_members()";

fn refused(synced: &Synced<'_>, database: &str, sql: &str, says: &str) -> Result<()> {
    match synced.server.sql_in(database, sql) {
        Ok(answer) => Err(format!("{sql}: {answer}").into()),
        Err(error) => ensure(error.to_string().contains(says), || {
            format!("{sql}: {error}")
        }),
    }
}

fn askers(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-askers", "")?;
    synced.map(&[DBA])?;
    let chief = uuid::Uuid::new_v4();
    synced.map_unasked("chief", &chief.to_string(), "user", ",admin")?;
    rig.map(
        &synced.server,
        STRANGER,
        "3a110000-0000-4000-8000-000000000004",
        "user",
    )?;
    let ask =
        |role: &str, token: &str, sql: &str| rig.attempt(&synced.server, role, token).psql("", sql);
    let printed = ask(STRANGER, &synced.token(STRANGER)?, CALL)?;
    ensure(
        !printed.success
            && printed.error.contains(
                "42501: permission denied for function pgaadauth_sync_roles_for_group_members",
            ),
        || format!("{printed:?}"),
    )?;
    // An admin, even one who lacks azure_pg_admin, as this one does.
    let token = synced.token_about(chief)?;
    let printed = ask(
        "chief",
        &token,
        "SELECT * FROM pgaadauth_sync_roles_for_group_members()",
    )?;
    ensure(
        printed.output == format!("dba|{ALICE}|created|\ndba|{CAROL}|created|"),
        || format!("{printed:?}"),
    )?;
    // Not in another's name.
    synced
        .server
        .sql("CREATE ROLE other; GRANT other TO chief")?;
    let printed = ask("chief", &token, &format!("SET ROLE other; {CALL}"))?;
    ensure(printed.error.contains("42501"), || format!("{printed:?}"))
}

fn missing(rig: &Rig) -> Result<()> {
    let mut synced = Synced::prepare(rig, "sync-missing", "", |plan| plan)?;
    refused(&synced, "postgres", CALL, "55000: group sync is off")?;
    refused(&synced, "postgres", CALL, "pgaadauth.enable_group_sync")?;
    synced.enable()?;
    synced
        .server
        .configure(&[("aadauth.credential", Some("none"))])?;
    refused(&synced, "postgres", CALL, "no directory is configured")?;
    synced.map(&[DBA])?;
    let status = synced.status("dba")?;
    ensure(
        status["state"] == "failed" && status["problem"] == problem_found(&synced)?,
        || status.to_string(),
    )?;
    synced.server.sql("DROP ROLE dba")?;
    synced
        .server
        .configure(&[("aadauth.credential", Some("client_secret"))])?;
    let answer = synced.server.sql(CALL)?;
    ensure(answer == "0", || answer)?;
    synced.server.sql("CREATE DATABASE elsewhere")?;
    synced
        .server
        .sql_in("elsewhere", "CREATE EXTENSION aadauth")?;
    refused(
        &synced,
        "elsewhere",
        CALL,
        "sign-ins, revocations and group sync are not recorded in database",
    )?;
    refused(
        &synced,
        "postgres",
        &format!("BEGIN; CREATE ROLE half_way; {CALL}"),
        "25001: cannot synchronize groups in a transaction that has written data",
    )?;
    // Nobody is there to do it.
    let worker = super::failures::worker(&synced)?;
    pg_test::process::signal(worker, rustix::process::Signal::STOP)?;
    refused(
        &synced,
        "postgres",
        &format!("SET statement_timeout = '1s'; {CALL}"),
        "57014",
    )?;
    pg_test::process::signal(worker, rustix::process::Signal::CONT)
}

fn isolation(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-isolation", "")?;
    synced.map(&[DBA])?;
    for (level, remove) in [
        ("READ COMMITTED", ALICE),
        ("REPEATABLE READ", CAROL),
        ("SERIALIZABLE", ALICE),
        ("REPEATABLE READ READ ONLY", CAROL),
    ] {
        synced
            .emulator
            .change_members("dba", &[ALICE, CAROL], &[])?;
        synced.sync()?;
        synced.emulator.change_members("dba", &[], &[remove])?;
        let answer = synced.server.sql(&format!(
            "BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM pg_class WHERE false;
             SELECT member, action FROM pgaadauth_sync_roles_for_group_members(); COMMIT"
        ))?;
        ensure(answer == format!("0\n{remove}|revoked"), || {
            format!("{level}: {answer}")
        })?;
    }
    // A transaction that has changed nothing must not hold the lock that the run takes.
    synced.server.sql("CREATE ROLE unmapped")?;
    synced
        .emulator
        .change_members("dba", &[ALICE, CAROL], &[])?;
    let answer = synced.server.sql(&format!(
        "BEGIN; SET LOCAL statement_timeout = '10s'; SECURITY LABEL FOR pgaadauth ON ROLE unmapped IS NULL; {CALL}; COMMIT"
    ))?;
    ensure(answer == "1", || answer.clone())
}

fn under_way(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-under-way", "")?;
    synced.map(&[DBA])?;
    synced
        .emulator
        .disturb(&json!({ "fault": { "slow": 1000 }, "endpoint": "graph" }))?;
    let began = Instant::now();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| synced.sync());
        until("the changes are made", || {
            Ok((synced.status("dba")?["state"] == "listing").then_some(()))
        })?;
        let run = "SELECT run FROM aadauth.group_sync_groups";
        let under_way: i64 = synced.server.sql(run)?.parse()?;
        let second = scope.spawn(|| synced.sync());
        let third = scope.spawn(|| synced.sync());
        let rows = first.join().map_err(|_| "panicked")??;
        ensure(rows.len() == 2, || format!("{rows:?}"))?;
        for later in [second, third] {
            let rows = later.join().map_err(|_| "panicked")??;
            ensure(rows.is_empty(), || format!("{rows:?}"))?;
        }
        ensure(began.elapsed() < Duration::from_secs(30), || {
            format!("the answers took {:?}", began.elapsed())
        })?;
        let last: i64 = synced.server.sql(run)?.parse()?;
        ensure(last > under_way, || format!("run {last} answered all"))
    })
}

fn cancelled(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-cancelled", "")?;
    synced.map(&[DBA])?;
    synced
        .emulator
        .disturb(&json!({ "fault": { "slow": 3000 }, "endpoint": "graph" }))?;
    refused(
        &synced,
        "postgres",
        &format!("SET statement_timeout = '300ms'; {CALL}"),
        "57014: canceling statement due to statement timeout",
    )?;
    // The run goes on without its asker.
    synced.emulator.behave()?;
    until("the run is done", || {
        Ok((synced.members_of("dba")? == [ALICE, CAROL].join(",")).then_some(()))
    })
}

fn reloads(rig: &Rig) -> Result<()> {
    let mut synced = Synced::start(rig, "sync-reloads", "")?;
    synced.map(&[DBA])?;
    let right = synced.server.sql("SHOW aadauth.client_secret_file")?;
    let wrong = rig.secret_file("sync-reloads-wrong.secret", "a-secret-that-nobody-knows")?;
    let wrong = wrong.display().to_string();
    let run = |synced: &Synced<'_>| {
        synced
            .server
            .sql("SELECT run FROM aadauth.group_sync_groups")
    };
    let slow = json!({ "fault": { "slow": 1500 }, "endpoint": "graph" });
    synced.emulator.disturb(&slow)?;
    let listing = |synced: &Synced<'_>| {
        until("the listing is under way", || {
            Ok((synced.status("dba")?["state"] == "listing").then_some(()))
        })
    };
    let socket = synced.server.socket().to_owned();
    let port = synced.server.port();
    let ask = || -> Result<String> {
        let psql = std::path::PathBuf::from(pg_config_says("--bindir")?).join("psql");
        let mut command: Command = as_postgres(psql)?;
        command.args(["-XAtq", "-d", "postgres", "-c", CALL]);
        command
            .arg("-h")
            .arg(&socket)
            .args(["-p", &port.to_string()]);
        Ok(checked(&mut command)?.trim().to_owned())
    };
    std::thread::scope(|scope| {
        let asked = scope.spawn(ask);
        listing(&synced)?;
        let first = run(&synced)?;
        // Others' settings.
        synced
            .server
            .configure(&[("log_checkpoints", Some("off"))])?;
        let rows = asked.join().map_err(|_| "panicked")??;
        ensure(rows == "2", || rows)?;
        ensure(run(&synced)? == first, || {
            "the run was begun again".to_owned()
        })?;
        // A session that waits gets the run with the new settings.
        synced.emulator.change_members("dba", &[], &[ALICE])?;
        let asked = scope.spawn(ask);
        listing(&synced)?;
        let second = run(&synced)?;
        // A refused credential fails at once; an unreachable directory is retried within the run.
        synced
            .server
            .configure(&[("aadauth.client_secret_file", Some(&wrong))])?;
        let rows = asked.join().map_err(|_| "panicked")??;
        ensure(rows == "1" && run(&synced)? != second, || rows)?;
        let status = synced.status("dba")?;
        ensure(status["state"] == "failed", || status.to_string())?;
        synced.expect_members("dba", &[ALICE, CAROL].join(","))?;
        synced
            .server
            .configure(&[("aadauth.client_secret_file", Some(&right))])?;
        until("the run goes through", || {
            Ok((synced.members_of("dba")? == CAROL).then_some(()))
        })?;
        // Turned off in the middle.
        let asked = scope.spawn(ask);
        listing(&synced)?;
        synced.disable()?;
        match asked.join().map_err(|_| "panicked")? {
            Ok(rows) => Err(format!("went through: {rows}").into()),
            Err(error) => ensure(error.to_string().contains("ended before"), || {
                error.to_string()
            }),
        }
    })
}

fn no_extension(rig: &Rig) -> Result<()> {
    let mut synced = Synced::prepare(rig, "sync-no-extension", "", |plan| plan)?;
    synced.server.sql("CREATE DATABASE audit")?;
    synced
        .server
        .configure(&[("aadauth.database", Some("audit"))])?;
    synced.enable()?;
    synced.server.wait_for_log(
        0,
        "groups are not synchronized: extension aadauth is not installed in database \"audit\"",
    )?;
    synced.server.sql_in("audit", "CREATE EXTENSION aadauth")?;
    let answer = synced.server.sql_in("audit", CALL)?;
    ensure(answer == "0", || answer)
}

fn not_owned(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-not-owned", "")?;
    synced.map(&[DBA])?;
    synced
        .server
        .sql("CREATE ROLE landlord; ALTER TABLE aadauth.group_sync_changes OWNER TO landlord")?;
    refused(&synced, "postgres", CALL, "are not owned by a superuser")?;
    synced.expect_members("dba", "")?;
    synced
        .server
        .sql("ALTER TABLE aadauth.group_sync_changes OWNER TO postgres")?;
    until("the worker has looked again", || {
        Ok((synced.members_of("dba")? == [ALICE, CAROL].join(",")).then_some(()))
    })
}

fn readers(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-readers", "")?;
    synced.map(&[DBA])?;
    synced.sync()?;
    synced.server.sql(
        "CREATE ROLE auditor IN ROLE aadauth_auditor; CREATE ROLE admin IN ROLE azure_pg_admin;
         CREATE ROLE passer_by IN ROLE pg_read_all_data, pg_write_all_data; CREATE ROLE nobody",
    )?;
    let reads = "SELECT (SELECT count(*) FROM aadauth.group_sync_changes),
        (SELECT count(*) FROM aadauth.group_sync_groups), (SELECT count(*) FROM aadauth.group_sync_status)";
    for (role, expected) in [("auditor", "2|1|1"), ("admin", "2|1|1")] {
        let rows = synced.server.sql(&format!("SET ROLE {role}; {reads}"))?;
        ensure(rows == expected, || format!("{role}: {rows}"))?;
    }
    let hidden = "SELECT (SELECT count(*) FROM aadauth.group_sync_changes),
        (SELECT count(*) FROM aadauth.group_sync_groups)";
    let rows = synced
        .server
        .sql(&format!("SET ROLE passer_by; {hidden}"))?;
    ensure(rows == "0|0", || rows)?;
    refused(
        &synced,
        "postgres",
        &format!("SET ROLE nobody; {reads}"),
        "42501",
    )?;
    for role in ["auditor", "admin", "passer_by", "nobody"] {
        for change in [
            "INSERT INTO aadauth.group_sync_changes (run, group_role, tenant_id, group_id, action)
                 VALUES (1, 'x', gen_random_uuid(), gen_random_uuid(), 'x')",
            "INSERT INTO aadauth.group_sync_groups (tenant_id, group_id, run, state)
                 VALUES (gen_random_uuid(), gen_random_uuid(), 1, 'x')",
        ] {
            refused(
                &synced,
                "postgres",
                &format!("SET ROLE {role}; {change}"),
                "42501",
            )?;
        }
        for change in [
            "UPDATE aadauth.group_sync_changes SET action = 'x'",
            "DELETE FROM aadauth.group_sync_changes",
            "DELETE FROM aadauth.group_sync_groups",
        ] {
            // Refused, or nothing to be seen that could be changed.
            let _ = synced.server.sql(&format!("SET ROLE {role}; {change}"));
        }
    }
    let rows = synced.server.sql(reads)?;
    ensure(rows == "2|1|1", || rows)
}

fn standby(rig: &Rig) -> Result<()> {
    let mut synced = Synced::start(rig, "sync-primary", "")?;
    synced.map(&[DBA])?;
    synced.sync()?;
    synced.server.stop()?;
    let signal = synced.server.data().join("standby.signal");
    std::fs::write(&signal, "")?;
    give_to_server(&signal)?;
    synced.server.start()?;
    let standby = &synced.server;
    match standby.sql(CALL) {
        Ok(answer) => return Err(format!("synchronized: {answer}").into()),
        Err(error) => ensure(error.to_string().contains("during recovery"), || {
            error.to_string()
        })?,
    }
    let state = standby.sql("SELECT state, next_run FROM aadauth.group_sync_status")?;
    ensure(state == "done|", || state)
}

fn interval(rig: &Rig) -> Result<()> {
    let mut synced = Synced::start(rig, "sync-interval", "")?;
    synced.map(&[DBA])?;
    let next = |synced: &Synced<'_>| -> Result<f64> {
        Ok(synced
            .server
            .sql("SELECT extract(epoch FROM next_run - now()) FROM aadauth.group_sync_status")?
            .parse()?)
    };
    let left = next(&synced)?;
    ensure((86_000.0..86_500.0).contains(&left), || left.to_string())?;
    synced
        .server
        .configure(&[("aadauth.group_sync_interval", Some("1min"))])?;
    until("the next run is due within a minute", || {
        Ok((next(&synced)? <= 60.0).then_some(()))
    })?;
    // A run is due sooner after one that failed and may soon succeed. Nothing asks for it.
    synced
        .emulator
        .disturb(&json!({ "fault": { "throttled": 200 }, "endpoint": "graph" }))?;
    synced.sync_and_expect(&[("dba", "listing-failed")])?;
    synced.emulator.behave()?;
    until("groups are synchronized unasked", || {
        Ok((synced.members_of("dba")? == [ALICE, CAROL].join(",")).then_some(()))
    })
}

/// What `aadauth.check_configuration` says of it.
fn problem_found(synced: &Synced<'_>) -> Result<String> {
    synced.server.sql(
        "SELECT problem FROM aadauth.check_configuration() WHERE code = 'directory-incomplete'",
    )
}
