//! Tokens that expire while the pooler still opens connections with them.

use pg_test::Result;
use pg_test::rig::{Person, Rig, ensure};
use pg_test::wait::until;
use uuid::Uuid;

use crate::Test;
use crate::pgbouncer::{Pooled, ROLE, SESSION};
use crate::trusted::{self, Stolen};

pub const TESTS: &[Test] = &[
    ("a_pool_grows_with_an_expired_token", pool_grows),
    ("only_what_was_accepted_for_the_role", only_accepted),
    (
        "never_after_the_settings_change_or_a_restart",
        settings_and_restart,
    ),
];

const EXPIRED: &str = "The access token has expired";
/// Enough for some logins on a busy machine.
const SECONDS: i64 = 12;

/// Two clients sign in while their token is valid; the second needs a connection when it no longer is.
fn pool_grows(rig: &Rig) -> Result<()> {
    let pooled = trusted::start(rig, "pooled-grace", |plan| plan)?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let token = short(rig, &person)?;
    let mut first = pooled.session(SESSION, &person.role, &token)?;
    let mut second = pooled.session(SESSION, &person.role, &token)?;
    let pid = first.query("SELECT pg_backend_pid()")?;
    await_expiry(&pooled, &person.role, &token)?;
    let other = second.query("SELECT pg_backend_pid()")?;
    ensure(pid != other, || format!("both use {pid:?}"))?;
    let principal = second.query("SELECT (aadauth.current_principal()).object_id")?;
    ensure(principal == [person.object_id.to_string()], || {
        format!("{principal:?}")
    })?;
    let pooler = "SELECT DISTINCT pooler FROM aadauth.sessions";
    let pooler = pooled.server.sql(pooler)?;
    ensure(pooler == ROLE, || pooler)?;
    // The audit tells it, and the view for people has the clients only.
    let excused = format!(
        "SELECT count(*) FROM aadauth.sign_in_audit WHERE outcome = 'authenticated' AND pooler = '{ROLE}'
             AND method = 'entra-token' AND checks = '[{{\"name\": \"not expired\", \"reason\": \"expired\"}}]'"
    );
    until("the event is recorded", || {
        Ok((pooled.server.sql(&excused)? == "1").then_some(()))
    })?;
    let shown = "SELECT DISTINCT through FROM aadauth.sign_ins WHERE outcome = 'authenticated' AND role = 'pooled_person'";
    let shown = pooled.server.sql(shown)?;
    ensure(shown == "pooler", || shown)
}

fn only_accepted(rig: &Rig) -> Result<()> {
    let pooled = trusted::start(rig, "pooled-grace-only", |plan| plan)?;
    let person = |name: &str| rig.person(&pooled.server, name);
    let known = person("pooled_known")?;
    let other = person("pooled_other")?;
    let unseen = person("pooled_unseen")?;
    let revoked = person("pooled_revoked")?;
    let reader = person("pooled_reader")?;
    let granted = person("pooled_granted")?;
    let promoted = person("pooled_promoted")?;
    let appointed = person("pooled_appointed")?;
    let admin = person("pooled_admin")?;
    let again = person("pooled_again")?;
    pooled.server.sql(&format!(
        "GRANT pg_read_all_data TO {}; GRANT SET ON PARAMETER log_statement TO {};
         SELECT pgaadauth_update_principal_with_oid('{}', '{}', 'user', true, false)",
        reader.role, granted.role, admin.role, admin.object_id
    ))?;
    let privileged = [&reader, &granted, &promoted, &appointed, &admin];
    let asked: Vec<_> = [&known, &other, &revoked, &again]
        .into_iter()
        .chain(privileged)
        .collect();
    let tokens: Vec<String> = asked
        .iter()
        .map(|person| short(rig, person))
        .collect::<Result<_>>()?;
    let unseen_token = short(rig, &unseen)?;
    let stolen = Stolen::of(rig, &pooled)?;
    // Seen by the server, but not asked about: the view for people must have it.
    stolen.accepted(&unseen.role, &unseen_token)?;
    let shown = "SELECT count(*) FROM aadauth.sign_ins WHERE role = 'pooled_unseen'";
    until("the sign-in is shown", || {
        Ok((pooled.server.sql(shown)? == "1").then_some(()))
    })?;
    for (person, token) in asked.iter().zip(&tokens) {
        pooled.query(SESSION, &person.role, token, "SELECT 1")?;
    }
    for (person, token) in asked.iter().zip(&tokens) {
        await_expiry(&pooled, &person.role, token)?;
    }
    pooled.server.sql(&format!(
        "SELECT aadauth.revoke('{}'); ALTER ROLE {} BYPASSRLS; DROP ROLE {};
         SELECT pgaadauth_update_principal_with_oid('{}', '{}', 'user', true, false)",
        revoked.object_id, promoted.role, again.role, appointed.role, appointed.object_id
    ))?;
    // Another role of that name, which the pooler has not asked about.
    rig.map(
        &pooled.server,
        &again.role,
        &again.object_id.to_string(),
        "user",
    )?;
    let [of_known, of_other, of_revoked, of_again, of_privileged @ ..] = tokens.as_slice() else {
        return Err("four tokens and more".into());
    };
    stolen.accepted(&known.role, of_known)?;
    stolen.refused(&other.role, of_known, EXPIRED)?;
    stolen.accepted(&other.role, of_other)?;
    let explained = "SELECT outcome FROM aadauth.explain_sign_in((
        SELECT event_id FROM aadauth.sign_in_audit WHERE role = 'pooled_other' AND method = 'entra-token'
        ORDER BY occurred_at DESC LIMIT 1)) WHERE outcome IN ('failed', 'excused')";
    until("the expiry is explained", || {
        Ok((pooled.server.sql(explained)? == "excused").then_some(()))
    })?;
    stolen.refused(&unseen.role, &unseen_token, EXPIRED)?;
    stolen.refused(&revoked.role, of_revoked, "revoked")?;
    stolen.refused(&again.role, of_again, EXPIRED)?;
    for (person, token) in privileged.iter().zip(of_privileged) {
        stolen.refused(&person.role, token, EXPIRED)?;
    }
    // Nothing else is excused.
    pooled.server.sql(&format!(
        "SELECT pgaadauth_update_principal_with_oid('{}', '{}', 'user', false, false)",
        other.role,
        Uuid::new_v4()
    ))?;
    stolen.refused(&other.role, of_other, "belongs to another principal")?;
    // Without the pooler's certificate.
    rig.refused(&pooled.server, &known.role, of_known, "expired")?;
    // The pooler's clients need a valid one.
    let outcome = pooled.sign_in(SESSION, &known.role, of_known)?.outcome;
    ensure(!outcome.is_in(), || "a client got in".to_owned())
}

