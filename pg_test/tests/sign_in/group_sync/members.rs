//! Which members get a role of their own, and which get and lose the group role.

use pg_test::Result;
use pg_test::wire::Connection;

use super::{ALICE, ALICE_ID, ANALYSTS, CAROL, DBA, GUEST, LOOP_A, LOOP_B, STRANGER, Synced};
use crate::Test;
use crate::rig::{Rig, Subject, ensure};

pub const TESTS: &[Test] = &[
    ("members_get_roles_of_their_own", own_roles),
    ("a_member_signs_in_with_the_groups_rights", rights),
    ("who_leaves_loses_the_rights_at_once", leaver),
    (
        "who_is_mapped_already_gets_the_group_role_alone",
        mapped_already,
    ),
    (
        "what_sign_ins_remember_of_a_group_does_not_outlive_a_run",
        cache,
    ),
    ("a_publication_is_no_obstacle", published),
    ("groups_share_members", shared),
    ("groups_in_a_circle", circle),
    ("a_disabled_account_has_nothing", disabled),
    ("a_group_that_is_gone_has_no_members", group_gone),
    ("a_local_role_keeps_the_group_role", local_role),
    ("a_group_role_with_mfa_goes_to_roles_with_mfa", mfa),
    ("a_group_role_without_login_is_synchronized", without_login),
    ("turned_off_it_leaves_everything", turned_off),
];

fn own_roles(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-own", "")?;
    synced.map(&[ANALYSTS])?;
    let created = [
        (ALICE, "created"),
        (CAROL, "created"),
        (GUEST, "created"),
        ("reporting", "created"),
    ];
    synced.sync_and_expect(&created)?;
    synced.expect_members("analysts", &[ALICE, GUEST, CAROL, "reporting"].join(","))?;
    let roles = synced.server.sql(
        "SELECT rolname, rolcanlogin, rolinherit, rolconnlimit,
             rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls, rolpassword IS NULL,
             p.principaltype, p.objectid, p.ismfa, p.isadmin
         FROM pg_authid r JOIN pgaadauth_list_principals(false) p USING (rolname)
         WHERE rolname <> 'analysts' ORDER BY rolname COLLATE \"C\"",
    )?;
    let expected = "\
alice@contoso.com|t|t|-1|f|t|user|a11ce000-0000-4000-8000-000000000001|0|0
bob_fabrikam.com#EXT#@contoso.onmicrosoft.com|t|t|-1|f|t|user|b0b00000-0000-4000-8000-000000000002|0|0
carol@contoso.com|t|t|-1|f|t|user|ca401000-0000-4000-8000-000000000003|0|0
reporting|t|t|-1|f|t|service|4e904700-0000-4000-8000-000000000021|0|0";
    ensure(roles == expected, || roles.clone())?;
    // What is so stays so.
    synced.sync_and_expect(&[])?;
    let status = synced.status("analysts")?;
    for (column, expected) in [
        ("seen", 4),
        ("done", 4),
        ("created", 0),
        ("not_possible", 0),
    ] {
        ensure(status[column] == expected, || status.to_string())?;
    }
    ensure(
        status["state"] == "done" && !status["next_run"].is_null(),
        || status.to_string(),
    )?;
    let recorded = synced.server.sql(
        "SELECT count(*) FROM aadauth.group_sync_changes WHERE action = 'created' AND first_at IS NULL",
    )?;
    ensure(recorded == "4", || recorded)
}

fn rights(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-rights", "")?;
    synced.map(&[ANALYSTS])?;
    synced
        .server
        .sql("CREATE TABLE figures AS SELECT 42 AS figure; GRANT SELECT ON figures TO analysts")?;
    synced.sync()?;
    let service = synced
        .emulator
        .token(Subject::ServicePrincipal("reporting".to_owned()))
        .text()?;
    for (role, token) in [
        (ALICE, synced.token(ALICE)?),
        (GUEST, synced.token(GUEST)?),
        ("reporting", service),
        ("analysts", synced.token(ALICE)?),
    ] {
        let printed = rig
            .attempt(&synced.server, role, &token)
            .psql("", "SELECT figure, current_user FROM figures")?;
        ensure(printed.output == format!("42|{role}"), || {
            format!("{printed:?}")
        })?;
    }
    // Somebody else's token is as little good as ever.
    rig.refused(
        &synced.server,
        ALICE,
        &synced.token(CAROL)?,
        "object-id-mismatch",
    )
}

