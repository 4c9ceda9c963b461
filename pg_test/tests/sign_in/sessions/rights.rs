//! Who may revoke which principals.

use pg_test::Result;
use pg_test::plan::Plan;
use pg_test::server::Server;
use pg_test::wire::Connection;
use uuid::Uuid;

use super::{REVOKED, expect_end, expect_rows};
use crate::Test;
use crate::rig::{Person, Rig, ensure};

pub const TESTS: &[Test] = &[
    ("admins_revoke_and_restore", admins),
    ("others_do_not_revoke", others),
    ("admins_are_left_to_superusers", admin_principals),
    ("nobody_restores_themselves", themselves),
    ("nobody_writes_past_the_functions", past_the_functions),
    ("what_does_not_make_sense_is_an_error", errors),
];

/// A server with an admin, who is signed in with a token.
pub fn with_admin(
    rig: &Rig,
    name: &str,
    configure: impl FnOnce(Plan) -> Plan,
) -> Result<(Server, Connection)> {
    let server = rig.server(name, configure)?;
    let chief = Person {
        role: "chief".to_owned(),
        object_id: Uuid::new_v4(),
    };
    server.sql(&format!(
        "SELECT pgaadauth_create_principal_with_oid('chief', '{}', 'user', true, false)",
        chief.object_id
    ))?;
    let session = rig.session(&server, "chief", &rig.token_of(&chief)?)?;
    Ok((server, session))
}

fn expect_error(session: &mut Connection, sql: &str, expected: &str) -> Result<()> {
    match session.query(sql) {
        Ok(rows) => Err(format!("{sql} went through: {rows:?}").into()),
        Err(error) => ensure(error.to_string().contains(expected), || {
            format!("{sql}: {error}")
        }),
    }
}

fn calls(object_id: Uuid) -> [String; 2] {
    [
        format!("SELECT aadauth.revoke('{object_id}')"),
        format!("SELECT aadauth.restore('{object_id}')"),
    ]
}

