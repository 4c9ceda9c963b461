//! Counters for monitoring: exact, and only for roles that may read them.

use std::collections::BTreeMap;
use std::fs;

use entra_emulator::Deviation;
use pg_test::Result;
use pg_test::server::Server;
use pg_test::wait::until;
use pg_test::wire::{Connection, Outcome, Request};
use serde_json::json;

use crate::Test;
use crate::directory_server::{ALICE, GUEST};
use crate::rig::{Rig, ensure};

pub const TESTS: &[Test] = &[
    ("every_attempt_is_counted_once", attempts),
    ("directory_calls_and_errors", directory),
    ("the_backlog_and_who_works_at_it", backlog),
    ("an_event_that_is_not_recorded", not_recorded),
    ("for_auditors_and_monitors", readers),
    ("findings_are_counted_for_monitors", findings),
];

type Statistics = BTreeMap<String, Option<f64>>;

/// All of them, by name and the values of the labels.
const QUERY: &str = "\
SELECT json_object_agg(concat_ws('/', substr(metric, length('aadauth_') + 1), (
    SELECT string_agg(value, '/' ORDER BY key DESC) FROM jsonb_each_text(labels))), value)
FROM aadauth.statistics";

fn read(server: &Server) -> Result<Statistics> {
    Ok(serde_json::from_str(&server.sql(QUERY)?)?)
}

/// Asks over a connection that was there before, so that no sign-in is added.
fn read_over(connection: &mut Connection) -> Result<Statistics> {
    let rows = connection.query(QUERY)?;
    Ok(serde_json::from_str(rows.first().ok_or("no row")?)?)
}

/// Expects these numbers, and no others among the statistics whose names begin so.
fn expect(found: &Statistics, prefix: &str, expected: &[(&str, f64)]) -> Result<()> {
    let nonzero: Vec<(&str, f64)> = found
        .iter()
        .filter(|(name, value)| name.starts_with(prefix) && **value != Some(0.0))
        .map(|(name, value)| (name.as_str(), value.unwrap_or(-1.0)))
        .collect();
    ensure(nonzero == expected, || {
        format!("{prefix}: {nonzero:?}, not {expected:?}")
    })
}

fn attempts(rig: &Rig) -> Result<()> {
    let server = rig.server("statistics", |plan| plan)?;
    let (person, other) = (rig.person(&server, "a")?, rig.person(&server, "b")?);
    server.sql("GRANT aadauth_monitor TO a; CREATE ROLE local LOGIN PASSWORD 'local password'")?;
    let token = rig.token_of(&person)?;
    let (mut reader, _) = rig.connect(&server, "a")?;
    ensure(reader.request()? == Request::Password, || {
        "no request for a token".to_owned()
    })?;
    reader.password(token.as_bytes())?;
    ensure(reader.outcome()? == Outcome::In, || {
        "the reader is not let in".to_owned()
    })?;
    server.sql("SELECT aadauth.reset_statistics()")?;
    let found = read_over(&mut reader)?;
    expect(&found, "sign_in_attempts", &[])?;
    expect(&found, "sign_in_failures", &[])?;
    expect(&found, "decision", &[])?;

    for _ in 0..3 {
        rig.accepted(&server, "a", &token)?;
    }
    let foreign = Deviation::named("foreign-key-known-kid").ok_or("no deviation")?;
    let forged = rig
        .user(ALICE)
        .object_id(person.object_id)
        .deviation(foreign)
        .text()?;
    for _ in 0..2 {
        rig.sign_in(&server, "a", &forged)?;
    }
    rig.sign_in(&server, "a", &rig.token_of(&other)?)?;
    for (password, is_right) in [
        ("local password", true),
        ("local password", true),
        ("no", false),
    ] {
        let (mut connection, _) = rig.connect(&server, "local")?;
        ensure(matches!(connection.request()?, Request::Sasl(_)), || {
            "no SCRAM".to_owned()
        })?;
        let outcome = connection.scram(password.as_bytes(), || Ok(()))?;
        ensure(outcome.is_in() == is_right, || format!("{outcome:?}"))?;
    }
    let (mut leaver, _) = rig.connect(&server, "b")?;
    leaver.request()?;
    drop(leaver);

    let found = until("the one who left is counted", || {
        let found = read_over(&mut reader)?;
        let left = found.get("sign_in_attempts_total/interrupted/entra-token");
        Ok((left != Some(&Some(0.0))).then_some(found))
    })?;
    expect(
        &found,
        "sign_in_attempts",
        &[
            ("sign_in_attempts_total/authenticated/entra-token", 3.0),
            ("sign_in_attempts_total/authenticated/password", 2.0),
            ("sign_in_attempts_total/interrupted/entra-token", 1.0),
            ("sign_in_attempts_total/refused/entra-token", 3.0),
            ("sign_in_attempts_total/refused/password", 1.0),
        ],
    )?;
    expect(
        &found,
        "sign_in_failures",
        &[
            ("sign_in_failures_total/no-password", 1.0),
            ("sign_in_failures_total/object-id-mismatch", 1.0),
            ("sign_in_failures_total/password-failed", 1.0),
            ("sign_in_failures_total/signature-invalid", 2.0),
        ],
    )?;
    // Decisions about tokens: three good ones and three bad ones.
    expect(
        &found,
        "decision_seconds_count",
        &[("decision_seconds_count", 6.0)],
    )?;
    expect(
        &found,
        "decision_seconds_bucket/+Inf",
        &[("decision_seconds_bucket/+Inf", 6.0)],
    )?;
    let sum = found.get("decision_seconds_sum").copied().flatten();
    ensure(sum.is_some_and(|sum| (6e-6..6.0).contains(&sum)), || {
        format!("{sum:?} seconds for six decisions")
    })?;
    // A method that is not aadauth's, such as that of the superuser's own connection.
    server.sql_in_new_session("SELECT")?;
    expect(
        &read_over(&mut reader)?,
        "sign_in_attempts_total/authenticated/other",
        &[("sign_in_attempts_total/authenticated/other", 1.0)],
    )?;

    let before = found
        .get("counted_since_timestamp_seconds")
        .copied()
        .flatten();
    server.sql("SELECT aadauth.reset_statistics()")?;
    let found = read_over(&mut reader)?;
    expect(&found, "sign_in_attempts", &[])?;
    expect(&found, "decision", &[])?;
    ensure(
        found
            .get("counted_since_timestamp_seconds")
            .copied()
            .flatten()
            > before,
        || format!("still since {before:?}"),
    )
}

