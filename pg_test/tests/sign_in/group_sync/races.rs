//! What others do to roles and labels in the middle of a run.

use pg_test::Result;
use pg_test::wait::until;
use pg_test::wire::Connection;
use serde_json::json;

use super::{ALICE, ALICE_ID, ANALYSTS, CAROL, DBA, GUEST, LOOP_B, Row, Synced};
use crate::Test;
use crate::rig::{Rig, ensure};

pub const TESTS: &[Test] = &[
    ("a_role_made_meanwhile_costs_one_member", role_made),
    (
        "a_role_dropped_meanwhile_leaves_no_membership",
        role_dropped,
    ),
    ("a_role_renamed_meanwhile_is_not_mistaken", role_renamed),
    ("a_principal_mapped_meanwhile_gets_no_second_role", mapped),
    (
        "a_group_role_that_changes_meanwhile_is_left_alone",
        group_changes,
    ),
    (
        "the_database_does_not_choose_what_the_worker_runs",
        hostile_database,
    ),
];

/// [`Synced::start`], with sessions of a superuser's beside it.
fn start<'a>(rig: &'a Rig, name: &str) -> Result<Synced<'a>> {
    let mut synced = Synced::start(rig, name, "")?;
    synced.server.sql("CREATE ROLE superuser LOGIN SUPERUSER")?;
    synced.server.set_hba(&[
        "local all superuser trust",
        "hostssl all all all pam pamservice=aadauth-{major}",
    ])?;
    Ok(synced)
}

/// A session in which a transaction has run these statements, and goes on.
fn transaction(synced: &Synced<'_>, statements: &[&str]) -> Result<Connection> {
    let socket = synced
        .server
        .socket()
        .join(format!(".s.PGSQL.{}", synced.server.port()));
    let parameters = [("user", "superuser"), ("database", "postgres")];
    let mut connection = Connection::open_local(&socket, &parameters)?;
    connection.request()?;
    ensure(connection.outcome()?.is_in(), || "not in".to_owned())?;
    connection.query("BEGIN")?;
    for statement in statements {
        connection.query(statement)?;
    }
    Ok(connection)
}

/// Has groups synchronized, and while the worker waits for another transaction does what `meanwhile` says.
fn sync_with(synced: &Synced<'_>, meanwhile: impl FnOnce() -> Result<()>) -> Result<Vec<Row>> {
    const WAITS: &str = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE a.backend_type LIKE '%group sync%' AND NOT l.granted";
    std::thread::scope(|scope| {
        let run = scope.spawn(|| synced.sync());
        until("the worker waits for the other transaction", || {
            Ok((synced.server.sql(WAITS)? != "0").then_some(()))
        })?;
        meanwhile()?;
        run.join().map_err(|_| "the run panicked")?
    })
}

fn end(transaction: &mut Connection, how: &str) -> Result<()> {
    transaction.query(how).map(drop)
}

fn role_made(rig: &Rig) -> Result<()> {
    let synced = start(rig, "sync-role-made")?;
    synced.map(&[ANALYSTS])?;
    let mut other = transaction(&synced, &[&format!("CREATE ROLE \"{ALICE}\"")])?;
    let rows = sync_with(&synced, || end(&mut other, "COMMIT"))?;
    let short: Vec<_> = rows.iter().map(Row::short).collect();
    ensure(
        short
            == [
                (ALICE, "name-taken"),
                (GUEST, "created"),
                (CAROL, "created"),
                ("reporting", "created"),
            ],
        || format!("{rows:?}"),
    )?;
    synced.server.sql(&format!("DROP ROLE \"{ALICE}\""))?;
    synced.sync_and_expect(&[(ALICE, "created")])
}

fn role_dropped(rig: &Rig) -> Result<()> {
    let synced = start(rig, "sync-role-dropped")?;
    synced.map(&[DBA])?;
    synced.sync()?;
    synced
        .server
        .sql(&format!("REVOKE dba FROM \"{ALICE}\", \"{CAROL}\""))?;
    let mut other = transaction(&synced, &[&format!("DROP ROLE \"{ALICE}\"")])?;
    let rows = sync_with(&synced, || end(&mut other, "COMMIT"))?;
    ensure(
        rows.len() == 1 && rows[0].short() == (CAROL, "granted"),
        || format!("{rows:?}"),
    )?;
    let dangling = synced.server.sql(
        "SELECT count(*) FROM pg_auth_members m
         WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = m.member)",
    )?;
    ensure(dangling == "0", || {
        format!("{dangling} memberships of nobody")
    })?;
    // A member's role that is dropped is created again: the directory decides on membership.
    synced.sync_and_expect(&[(ALICE, "created")])
}