fn signed_in(synced: &Synced<'_>, upn: &str) -> Result<Connection> {
    let (mut connection, _) = synced.rig.connect(&synced.server, upn)?;
    connection.request()?;
    connection.password(synced.token(upn)?.as_bytes())?;
    ensure(connection.outcome()?.is_in(), || format!("{upn} is not in"))?;
    Ok(connection)
}

fn leaver(rig: &Rig) -> Result<()> {
    const FIGURES: &str = "SELECT figure FROM figures";
    let synced = Synced::start(rig, "sync-leaver", "")?;
    synced.map(&[DBA])?;
    synced.server.sql(
        "CREATE TABLE figures AS SELECT 42 AS figure; GRANT SELECT ON figures TO dba;
         CREATE TABLE notes AS SELECT 7 AS note",
    )?;
    synced.sync()?;
    synced
        .server
        .sql("GRANT SELECT ON notes TO \"alice@contoso.com\"")?;
    let mut session = signed_in(&synced, ALICE)?;
    ensure(session.query(FIGURES)? == ["42"], || {
        "no figures".to_owned()
    })?;
    synced.emulator.change_members("dba", &[], &[ALICE])?;
    synced.sync_and_expect(&[(ALICE, "revoked")])?;
    match session.query(FIGURES) {
        Ok(rows) => return Err(format!("still reads {rows:?}").into()),
        Err(error) => ensure(error.to_string().contains("permission denied"), || {
            error.to_string()
        })?,
    }
    ensure(session.query("SELECT note FROM notes")? == ["7"], || {
        "lost what else was granted".to_owned()
    })?;
    let mut again = signed_in(&synced, ALICE)?;
    ensure(again.query("SELECT note FROM notes")? == ["7"], || {
        "lost the role".to_owned()
    })?;
    synced.emulator.change_members("dba", &[ALICE], &[])?;
    synced.sync_and_expect(&[(ALICE, "granted")])?;
    ensure(session.query(FIGURES)? == ["42"], || {
        "no figures".to_owned()
    })
}

fn mapped_already(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-mapped", "")?;
    synced.map(&[ANALYSTS])?;
    // Under names of their own, the service by its application id.
    rig.map(&synced.server, "ally", ALICE_ID, "user")?;
    rig.map(
        &synced.server,
        "reports",
        "4e904700-0000-4000-8000-000000000020",
        "service",
    )?;
    rig.map(
        &synced.server,
        "stranger",
        "3a110000-0000-4000-8000-000000000004",
        "user",
    )?;
    // Memberships of a synchronized group role follow the directory, whatever role granted them.
    synced.server.sql(
        "CREATE ROLE granter LOGIN; GRANT analysts TO granter WITH ADMIN OPTION;
         GRANT analysts TO stranger WITH ADMIN OPTION GRANTED BY granter",
    )?;
    synced.sync_and_expect(&[
        ("ally", "granted"),
        ("reports", "granted"),
        ("stranger", "revoked"),
        (CAROL, "created"),
        (GUEST, "created"),
    ])?;
    synced.expect_members(
        "analysts",
        &["ally", GUEST, CAROL, "granter", "reports"].join(","),
    )
}

fn cache(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-cache", "")?;
    synced.map(&[DBA])?;
    let silent = synced
        .emulator
        .token(Subject::User(ALICE.to_owned()))
        .without("groups")
        .text()?;
    rig.accepted(&synced.server, "dba", &silent)?;
    synced.emulator.change_members("dba", &[], &[ALICE])?;
    // The directory is not asked again about the membership.
    rig.accepted(&synced.server, "dba", &silent)?;
    synced.sync_and_expect(&[(CAROL, "created")])?;
    rig.refused(&synced.server, "dba", &silent, "not-a-group-member")
}

