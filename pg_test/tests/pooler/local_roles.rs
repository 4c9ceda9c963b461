//! Passwords of local roles through the pooler (`aadauth.pooler_local_roles`).

use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::rig::{Rig, ensure};

use crate::Test;
use crate::pgbouncer::{Pooled, SESSION, TRANSACTION};
use crate::trusted;

pub const TESTS: &[Test] = &[
    ("the_right_password_of_an_ordinary_role", passwords),
    ("no_verifier_costs_more_than_ordinary_ones", costly_verifier),
    ("ten_wrong_passwords_a_minute", limited),
    ("roles_without_a_password_lock_out_nobody", without_password),
];

const RIGHT: &str = "right password";

fn passwords(rig: &Rig) -> Result<()> {
    let mut pooled = trusted::start(rig, "pooled-local", |plan| {
        plan.set("aadauth.pooler_local_roles", "on")
    })?;
    pooled.server.sql(&format!(
        "CREATE ROLE clerk LOGIN PASSWORD '{RIGHT}';
         CREATE ROLE chief LOGIN SUPERUSER PASSWORD '{RIGHT}';
         CREATE ROLE reader LOGIN PASSWORD '{RIGHT}' IN ROLE pg_read_all_data;
         CREATE ROLE nologin PASSWORD '{RIGHT}';
         CREATE ROLE former LOGIN PASSWORD '{RIGHT}' VALID UNTIL '2001-01-01';
         CREATE ROLE without LOGIN;
         SET password_encryption = md5;
         CREATE ROLE old LOGIN PASSWORD '{RIGHT}'"
    ))?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let token = rig.token_of(&person)?;
    for mode in [SESSION, TRANSACTION] {
        let user = pooled.query(mode, "clerk", RIGHT, "SELECT current_user")?;
        ensure(user == "clerk", || user)?;
        for (role, secret, reason) in [
            ("clerk", "wrong password", "password-failed"),
            ("clerk", token.as_str(), "password-failed"),
            ("chief", RIGHT, "pooled-privileged-role"),
            ("reader", RIGHT, "pooled-privileged-role"),
            ("nologin", RIGHT, "role-not-login"),
            ("former", RIGHT, "password-failed"),
            ("without", RIGHT, "password-failed"),
            ("old", RIGHT, "password-failed"),
            ("nobody", RIGHT, "role-not-mapped"),
            (&person.role, RIGHT, "token-malformed"),
        ] {
            expect_refused(&pooled, mode, (role, secret), reason)?;
        }
        pooled.query(mode, &person.role, &token, "SELECT 1")?;
        pooled.query(mode, "clerk", RIGHT, "SELECT 1")?;
    }
    for (name, value, reason) in [
        ("aadauth.authentication", "entra", "password-disabled"),
        ("aadauth.pooler_local_roles", "off", "role-not-mapped"),
        ("aadauth.poolers", "", "role-not-mapped"),
    ] {
        let before = pooled.server.plan().settings.get(name).cloned();
        pooled.server.configure(&[(name, Some(value))])?;
        expect_refused(&pooled, SESSION, ("clerk", RIGHT), reason)?;
        pooled.server.configure(&[(name, before.as_deref())])?;
    }
    pooled.query(SESSION, "clerk", RIGHT, "SELECT 1").map(drop)
}

/// Those who may write pg_authid, or a restored dump, choose the number of iterations.
fn costly_verifier(rig: &Rig) -> Result<()> {
    let pooled = trusted::start(rig, "pooled-costly", |plan| {
        plan.set("aadauth.pooler_local_roles", "on")
    })?;
    // ALTER ROLE would compute it, to find out whether it is that of an empty password.
    pooled.server.sql(
        "CREATE ROLE costly LOGIN; CREATE ROLE clerk LOGIN PASSWORD 'x';
         UPDATE pg_authid SET rolpassword = replace(
             (SELECT rolpassword FROM pg_authid WHERE rolname = 'clerk'), '$4096:', '$2000000000:')
         WHERE rolname = 'costly'",
    )?;
    pooled.query(SESSION, "clerk", "x", "SELECT 1")?;
    let began = Instant::now();
    expect_refused(&pooled, SESSION, ("costly", "x"), "password-failed")?;
    ensure(began.elapsed() < Duration::from_secs(5), || {
        format!("it took {:?}", began.elapsed())
    })?;
    // Nothing computes it still.
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'pgb1' AND state = 'active'";
    let busy = pooled.server.sql(busy)?;
    ensure(busy == "0", || busy)?;
    let log = pooled.server.log()?;
    ensure(log.contains("has more than 20000 iterations"), || log)
}

fn limited(rig: &Rig) -> Result<()> {
    let pooled = trusted::start(rig, "pooled-limited", |plan| {
        plan.set("aadauth.pooler_local_roles", "on")
    })?;
    pooled.server.sql(&format!(
        "CREATE ROLE clerk LOGIN PASSWORD '{RIGHT}'; CREATE ROLE other LOGIN PASSWORD '{RIGHT}'"
    ))?;
    // At most two minutes are touched.
    for _ in 0..21 {
        let outcome = pooled.sign_in(SESSION, "clerk", "wrong password")?.outcome;
        ensure(!outcome.is_in(), || "let in".to_owned())?;
    }
    let log = pooled.log()?;
    let (failed, limited) = (
        log.matches("password-failed").count(),
        log.matches("pooled-password-limit").count(),
    );
    println!("{failed} wrong passwords were tried, {limited} were not");
    ensure(limited >= 1 && failed <= 20, || log)?;
    pooled.query(SESSION, "other", RIGHT, "SELECT 1").map(drop)
}

/// Everybody knows the names of some, such as pg_monitor.
fn without_password(rig: &Rig) -> Result<()> {
    let pooled = trusted::start(rig, "pooled-unlimited", |plan| {
        plan.set("aadauth.pooler_local_roles", "on")
    })?;
    pooled.server.sql(&format!(
        "CREATE ROLE clerk LOGIN PASSWORD '{RIGHT}';
         CREATE ROLE former LOGIN PASSWORD '{RIGHT}' VALID UNTIL '2001-01-01';
         DO $$ BEGIN FOR number IN 1..9 LOOP EXECUTE 'CREATE ROLE team' || number; END LOOP; END $$"
    ))?;
    let teams: Vec<_> = (1..10).map(|number| format!("team{number}")).collect();
    // More than a hundred within a minute, or in each of two.
    for role in ["former", "pg_monitor"]
        .into_iter()
        .chain(teams.iter().map(String::as_str))
    {
        for _ in 0..20 {
            let outcome = pooled.sign_in(SESSION, role, "guessed")?.outcome;
            ensure(!outcome.is_in(), || format!("{role} was let in"))?;
        }
    }
    let log = pooled.log()?;
    ensure(!log.contains("pooled-password-limit"), || log)?;
    pooled.query(SESSION, "clerk", RIGHT, "SELECT 1").map(drop)
}

/// Expects PgBouncer's log to have that reason.
fn expect_refused(
    pooled: &Pooled,
    mode: &str,
    (role, secret): (&str, &str),
    reason: &str,
) -> Result<()> {
    let before = pooled.log()?.len();
    let outcome = pooled.sign_in(mode, role, secret)?.outcome;
    let log = pooled.log()?;
    let line = format!("role \"{role}\": {reason}");
    let lines = log.get(before..).unwrap_or_default();
    ensure(!outcome.is_in() && lines.contains(&line), || {
        format!("{outcome:?} and not {line:?}:\n{lines}")
    })
}
