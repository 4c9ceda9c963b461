//! What the audit and the log say of a sign-in.

mod copies;
mod extension;
pub mod flood;
pub mod full_disk;
pub mod hiding;
pub mod ledger;
pub mod logged;
mod sync;

use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::wait::until;
use serde_json::Value;

use crate::Test;
use crate::rig::{Rig, ensure};

pub const TESTS: &[Test] = &[
    ("a_sign_in_is_described", described),
    ("a_refusal_lists_its_checks", refusal_lists_checks),
    (
        "claims_of_an_unverified_token_are_not_recorded",
        unverified_claims,
    ),
    ("the_log_line_that_azures_queries_look_for", log_line),
    ("good_sign_ins_are_logged_as_set", logged::as_set),
    (
        "no_name_has_the_fields_of_a_log_line",
        logged::no_fields_in_names,
    ),
    ("a_flood_is_logged_at_a_rate", logged::limited),
    (
        "a_flood_is_logged_at_a_rate_with_md5",
        logged::limited_with_md5,
    ),
    ("a_time_out_leaves_one_event", time_out),
    ("readable_to_auditors_alone", readers),
    ("text_from_outside_is_made_fit_to_show", text_from_outside),
    ("events_survive_a_restart_once_each", restart),
    ("sign_ins_share_transactions", shared_transactions),
    ("who_reads_does_not_wait_for_others", readers_do_not_wait),
    (
        "a_database_that_is_not_there_is_fixed_by_reload",
        no_database,
    ),
    ("a_full_disk_is_counted_through", full_disk::allowed),
    ("a_full_disk_refuses_if_it_is_to", full_disk::refused),
    ("the_spool_has_a_limit", full_disk::limit),
    ("a_standby_keeps_events_until_promotion", copies::standby),
    ("a_base_backup_under_load", copies::backup_under_load),
    ("a_flood_is_counted", flood::counted),
    ("a_flood_is_counted_by_network", flood::by_network),
    (
        "names_that_look_alike_are_recorded_apart",
        flood::look_alikes,
    ),
    ("invented_roles_hide_no_real_one", hiding::invented_roles),
    (
        "roles_that_may_not_log_in_take_no_places_of_others",
        hiding::places_of_login_roles,
    ),
    (
        "where_a_refusal_is_counted_changes_with_each_start",
        hiding::other_places,
    ),
    (
        "refusals_of_a_verified_token_are_counted",
        hiding::expired_token,
    ),
    (
        "one_token_for_many_roles_keeps_its_principal",
        hiding::many_roles_of_one_token,
    ),
    ("counts_survive_whatever_is_killed", flood::killed),
    ("an_event_is_on_disk_first", sync::on_disk_first),
    (
        "the_extension_dropped_and_created",
        extension::dropped_and_created,
    ),
];

fn described(rig: &Rig) -> Result<()> {
    let sign_in = rig.accepted(&rig.server, "alice@contoso.com", &rig.alice()?)?;
    let event = rig.event(&rig.server, &sign_in.mark)?;
    for (column, value) in [
        ("outcome", Value::from("authenticated")),
        ("reason", Value::Null),
        ("role", Value::from("alice@contoso.com")),
        ("principal_type", Value::from("user")),
        (
            "object_id",
            Value::from("a11ce000-0000-4000-8000-000000000001"),
        ),
        ("upn", Value::from("alice@contoso.com")),
        ("display_name", Value::from("Alice Example")),
        ("client_address", Value::from("127.0.0.1")),
        ("database", Value::from("postgres")),
        ("tls", Value::from(true)),
        ("token_audience", Value::Null),
        ("token_version", Value::Null),
    ] {
        ensure(event[column] == value, || {
            format!("{column} is {}: {event}", event[column])
        })?;
    }
    for column in [
        "occurred_at",
        "token_id",
        "issued_at",
        "expires_at",
        "key_id",
        "backend_pid",
        "client_port",
    ] {
        ensure(
            event.get(column).is_some_and(|value| !value.is_null()),
            || format!("no {column}: {event}"),
        )?;
    }
    Ok(())
}

fn refusal_lists_checks(rig: &Rig) -> Result<()> {
    let token = rig.user("mallory@contoso.com").text()?;
    let sign_in = rig.sign_in(&rig.server, "alice@contoso.com", &token)?;
    let event = rig.event(&rig.server, &sign_in.mark)?;
    ensure(event["reason"] == "object-id-mismatch", || {
        event.to_string()
    })?;
    ensure(event["upn"] == "mallory@contoso.com", || event.to_string())?;
    let checks = event["checks"]
        .as_array()
        .ok_or_else(|| format!("no checks: {event}"))?;
    let failed: Vec<&Value> = checks
        .iter()
        .filter(|check| !check["reason"].is_null())
        .collect();
    ensure(
        checks.len() > 4 && failed.len() == 1 && failed[0]["reason"] == "object-id-mismatch",
        || event.to_string(),
    )
}