/// It publishes the tables of group sync and of the audit, too.
fn published(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-published", "")?;
    synced.map(&[DBA])?;
    synced
        .server
        .sql("CREATE PUBLICATION everything FOR ALL TABLES")?;
    synced.sync_and_expect(&[(ALICE, "created"), (CAROL, "created")])?;
    synced
        .emulator
        .change_members("dba", &[STRANGER], &[ALICE])?;
    synced.sync_and_expect(&[(ALICE, "revoked"), (STRANGER, "created")])?;
    synced
        .emulator
        .change_members("dba", &[ALICE], &[STRANGER])?;
    synced.sync_and_expect(&[(ALICE, "granted"), (STRANGER, "revoked")])?;
    synced
        .server
        .sql(&format!("SELECT aadauth.revoke('{ALICE_ID}')"))?;
    synced
        .server
        .sql(&format!("SELECT aadauth.restore('{ALICE_ID}')"))
        .map(drop)
}

fn shared(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-shared", "")?;
    synced.map(&[ANALYSTS, DBA])?;
    let rows = synced.sync()?;
    let created = rows.iter().filter(|row| row.action == "created").count();
    let granted = rows.iter().filter(|row| row.action == "granted").count();
    ensure((created, granted, rows.len()) == (4, 2, 6), || {
        format!("{rows:?}")
    })?;
    synced.expect_members("dba", &[ALICE, CAROL].join(","))?;
    // A member who leaves one of them keeps the other's role. Through the nested group alice was in both.
    synced.emulator.change_members("analysts", &[], &["dba"])?;
    synced.sync_and_expect(&[(ALICE, "revoked"), (CAROL, "revoked")])?;
    synced.expect_members("dba", &[ALICE, CAROL].join(","))?;
    synced.expect_members("analysts", &[GUEST, "reporting"].join(","))
}

fn circle(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-circle", "")?;
    synced.map(&[LOOP_A, LOOP_B])?;
    synced.sync_and_expect(&[(ALICE, "created"), (ALICE, "granted")])?;
    synced.expect_members("loop-a", ALICE)?;
    synced.expect_members("loop-b", ALICE)
}

fn disabled(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-disabled", "")?;
    synced.map(&[DBA])?;
    synced
        .emulator
        .change_members("dba", &["dave@contoso.com"], &[])?;
    synced.sync_and_expect(&[
        (ALICE, "created"),
        (CAROL, "created"),
        ("dave@contoso.com", "account-disabled"),
    ])?;
    synced.emulator.enable_user(ALICE, false)?;
    synced.sync_and_expect(&[
        (ALICE, "revoked"),
        (ALICE, "account-disabled"),
        ("dave@contoso.com", "account-disabled"),
    ])?;
    synced.expect_members("dba", CAROL)?;
    // An obstacle is one row, however often it is found.
    synced.sync()?;
    let rows = synced.server.sql(
        "SELECT member, count(*), max(run) - min(run) FROM aadauth.group_sync_changes
         WHERE action = 'account-disabled' GROUP BY 1 ORDER BY 1",
    )?;
    ensure(
        rows == "alice@contoso.com|1|0\ndave@contoso.com|1|0",
        || rows.clone(),
    )?;
    synced.emulator.enable_user(ALICE, true)?;
    synced.emulator.enable_user("dave@contoso.com", true)?;
    synced.sync_and_expect(&[(ALICE, "granted"), ("dave@contoso.com", "created")])
}

fn group_gone(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-gone", "")?;
    synced.map(&[DBA, ANALYSTS])?;
    synced.sync()?;
    synced.emulator.delete("dba")?;
    let rows = synced.sync()?;
    let of_dba: Vec<_> = rows
        .iter()
        .filter(|row| row.group_role == "dba")
        .map(super::Row::short)
        .collect();
    ensure(
        of_dba
            == [
                ("dba", "group-not-found"),
                (ALICE, "revoked"),
                (CAROL, "revoked"),
            ],
        || format!("{rows:?}"),
    )?;
    synced.expect_members("dba", "")?;
    synced.expect_members("analysts", &[GUEST, "reporting"].join(","))?;
    let status = synced.status("dba")?;
    ensure(
        status["state"] == "done"
            && status["problem"]
                .as_str()
                .is_some_and(|p| p.contains("no group")),
        || status.to_string(),
    )
}