/// While the worker grants, the role gets another name, and the name another role.
fn role_renamed(rig: &Rig) -> Result<()> {
    let synced = start(rig, "sync-role-renamed")?;
    synced.map(&[DBA])?;
    rig.map(&synced.server, "ally", ALICE_ID, "user")?;
    // Carol's role can't be made before this has ended; alice comes first.
    let mut other = transaction(&synced, &[&format!("CREATE ROLE \"{CAROL}\"")])?;
    let rows = sync_with(&synced, || {
        synced
            .server
            .sql("ALTER ROLE ally RENAME TO ally_once; CREATE ROLE ally LOGIN")?;
        end(&mut other, "ROLLBACK")
    })?;
    synced.expect_members("dba", &["ally_once", CAROL].join(","))?;
    // A role that the worker has looked at already is renamed when its transaction ends.
    let short: Vec<_> = rows.iter().map(Row::short).collect();
    ensure(
        matches!(
            short[..],
            [("ally" | "ally_once", "granted"), (CAROL, "created")]
        ),
        || format!("{rows:?}"),
    )?;
    // The same when it is taken away, while the worker waits for carol's role.
    synced
        .emulator
        .change_members("dba", &[], &[ALICE, CAROL])?;
    let mut other = transaction(&synced, &[&format!("DROP ROLE \"{CAROL}\"")])?;
    let rows = sync_with(&synced, || {
        synced.server.sql(
            "ALTER ROLE ally_once RENAME TO ally_twice; CREATE ROLE ally_once; GRANT dba TO ally_once",
        )?;
        end(&mut other, "ROLLBACK")
    })?;
    let short: Vec<_> = rows.iter().map(Row::short).collect();
    ensure(
        matches!(
            short[..],
            [("ally_once" | "ally_twice", "revoked"), (CAROL, "revoked")]
        ),
        || format!("{rows:?}"),
    )?;
    synced.expect_members("dba", "ally_once")
}

/// Also in a database whose sessions would see what was there when their transaction began.
fn mapped(rig: &Rig) -> Result<()> {
    let mut synced = start(rig, "sync-mapped-meanwhile")?;
    synced.disable()?;
    synced
        .server
        .sql("ALTER DATABASE postgres SET default_transaction_isolation = 'repeatable read'")?;
    synced.enable()?;
    synced.sync()?;
    synced.map(&[DBA])?;
    let map = format!(
        "SELECT pgaadauth_create_principal_with_oid('ally', '{ALICE_ID}', 'user', false, false)"
    );
    let mut other = transaction(&synced, &[&map, "GRANT dba TO ally"])?;
    let rows = sync_with(&synced, || end(&mut other, "COMMIT"))?;
    ensure(
        rows.len() == 1 && rows[0].short() == (CAROL, "created"),
        || format!("{rows:?}"),
    )?;
    synced.expect_members("dba", &["ally", CAROL].join(","))
}

/// Between the listing and the changes.
fn group_changes(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-group-changes", "")?;
    synced.map(&[DBA])?;
    for (change, undo) in [
        ("ALTER ROLE dba SUPERUSER", "ALTER ROLE dba NOSUPERUSER"),
        (
            &*format!(
                "SECURITY LABEL FOR pgaadauth ON ROLE dba IS 'aadauth,oid={},type=group'",
                LOOP_B.1
            ),
            &*format!(
                "SECURITY LABEL FOR pgaadauth ON ROLE dba IS 'aadauth,oid={},type=group'",
                DBA.1
            ),
        ),
        ("ALTER ROLE dba RENAME TO former", ""),
    ] {
        synced
            .emulator
            .disturb(&json!({ "fault": { "slow": 1500 }, "endpoint": "graph" }))?;
        std::thread::scope(|scope| {
            let run = scope.spawn(|| synced.sync());
            until("the listing is under way", || {
                let state = synced
                    .server
                    .sql("SELECT state FROM aadauth.group_sync_groups")?;
                Ok((state == "listing").then_some(()))
            })?;
            synced.server.sql(change)?;
            let rows = run.join().map_err(|_| "the run panicked")??;
            ensure(
                rows.len() == 1 && rows[0].short() == ("dba", "failed"),
                || format!("{change}: {rows:?}"),
            )
        })?;
        synced.emulator.behave()?;
        synced.server.sql(undo)?;
    }
    synced.expect_members("former", "")?;
    synced.sync_and_expect(&[(ALICE, "created"), (CAROL, "created")])
}

/// The database's settings and whatever is first in its search path are others' to choose.
fn hostile_database(rig: &Rig) -> Result<()> {
    let mut synced = Synced::start(rig, "sync-hostile-database", "")?;
    synced.map(&[DBA])?;
    synced.sync()?;
    synced.disable()?;
    synced.server.sql(&format!(
        "CREATE SCHEMA trap; CREATE TABLE trap.caught (by text);
         CREATE FUNCTION trap.spring() RETURNS void LANGUAGE sql AS $$
             INSERT INTO trap.caught SELECT current_user FROM pg_stat_activity
             WHERE pid = pg_backend_pid() AND backend_type LIKE '%group sync%' $$;
         CREATE FUNCTION trap.equal(a oid, b oid) RETURNS boolean LANGUAGE plpgsql AS $$
             BEGIN PERFORM trap.spring(); RETURN oideq(a, b); END $$;
         CREATE FUNCTION trap.equal(a uuid, b uuid) RETURNS boolean LANGUAGE plpgsql AS $$
             BEGIN PERFORM trap.spring(); RETURN uuid_eq(a, b); END $$;
         CREATE OPERATOR trap.= (FUNCTION = trap.equal, LEFTARG = oid, RIGHTARG = oid);
         CREATE OPERATOR trap.= (FUNCTION = trap.equal, LEFTARG = uuid, RIGHTARG = uuid);
         REVOKE dba FROM \"{ALICE}\";
         ALTER DATABASE postgres SET search_path = trap, pg_catalog;
         ALTER DATABASE postgres SET default_transaction_read_only = on"
    ))?;
    synced.enable()?;
    until("groups are synchronized", || {
        let members = "SET search_path = pg_catalog; SELECT count(*) FROM pg_auth_members m
            WHERE m.roleid = 'dba'::regrole";
        Ok((synced.server.sql(members)? == "2").then_some(()))
    })?;
    let caught = synced.server.sql("SELECT DISTINCT by FROM trap.caught")?;
    ensure(caught.is_empty(), || {
        format!("code of others ran as {caught}")
    })
}