fn directory(rig: &Rig) -> Result<()> {
    let own = rig.directory_server("statistics-directory")?;
    let (alice, guest) = (own.silent_user(ALICE)?, own.silent_user(GUEST)?);
    own.server.sql("SELECT aadauth.reset_statistics()")?;
    own.accepted("analysts", &alice)?;
    expect(
        &read(&own.server)?,
        "directory",
        &[("directory_requests_total", 1.0)],
    )?;
    // From the cache.
    own.accepted("analysts", &alice)?;
    own.emulator
        .disturb(&json!({ "fault": "garbage", "endpoint": "graph" }))?;
    own.refused("analysts", &guest, "directory-unavailable")?;
    expect(
        &read(&own.server)?,
        "directory",
        &[
            ("directory_errors_total/bad-answer", 1.0),
            ("directory_requests_total", 2.0),
        ],
    )?;
    own.emulator.behave()?;
    // Group sync asks as well: one list per group.
    own.server.sql("SELECT aadauth.reset_statistics()")?;
    own.server
        .sql("ALTER SYSTEM SET pgaadauth.enable_group_sync = on")?;
    own.server.reload()?;
    let groups = own.server.sql(
        "SELECT count(*) FROM pgaadauth_list_principals(false) WHERE principaltype = 'group'",
    )?;
    until("each group has been listed", || {
        let calls = read(&own.server)?
            .get("directory_requests_total")
            .copied()
            .flatten();
        Ok((calls == Some(groups.parse()?)).then_some(()))
    })
}