fn local_role(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-local", "")?;
    synced.map(&[DBA])?;
    synced.map(&[LOOP_A])?;
    synced.emulator.change_members("loop-b", &[], &[ALICE])?;
    synced
        .server
        .sql("CREATE ROLE batch LOGIN; CREATE ROLE team; GRANT dba TO batch, team, \"loop-a\"")?;
    synced.sync_and_expect(&[(ALICE, "created"), (CAROL, "created")])?;
    synced.expect_members("dba", &[ALICE, "batch", CAROL, "loop-a", "team"].join(","))
}

fn mfa(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-mfa", "")?;
    // Both roles are made by this run: the one that demands more comes first, whatever its name.
    synced.map(&[("aaa", ANALYSTS.1)])?;
    let principal = |role: &str, id: &str, mfa: bool| {
        synced.server.sql(&format!(
            "SELECT pgaadauth_create_principal_with_oid('{role}', '{id}', 'group', false, {mfa})"
        ))
    };
    principal("zzz", LOOP_A.1, true)?;
    synced
        .emulator
        .change_members("loop-a", &["reporting"], &[])?;
    let rows = synced.sync()?;
    let of_zzz: Vec<_> = rows
        .iter()
        .filter(|row| row.group_role == "zzz")
        .map(super::Row::short)
        .collect();
    ensure(
        of_zzz == [(ALICE, "created"), ("reporting", "mfa-required")],
        || format!("{rows:?}"),
    )?;
    let mfa = "SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pgaadauth_list_principals(false) WHERE ismfa = 1";
    let demand = synced.server.sql(mfa)?;
    ensure(demand == "alice@contoso.com,zzz", || demand)?;
    // A role that doesn't demand it neither gets nor keeps the group role.
    synced.emulator.change_members("loop-a", &[CAROL], &[])?;
    let unchanged = ("reporting", "mfa-required");
    synced.sync_and_expect(&[(CAROL, "mfa-required"), unchanged])?;
    let update = |upn: &str, id: &str, mfa: bool| {
        synced.server.sql(&format!(
            "SELECT pgaadauth_update_principal_with_oid('{upn}', '{id}', 'user', false, {mfa})"
        ))
    };
    update(ALICE, ALICE_ID, false)?;
    update(CAROL, "ca401000-0000-4000-8000-000000000003", true)?;
    synced.sync_and_expect(&[
        (ALICE, "revoked"),
        (ALICE, "mfa-required"),
        (CAROL, "granted"),
        unchanged,
    ])?;
    synced.expect_members("zzz", CAROL)
}

fn without_login(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-nologin", "")?;
    synced.map(&[DBA])?;
    synced.server.sql("ALTER ROLE dba NOLOGIN")?;
    synced.sync_and_expect(&[(ALICE, "created"), (CAROL, "created")])?;
    rig.accepted(&synced.server, ALICE, &synced.token(ALICE)?)?;
    rig.refused(
        &synced.server,
        "dba",
        &synced.token(ALICE)?,
        "role-not-login",
    )
}

fn turned_off(rig: &Rig) -> Result<()> {
    const CONNECTED: &str =
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE '%group sync%'";
    let mut synced = Synced::start(rig, "sync-off", "")?;
    synced.map(&[DBA])?;
    synced.sync()?;
    let connected = synced.server.sql(CONNECTED)?;
    ensure(connected == "1", || connected)?;
    synced.disable()?;
    synced
        .emulator
        .change_members("dba", &[STRANGER], &[ALICE])?;
    pg_test::wait::until("the worker leaves the database", || {
        Ok((synced.server.sql(CONNECTED)? == "0").then_some(()))
    })?;
    // It comes back, and stays without a connection.
    pg_test::wait::until("the worker is back", || {
        synced.server.child("aadauth group sync")
    })?;
    let connected = synced.server.sql(CONNECTED)?;
    ensure(connected == "0", || connected)?;
    synced.expect_members("dba", &[ALICE, CAROL].join(","))?;
    rig.accepted(&synced.server, ALICE, &synced.token(ALICE)?)?;
    let status = synced.status("dba")?;
    ensure(
        status["state"] == "done" && status["next_run"].is_null(),
        || status.to_string(),
    )?;
    synced.enable()?;
    pg_test::wait::until("group sync goes on where it ended", || {
        Ok((synced.members_of("dba")? == [CAROL, STRANGER].join(",")).then_some(()))
    })
}