fn admins(rig: &Rig) -> Result<()> {
    let (server, mut chief) = with_admin(rig, "revoking-admin", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let mut session = rig.session(&server, "someone", &rig.token_of(&person)?)?;
    let [revoke, restore] = calls(person.object_id);
    chief.query(&revoke)?;
    expect_end(&mut session, REVOKED)?;
    let listed = "SELECT roles::text || revoked_by FROM aadauth.revocations";
    expect_rows(&mut chief, listed, &["{someone}alice@contoso.com"])?;
    server.sql("CREATE ROLE reader; GRANT aadauth_auditor TO reader")?;
    let read = server.sql("SET ROLE reader; SELECT count(*) FROM aadauth.revocations")?;
    ensure(read == "1", || read)?;
    chief.query(&restore)?;
    expect_rows(&mut chief, listed, &[])
}

fn others(rig: &Rig) -> Result<()> {
    let (server, _chief) = with_admin(rig, "revoking-others", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let [revoke, restore] = calls(Uuid::new_v4());
    server.sql(&format!(
        "REVOKE someone FROM azure_pg_admin CASCADE;
         GRANT chief, azure_pg_admin, aadauth_auditor TO someone;
         CREATE FUNCTION public.lent() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$ {revoke} $$;
         CREATE ROLE clerk LOGIN CREATEROLE PASSWORD 'right'; GRANT chief TO clerk"
    ))?;
    let mut session = rig.session(&server, "someone", &rig.token_of(&person)?)?;
    let denied = "permission denied for function";
    for sql in [revoke.as_str(), &restore, "SELECT public.lent()"] {
        expect_error(&mut session, sql, denied)?;
    }
    // Nor as the admin whose role was granted.
    session.query("SET ROLE chief")?;
    for sql in [&revoke, &restore] {
        expect_error(&mut session, sql, denied)?;
    }
    let (mut clerk, _) = rig.connect(&server, "clerk")?;
    clerk.request()?;
    ensure(clerk.scram(b"right", || Ok(()))?.is_in(), || {
        "the clerk was not let in".to_owned()
    })?;
    for role in ["clerk", "chief"] {
        clerk.query(&format!("SET ROLE {role}"))?;
        expect_error(&mut clerk, &revoke, denied)?;
    }
    // A superuser gives it up with SET ROLE.
    let refused = server.sql(&format!("SET ROLE clerk; {revoke}"));
    ensure(
        refused.is_err_and(|error| error.to_string().contains(denied)),
        || "SET ROLE changed nothing".to_owned(),
    )?;
    let read = session.query("RESET ROLE; REVOKE azure_pg_admin FROM someone");
    drop(read);
    server.sql("REVOKE chief, azure_pg_admin, aadauth_auditor FROM someone")?;
    expect_error(
        &mut session,
        "RESET ROLE; SELECT * FROM aadauth.revocations",
        "permission denied for view revocations",
    )
}

fn admin_principals(rig: &Rig) -> Result<()> {
    let (server, mut chief) = with_admin(rig, "revoking-chiefs", |plan| plan)?;
    let second = Uuid::new_v4();
    server.sql(&format!(
        "SELECT pgaadauth_create_principal_with_oid('second', '{second}', 'group', true, false)"
    ))?;
    let own = chief
        .query("SELECT (aadauth.current_principal()).object_id")?
        .concat()
        .parse()?;
    for object_id in [second, own] {
        for sql in calls(object_id) {
            expect_error(&mut chief, &sql, "must be superuser to revoke or restore")?;
        }
    }
    for sql in calls(second) {
        server.sql(&sql)?;
    }
    // Nor do they revoke superusers.
    let third = Uuid::new_v4();
    server.sql(&format!(
        "SELECT pgaadauth_create_principal_with_oid('root_person', '{third}', 'user', false, false);
         ALTER ROLE root_person SUPERUSER"
    ))?;
    for sql in calls(third) {
        expect_error(&mut chief, &sql, "must be superuser to revoke or restore")?;
    }
    server.sql(&calls(own)[0])?;
    expect_end(&mut chief, REVOKED)
}

/// A quick admin whose role is a group's could undo a revocation of themselves.
fn themselves(rig: &Rig) -> Result<()> {
    let server = rig.server("revoking-oneself", |plan| plan)?;
    server.sql(
        "SELECT pgaadauth_create_principal_with_oid('dba', 'dba00000-0000-4000-8000-000000000010', 'group', true, false)",
    )?;
    let mut alice = rig.session(&server, "dba", &rig.alice()?)?;
    let restore = "SELECT aadauth.restore('a11ce000-0000-4000-8000-000000000001')";
    expect_error(&mut alice, restore, "of the current session")?;
    // Nor shorten a revocation that has not reached the sessions yet.
    let shorten = "SELECT aadauth.revoke('a11ce000-0000-4000-8000-000000000001', now() + '1 s')";
    expect_error(&mut alice, shorten, "of the current session")?;
    let other = Uuid::new_v4();
    for sql in calls(other) {
        alice.query(&sql)?;
    }
    Ok(())
}

fn past_the_functions(rig: &Rig) -> Result<()> {
    let (server, mut chief) = with_admin(rig, "revoking-past", |plan| plan)?;
    server.sql(&format!(
        "GRANT pg_write_all_data, pg_read_all_data TO chief; SELECT aadauth.revoke('{}')",
        Uuid::new_v4()
    ))?;
    for sql in [
        "INSERT INTO aadauth.revoked_principals VALUES (gen_random_uuid(), 'infinity', '', now(), '')",
        "TRUNCATE aadauth.revoked_principals",
    ] {
        let refused = chief.query(sql).err().map(|error| error.to_string());
        let text = refused.unwrap_or_default();
        ensure(
            text.contains("permission denied") || text.contains("row-level security"),
            || format!("{sql}: {text}"),
        )?;
    }
    // Row-level security leaves nothing to change.
    for sql in [
        "DELETE FROM aadauth.revoked_principals",
        "UPDATE aadauth.revoked_principals SET until = '2000-01-01'",
    ] {
        let _ = chief.query(sql);
    }
    let left = server.sql("SELECT count(*) FROM aadauth.revocations WHERE until = 'infinity'")?;
    ensure(left == "1", || left)
}

fn errors(rig: &Rig) -> Result<()> {
    let server = &rig.server;
    let id = Uuid::new_v4();
    for (sql, expected) in [
        (
            format!("SELECT aadauth.revoke('{id}', now() - interval '1 s')"),
            "22023: the end of the revocation is in the past",
        ),
        (
            format!("SELECT aadauth.revoke('{id}', '-infinity')"),
            "22023: the end of the revocation",
        ),
        (
            format!("SELECT aadauth.revoke('{id}', NULL)"),
            "22004: until must not be null",
        ),
        (
            "SELECT aadauth.revoke(NULL)".to_owned(),
            "22004: object_id must not be null",
        ),
        (format!("SELECT aadauth.restore('{id}')"), "is not revoked"),
    ] {
        let error = server
            .sql(&sql)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        ensure(error.contains(expected), || format!("{sql}: {error}"))?;
    }
    // A principal that is mapped to no role can be revoked too, with a notice.
    let notice = rig.server.sql(&format!(
        "SET client_min_messages = notice; SELECT aadauth.revoke('{id}', 'tomorrow', 'a test')"
    ))?;
    let listed = server.sql(&format!(
        "SELECT roles, reason FROM aadauth.revocations WHERE object_id = '{id}'"
    ))?;
    ensure(listed == "{}|a test", || format!("{notice} {listed}"))?;
    server
        .sql(&format!("SELECT aadauth.restore('{id}')"))
        .map(drop)
}