fn backlog(rig: &Rig) -> Result<()> {
    let mut server = rig.server("statistics-backlog", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    // The revocations have been loaded then, without which nobody gets in.
    rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    server.configure(&[("aadauth.database", Some("not_there"))])?;
    until("the audit worker has no database", || {
        let found = read(&server)?;
        Ok((found.get("worker_running/audit") == Some(&Some(0.0))).then_some(()))
    })?;
    server.wait_for_log(0, "could not connect to database \"not_there\"")?;
    rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    let found = read(&server)?;
    let waiting = found.get("spool_backlog_bytes").copied().flatten();
    // An event has some hundred bytes.
    ensure(waiting.is_some_and(|bytes| bytes > 200.0), || {
        format!("{waiting:?} bytes wait")
    })?;
    for (worker, runs) in [("audit", 0.0), ("network", 1.0)] {
        let found = found.get(&format!("worker_running/{worker}"));
        ensure(found == Some(&Some(runs)), || {
            format!("{worker}: {found:?}")
        })?;
    }
    for version in ["v1", "v2"] {
        let age = found
            .get(&format!("signing_keys_age_seconds/{version}"))
            .copied()
            .flatten();
        ensure(age.is_some_and(|age| (0.0..600.0).contains(&age)), || {
            format!("keys of {version} are {age:?} s old")
        })?;
    }
    server.configure(&[("aadauth.database", None)])?;
    until("all work again, and nothing waits", || {
        let found = read(&server)?;
        let is = |name: &str, value| found.get(name) == Some(&Some(value));
        Ok((is("worker_running/audit", 1.0)
            && is("worker_running/group-sync", 1.0)
            && is("worker_running/network", 1.0)
            && is("worker_running/session", 1.0)
            && is("audit_write_failed", 0.0)
            && is("spool_backlog_bytes", 0.0))
        .then_some(()))
    })
}

fn not_recorded(rig: &Rig) -> Result<()> {
    let server = rig.server("statistics-lost", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    let spool = server.data().join("aadauth/spool");
    let aside = server.data().join("aadauth/spool-aside");
    server.sql("SELECT aadauth.reset_statistics()")?;
    // A file in place of the directory, so that nothing can create it again.
    fs::rename(&spool, &aside)?;
    fs::write(&spool, "")?;
    rig.accepted(&server, "someone", &token)?;
    rig.accepted(&server, "someone", &token)?;
    fs::remove_file(&spool)?;
    fs::rename(&aside, &spool)?;
    expect(
        &read(&server)?,
        "events_not_recorded",
        &[("events_not_recorded_total", 2.0)],
    )
}

fn readers(rig: &Rig) -> Result<()> {
    let server = &rig.server;
    server.sql(
        "CREATE ROLE statistics_auditor IN ROLE aadauth_auditor; CREATE ROLE statistics_monitor IN ROLE aadauth_monitor; \
         CREATE ROLE statistics_nobody IN ROLE pg_read_all_data, pg_monitor",
    )?;
    let read = "SELECT count(*) > 50 FROM aadauth.statistics";
    let numbers = "SELECT string_agg(severity || ' ' || findings, ', ' ORDER BY severity) FROM aadauth.configuration_findings()";
    for reader in ["statistics_auditor", "statistics_monitor"] {
        let answer = server.sql(&format!("SET ROLE {reader}; {read}"))?;
        ensure(answer == "t", || format!("{reader}: {answer}"))?;
    }
    let mut forbidden =
        vec!["SET ROLE statistics_monitor; SELECT * FROM aadauth.check_configuration()".to_owned()];
    for reader in ["statistics_auditor", "statistics_monitor"] {
        forbidden.push(format!(
            "SET ROLE {reader}; SELECT aadauth.reset_statistics()"
        ));
    }
    for statement in [read, numbers] {
        forbidden.push(format!("SET ROLE statistics_nobody; {statement}"));
    }
    for forbidden in forbidden {
        match server.sql(&forbidden) {
            Ok(_) => return Err(format!("allowed: {forbidden}").into()),
            Err(error) => ensure(error.to_string().contains("42501"), || error.to_string())?,
        }
    }
    Ok(())
}

/// As many as a superuser sees, of each severity, none included, whatever the caller's search path.
fn findings(rig: &Rig) -> Result<()> {
    let server = rig.server("statistics-findings", |plan| plan)?;
    server.sql(
        "CREATE ROLE watcher IN ROLE aadauth_monitor;
         CREATE FUNCTION public.count(text) RETURNS int8 LANGUAGE sql RETURN 7",
    )?;
    let agree = || {
        let counted = server.sql(
            "SET ROLE watcher; SET search_path = public, pg_catalog;
             SELECT string_agg(severity || ' ' || findings, ', ' ORDER BY severity)
             FROM aadauth.configuration_findings()",
        )?;
        let found =
            server.sql("SELECT string_agg(severity, ' ') FROM aadauth.check_configuration()")?;
        let expected = ["error", "notice", "warning"]
            .map(|severity| format!("{severity} {}", found.matches(severity).count()))
            .join(", ");
        ensure(counted == expected, || format!("{counted}, not {expected}"))?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(counted)
    };
    let before = agree()?;
    server.sql("DROP OWNED BY aadauth_pooler")?;
    let after = agree()?;
    ensure(before != after, || format!("still {after}"))
}