fn unverified_claims(rig: &Rig) -> Result<()> {
    let deviation =
        entra_emulator::Deviation::named("foreign-key-known-kid").ok_or("no deviation")?;
    let token = rig
        .user("alice@contoso.com")
        .claim("upn", "invented@contoso.com")
        .claim("name", "Invented Person")
        .deviation(deviation)
        .text()?;
    let mark = rig.server.log()?.len();
    let sign_in = rig.sign_in(&rig.server, "alice@contoso.com", &token)?;
    let event = rig.event(&rig.server, &sign_in.mark)?;
    ensure(event["reason"] == "signature-invalid", || event.to_string())?;
    ensure(
        !event.to_string().to_lowercase().contains("invented"),
        || event.to_string(),
    )?;
    let log = rig.server.log_since(mark)?;
    ensure(!log.to_lowercase().contains("invented"), || log)
}

fn log_line(rig: &Rig) -> Result<()> {
    let mark = rig.server.log()?.len();
    rig.accepted(&rig.server, "alice@contoso.com", &rig.alice()?)?;
    let service = rig
        .emulator
        .token(crate::rig::Subject::ServicePrincipal(
            "reporting".to_owned(),
        ))
        .text()?;
    rig.accepted(&rig.server, "reporting", &service)?;
    until("the log has both sign-ins", || {
        let log = rig.server.log_since(mark)?;
        let has = |who: &str, oid: &str| {
            log.lines().any(|line| {
                line.contains("Microsoft Entra ID connection authorized")
                    && line.contains(who)
                    && line.contains(&format!("oid={oid}"))
            })
        };
        Ok((has(
            "UPN=alice@contoso.com",
            "a11ce000-0000-4000-8000-000000000001",
        ) && has(
            "appid=4e904700-0000-4000-8000-000000000020",
            "4e904700-0000-4000-8000-000000000021",
        ))
        .then_some(()))
    })
}

fn time_out(rig: &Rig) -> Result<()> {
    let mut server = rig.server("time-out", |plan| plan)?;
    rig.person(&server, "someone")?;
    // Only now: on a busy machine the connections that set the server up may take their time.
    server.configure(&[("authentication_timeout", Some("3s"))])?;
    let (mut connection, mark) = rig.connect(&server, "someone")?;
    connection.request()?;
    let outcome = connection.outcome()?;
    ensure(!outcome.is_in(), || format!("{outcome:?}"))?;
    let event = rig.event(&server, &mark)?;
    ensure(
        event["outcome"] == "interrupted" && event["reason"] == "interrupted",
        || event.to_string(),
    )
}

fn readers(rig: &Rig) -> Result<()> {
    rig.server.sql(
        "CREATE ROLE reader LOGIN; CREATE ROLE passer_by LOGIN; GRANT aadauth_auditor TO reader",
    )?;
    let count = "SELECT count(*) > 0 FROM aadauth.sign_ins";
    rig.accepted(&rig.server, "alice@contoso.com", &rig.alice()?)?;
    let as_reader = rig.server.sql(&format!("SET ROLE reader; {count}"))?;
    ensure(as_reader == "t", || as_reader)?;
    for forbidden in [
        format!("SET ROLE passer_by; {count}"),
        "SET ROLE reader; DELETE FROM aadauth.sign_in_audit".to_owned(),
        "SET ROLE reader; INSERT INTO aadauth.sign_in_audit DEFAULT VALUES".to_owned(),
    ] {
        match rig.server.sql(&forbidden) {
            Ok(_) => return Err(format!("allowed: {forbidden}").into()),
            Err(error) => ensure(error.to_string().contains("42501"), || error.to_string())?,
        }
    }
    Ok(())
}

fn text_from_outside(rig: &Rig) -> Result<()> {
    let token = rig
        .user("alice@contoso.com")
        .claim("name", format!("line\nbreak\u{1b}[31m{}", "x".repeat(5000)))
        .text()?;
    let sign_in = rig.accepted(&rig.server, "alice@contoso.com", &token)?;
    let event = rig.event(&rig.server, &sign_in.mark)?;
    let name = event["display_name"].as_str().unwrap_or_default();
    ensure(name.starts_with(r"line\x0Abreak\x1B[31mxx"), || {
        name.to_owned()
    })?;
    ensure(name.len() < 1000, || name.to_owned())
}

