//! Revocations and sessions on a hot standby.

use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::wait::until;

use super::{EXPIRED, REVOKED, await_count, expect_end, expect_rows};
use crate::Test;
use crate::rig::{OUR_LINES, Rig, ensure};

pub const TESTS: &[Test] = &[
    ("a_standby_follows", follows),
    ("every_sql_object_on_a_standby", every_object),
];

fn follows(rig: &Rig) -> Result<()> {
    let [ours, of_replication] = OUR_LINES;
    let lines = ["local replication postgres peer", ours, of_replication];
    let primary = rig.server("revoking-primary", |plan| plan.hba(&lines))?;
    let revoked = rig.person(&primary, "revoked")?;
    let one = rig.person(&primary, "one")?;
    let two = rig.person(&primary, "two")?;
    primary.sql(&format!("SELECT aadauth.revoke('{}')", revoked.object_id))?;
    let plan = rig.plan("revoking-standby")?;
    let mut standby = plan.start_standby(rig.run(), &primary)?;
    rig.await_keys(&standby)?;
    let caught_up = || -> Result<()> {
        let position = primary.sql("SELECT pg_current_wal_flush_lsn()")?;
        until("the standby has caught up", || {
            let query = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
            Ok((standby.sql(&query)? == "t").then_some(()))
        })
    };
    // What was revoked before the standby was made.
    let words = rig.sign_in(&standby, "revoked", &rig.token_of(&revoked)?)?;
    let words = words.outcome.refusal().map(|words| words.message.clone());
    ensure(words.is_some_and(|words| words.contains("revoked")), || {
        "a revoked principal was let in".to_owned()
    })?;
    // What is revoked while it follows.
    let token = rig.token_of(&one)?;
    let mut session = rig.session(&standby, "one", &token)?;
    let mut other = rig.session(&standby, "two", &rig.token_of(&two)?)?;
    expect_rows(
        &mut session,
        "SELECT principal FROM aadauth.sessions",
        &["alice@contoso.com"],
    )?;
    let revoked_at = Instant::now();
    primary.sql(&format!("SELECT aadauth.revoke('{}')", one.object_id))?;
    expect_end(&mut session, REVOKED)?;
    let after = revoked_at.elapsed();
    println!(
        "a session on a standby ended {after:.1?} after aadauth.revoke was called on the primary"
    );
    ensure(after < Duration::from_secs(5), || {
        format!("it took {after:?}")
    })?;
    ensure(
        !rig.sign_in(&standby, "one", &token)?.outcome.is_in(),
        || "a revoked principal was let in".to_owned(),
    )?;
    expect_rows(&mut other, "SELECT 1", &["1"])?;
    // Nothing is revoked there.
    let refused = standby
        .sql(&format!("SELECT aadauth.revoke('{}')", two.object_id))
        .err()
        .map(|error| error.to_string());
    ensure(
        refused.is_some_and(|text| text.contains("during recovery")),
        || "revoked on a standby".to_owned(),
    )?;
    // And what is restored.
    primary.sql(&format!("SELECT aadauth.restore('{}')", one.object_id))?;
    caught_up()?;
    until("the principal may sign in again", || {
        Ok(rig.session(&standby, "one", &token).ok().map(drop))
    })?;
    // Promoted, the same worker goes on, and functions work at once.
    standby.sql("SELECT pg_promote()")?;
    let mut session = rig.session(&standby, "one", &token)?;
    standby.sql(&format!("SELECT aadauth.revoke('{}')", one.object_id))?;
    expect_end(&mut session, REVOKED)?;
    await_count(&standby, one.object_id, 0)?;
    standby.configure(&[
        ("aadauth.session_expiry", Some("token")),
        ("aadauth.clock_skew", Some("0")),
    ])?;
    let short = rig
        .user("alice@contoso.com")
        .object_id(two.object_id)
        .expires_in(4);
    let mut session = rig.session(&standby, "two", &short.text()?)?;
    expect_end(&mut session, EXPIRED)
}