fn settings_and_restart(rig: &Rig) -> Result<()> {
    let mut pooled = trusted::start(rig, "pooled-grace-settings", |plan| plan)?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let token = short(rig, &person)?;
    pooled.query(SESSION, &person.role, &token, "SELECT 1")?;
    await_expiry(&pooled, &person.role, &token)?;
    let accepted = |pooled: &Pooled| Stolen::of(rig, pooled)?.accepted(&person.role, &token);
    let refused = |pooled: &Pooled| Stolen::of(rig, pooled)?.refused(&person.role, &token, EXPIRED);
    accepted(&pooled)?;
    for (name, value) in [
        ("aadauth.session_expiry", "token"),
        ("aadauth.pooler_token_grace", "0"),
        ("aadauth.poolers", ""),
        ("aadauth.poolers", "pgb2=cn:pgb1.example.com"),
        ("aadauth.poolers", "pgb1=cn:pgb2.example.com"),
        ("aadauth.poolers", "pgb1=dn:CN=pgb2.example.com"),
        ("aadauth.poolers", "pgb1=peer:postgres"),
    ] {
        let before = pooled.server.plan().settings.get(name).cloned();
        pooled.server.configure(&[(name, Some(value))])?;
        refused(&pooled).map_err(|error| format!("{name} = '{value}': {error}"))?;
        pooled.server.configure(&[(name, before.as_deref())])?;
        accepted(&pooled)?;
    }
    // What is over.
    pooled
        .server
        .configure(&[("aadauth.pooler_token_grace", Some("1s"))])?;
    until("the grace is over", || {
        let printed = Stolen::of(rig, &pooled)?.psql(&person.role, &token, "SELECT 1")?;
        Ok((!printed.success && printed.error.contains(EXPIRED)).then_some(()))
    })?;
    pooled
        .server
        .configure(&[("aadauth.pooler_token_grace", None)])?;
    // A distinguished name, as pg_stat_ssl does not write it but pg_hba.conf does.
    let name = "pgb1=dn:CN=pgb1.example.com";
    pooled
        .server
        .configure(&[("aadauth.poolers", Some(name))])?;
    accepted(&pooled)?;
    pooled.server.restart()?;
    rig.await_keys(&pooled.server)?;
    refused(&pooled)
}

fn short(rig: &Rig, person: &Person) -> Result<String> {
    rig.user("alice@contoso.com")
        .object_id(person.object_id)
        .expires_in(SECONDS)
        .text()
}

/// Until the pooler's clients are refused with it.
fn await_expiry(pooled: &Pooled, role: &str, token: &str) -> Result<()> {
    until("the token has expired", || {
        let outcome = pooled.sign_in(SESSION, role, token)?.outcome;
        Ok((!outcome.is_in()).then_some(()))
    })
}