fn restart(rig: &Rig) -> Result<()> {
    let mut server = rig.server("audit-restart", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let mut marks = Vec::new();
    for _ in 0..5 {
        marks.push(
            rig.accepted(&server, "someone", &rig.token_of(&person)?)?
                .mark,
        );
    }
    server.restart()?;
    for mark in &marks {
        rig.event(&server, mark)?;
    }
    Ok(())
}

fn no_database(rig: &Rig) -> Result<()> {
    // From the start nobody would sign in with a token without it.
    let mut server = rig.server("audit-nowhere", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    server.configure(&[("aadauth.database", Some("not_there"))])?;
    server.wait_for_log(
        0,
        "could not connect to database \"not_there\" to record sign-ins",
    )?;
    let sign_in = rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    server.configure(&[("aadauth.database", None)])?;
    let event = rig.event(&server, &sign_in.mark)?;
    ensure(event["outcome"] == "authenticated", || event.to_string())?;
    // The log says so once or twice, not for each event.
    let log = server.log()?;
    let said = log
        .lines()
        .filter(|line| line.contains("not recorded") || line.contains("to record sign-ins"))
        .count();
    ensure((1..=2).contains(&said), || {
        format!("said {said} times: {log}")
    })
}

/// Whatever the rate, there is at most one transaction in `aadauth.audit_delay`.
fn shared_transactions(rig: &Rig) -> Result<()> {
    const DELAY: Duration = Duration::from_secs(2);
    let server = rig.server("audit-delay", |plan| plan.set("aadauth.audit_delay", "2s"))?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    let began = Instant::now();
    for _ in 0..20 {
        rig.accepted(&server, "someone", &token)?;
    }
    until("all are recorded", || {
        let count = "SELECT count(*) FROM aadauth.sign_in_audit WHERE role = 'someone'";
        Ok((server.sql(count)? == "20").then_some(()))
    })?;
    let most = began.elapsed().as_millis() / DELAY.as_millis() + 2;
    let transactions: u128 = server
        .sql("SELECT count(DISTINCT xmin::text) FROM aadauth.sign_in_audit WHERE role = 'someone'")?
        .parse()?;
    ensure(transactions <= most, || {
        format!("{transactions} transactions, {most} at most")
    })
}

/// What was decided before the statement is shown, whatever `aadauth.audit_delay` is.
fn readers_do_not_wait(rig: &Rig) -> Result<()> {
    let server = rig.server("audit-readers", |plan| {
        plan.set("aadauth.audit_delay", "10s")
    })?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    server.sql("CREATE ROLE audrey IN ROLE aadauth_auditor")?;
    rig.accepted(&server, "someone", &token)?;
    until("the worker has noticed that the extension is there", || {
        let shown = server.sql("SELECT count(*) FROM aadauth.sign_ins WHERE role = 'someone'")?;
        Ok((shown == "1").then_some(()))
    })?;
    let began = Instant::now();
    for number in 2..=5 {
        rig.accepted(&server, "someone", &token)?;
        let seen = server
            .sql("SET ROLE audrey; SELECT count(*) FROM aadauth.sign_ins WHERE role = 'someone'")?;
        ensure(seen == number.to_string(), || {
            format!("{seen} of {number} sign-ins are shown")
        })?;
    }
    // Others have the worker record nothing, by a query that they may not run or by the function.
    rig.accepted(&server, "someone", &token)?;
    server.sql("CREATE ROLE passer_by")?;
    let refused = server.sql("SET ROLE passer_by; SELECT FROM aadauth.sign_ins");
    ensure(refused.is_err(), || format!("{refused:?}"))?;
    server.sql("SET ROLE passer_by; SELECT aadauth.await_sign_ins()")?;
    let recorded =
        server.sql("SELECT count(*) FROM aadauth.sign_in_audit WHERE role = 'someone'")?;
    ensure(recorded == "5", || {
        format!("{recorded} sign-ins are recorded")
    })?;
    let explained = server.sql(
        "SELECT explanation FROM aadauth.explain_sign_in((
             SELECT event_id FROM aadauth.sign_in_audit WHERE role = 'someone' LIMIT 1)) LIMIT 1",
    )?;
    ensure(explained.contains("someone"), || explained)?;
    ensure(began.elapsed() < Duration::from_secs(10), || {
        "the delay was over".to_owned()
    })
}