/// A call of each of the extension's functions, and what it does on a standby: return, or fail with this SQLSTATE.
pub const FUNCTIONS: &[(&str, Option<&str>)] = &[
    ("SELECT count(*) FROM aadauth.check_configuration()", None),
    (
        "SELECT count(*) FROM aadauth.configuration_findings()",
        None,
    ),
    (
        "SELECT * FROM aadauth.explain_sign_in('a11ce000-0000-4000-8000-000000000001')",
        Some("P0002"),
    ),
    ("SELECT count(*) FROM aadauth.why('someone')", None),
    ("SELECT aadauth.current_principal()", None),
    ("SELECT count(*) FROM aadauth.own_principal()", None),
    ("SELECT count(*) FROM aadauth.sessions()", None),
    ("SELECT count(*) FROM aadauth.statistics()", None),
    ("SELECT count(*) FROM aadauth.signing_keys()", None),
    ("SELECT aadauth.reset_statistics()", None),
    ("SELECT count(*) FROM aadauth.group_sync_worker()", None),
    ("SELECT aadauth.is_recorded_here()", None),
    ("SELECT aadauth.await_sign_ins()", None),
    (
        "SELECT aadauth.pooler_check('x', 'x', 'unix')",
        Some("0A000"),
    ),
    (
        "SELECT aadauth.revoke('a11ce000-0000-4000-8000-000000000001')",
        Some("25006"),
    ),
    (
        "SELECT aadauth.restore('a11ce000-0000-4000-8000-000000000001')",
        Some("25006"),
    ),
    (
        "SELECT count(*) FROM pgaadauth_list_principals(false)",
        None,
    ),
    ("SELECT count(*) FROM azure_roles_authtype()", None),
    ("SELECT aadauth.grant_azure_rights()", Some("25006")),
    (
        "SELECT pgaadauth_create_principal('x', false, false)",
        Some("25006"),
    ),
    (
        "SELECT pgaadauth_create_principal_with_oid('x', 'a11ce000-0000-4000-8000-000000000001', 'user', false, false)",
        Some("25006"),
    ),
    (
        "SELECT pgaadauth_update_principal_with_oid('postgres', 'a11ce000-0000-4000-8000-000000000001', 'user', false, false)",
        Some("25006"),
    ),
    (
        "SELECT * FROM pgaadauth_sync_roles_for_group_members()",
        Some("55000"),
    ),
];

fn every_object(rig: &Rig) -> Result<()> {
    let [ours, of_replication] = OUR_LINES;
    let lines = ["local replication postgres peer", ours, of_replication];
    let primary = rig.server("objects-primary", |plan| plan.hba(&lines))?;
    rig.person(&primary, "someone")?;
    primary.sql("CREATE ROLE clerk CREATEROLE")?;
    let standby = rig
        .plan("objects-standby")?
        .start_standby(rig.run(), &primary)?;
    rig.await_keys(&standby)?;
    let of_extension = |catalog: &str, name: &str, kind: &str| {
        format!(
            "SELECT c.{name} FROM {catalog} AS c
             JOIN pg_depend AS d ON d.classid = '{catalog}'::regclass AND d.objid = c.oid AND d.deptype = 'e'
             JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'aadauth'
             WHERE {kind} ORDER BY 1"
        )
    };
    let mut superuser = standby.superuser()?;
    let relations = superuser.query(&of_extension(
        "pg_class",
        "oid::regclass",
        "c.relkind IN ('r', 'p', 'v')",
    ))?;
    ensure(relations.len() > 8, || format!("{relations:?}"))?;
    for relation in relations {
        superuser.query(&format!("SELECT * FROM {relation}"))?;
    }
    for (call, expected) in FUNCTIONS {
        let outcome = superuser.execute(call)?.err();
        let sqlstate = outcome.as_ref().map(|refusal| refusal.sqlstate.as_str());
        ensure(sqlstate == *expected, || format!("{call}: {outcome:?}"))?;
    }
    // Nor does the guard begin to write before PostgreSQL refuses.
    superuser.query("SET SESSION AUTHORIZATION clerk")?;
    for statement in [
        "GRANT someone TO clerk",
        "ALTER ROLE someone PASSWORD 'x'",
        "CREATE ROLE x ROLE clerk",
        "DROP ROLE someone",
        "ALTER ROLE someone RENAME TO x",
        "SECURITY LABEL FOR pgaadauth ON ROLE someone IS NULL",
    ] {
        let refusal = superuser
            .execute(statement)?
            .err()
            .ok_or("it went through")?;
        ensure(refusal.sqlstate == "25006", || {
            format!("{statement}: {refusal:?}")
        })?;
    }
    superuser.query("RESET SESSION AUTHORIZATION")?;
    let functions = superuser.query(&of_extension(
        "pg_proc",
        "proname",
        "c.prorettype <> 'trigger'::regtype",
    ))?;
    for function in functions {
        let is_tried = FUNCTIONS
            .iter()
            .any(|(call, _)| call.contains(&format!("{function}(")));
        ensure(is_tried, || format!("{function} is not tried"))?;
    }
    Ok(())
}
