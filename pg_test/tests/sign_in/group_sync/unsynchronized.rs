//! Groups whose roles have rights that a directory must not hand out by itself.

use pg_test::Result;
use uuid::Uuid;

use super::{ALICE, ANALYSTS, CAROL, DBA, Synced};
use crate::Test;
use crate::rig::{Rig, ensure};

pub const TESTS: &[Test] = &[
    ("admin_groups_are_not_synchronized", admin),
    ("nor_groups_with_privileges", privileged),
    ("what_becomes_privileged_later_stops", later),
    ("nor_groups_of_another_tenant", other_tenant),
    ("labels_by_hand_count_and_damaged_ones_do_not", labels),
];

/// Nobody has got a role, or the group's.
fn nothing_done(synced: &Synced<'_>) -> Result<()> {
    let done = synced.server.sql(
        "SELECT (SELECT count(*) FROM pgaadauth_list_principals(false) WHERE principaltype <> 'group'),
             (SELECT count(*) FROM pg_auth_members WHERE roleid::regrole::text IN ('dba', 'analysts')
                 AND member::regrole::text <> 'azure_pg_admin')",
    )?;
    ensure(done == "0|0", || done)
}

fn admin(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-admin-group", "")?;
    synced.server.sql(&format!(
        "SELECT pgaadauth_create_principal_with_oid('dba', '{}', 'group', true, false)",
        DBA.1
    ))?;
    synced.sync_and_expect(&[("dba", "privileged-group")])?;
    nothing_done(&synced)?;
    let status = synced.status("dba")?;
    ensure(status["state"] == "skipped", || status.to_string())?;
    // By its name they go on.
    rig.accepted(&synced.server, "dba", &synced.token(ALICE)?)
        .map(drop)
}

fn privileged(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-privileged", "")?;
    synced.map(&[DBA])?;
    synced
        .server
        .sql("CREATE ROLE creator CREATEROLE; CREATE ROLE between; GRANT creator TO between")?;
    synced.map_unasked("chief", &Uuid::new_v4().to_string(), "user", ",admin")?;
    for (make, unmake) in [
        ("ALTER ROLE dba SUPERUSER", "ALTER ROLE dba NOSUPERUSER"),
        ("ALTER ROLE dba REPLICATION", "ALTER ROLE dba NOREPLICATION"),
        ("ALTER ROLE dba BYPASSRLS", "ALTER ROLE dba NOBYPASSRLS"),
        ("ALTER ROLE dba CREATEROLE", "ALTER ROLE dba NOCREATEROLE"),
        (
            "GRANT pg_read_server_files TO dba",
            "REVOKE pg_read_server_files FROM dba",
        ),
        (
            "GRANT pg_execute_server_program TO dba",
            "REVOKE pg_execute_server_program FROM dba",
        ),
        (
            "GRANT aadauth_auditor TO dba",
            "REVOKE aadauth_auditor FROM dba",
        ),
        ("GRANT between TO dba", "REVOKE between FROM dba"),
        (
            "GRANT azure_pg_admin TO dba",
            "REVOKE azure_pg_admin FROM dba",
        ),
        ("GRANT chief TO dba", "REVOKE chief FROM dba"),
    ] {
        synced.server.sql(make)?;
        let rows = synced.sync()?;
        ensure(
            rows.len() == 1
                && rows[0].short() == ("dba", "privileged-group")
                && rows[0].detail.is_some(),
            || format!("{make}: {rows:?}"),
        )?;
        synced.server.sql(unmake)?;
        synced.server.sql(
            "DO $$ BEGIN ASSERT (SELECT count(*) = 1 FROM pgaadauth_list_principals(false)
                 WHERE principaltype = 'user'), 'a role was made'; END $$",
        )?;
    }
    synced.expect_members("dba", "")?;
    synced.sync_and_expect(&[(ALICE, "created"), (CAROL, "created")])
}

/// From then on no member gets the group role, and a member who leaves still loses it.
fn later(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-later", "")?;
    synced.map(&[DBA, ANALYSTS])?;
    synced.sync()?;
    synced.server.sql("ALTER ROLE dba CREATEROLE")?;
    synced
        .emulator
        .change_members("dba", &["mallory@contoso.com"], &[CAROL])?;
    let rows = synced.sync()?;
    let of_dba: Vec<_> = rows.iter().filter(|row| row.group_role == "dba").collect();
    let of_dba: Vec<_> = of_dba.iter().map(|row| row.short()).collect();
    ensure(
        of_dba == [("dba", "privileged-group"), (CAROL, "revoked")],
        || format!("{rows:?}"),
    )?;
    synced.expect_members("dba", ALICE)?;
    synced.server.sql("ALTER ROLE dba NOCREATEROLE")?;
    let rows = synced.sync()?;
    let of_dba: Vec<_> = rows
        .iter()
        .filter(|row| row.group_role == "dba")
        .map(super::Row::short)
        .collect();
    ensure(of_dba == [("mallory@contoso.com", "granted")], || {
        format!("{rows:?}")
    })
}

fn other_tenant(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-tenant", "")?;
    synced.server.sql(&format!(
        "CREATE ROLE dba LOGIN;
         SECURITY LABEL FOR \"pgaadauth-int\" ON ROLE dba
             IS 'type=group,oid={},tenant_id=11111111-2222-4333-8444-555555555555'",
        DBA.1
    ))?;
    synced.sync_and_expect(&[("dba", "other-tenant")])?;
    nothing_done(&synced)
}

fn labels(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-labels", "")?;
    synced.server.sql(&format!(
        "CREATE ROLE dba; SECURITY LABEL FOR pgaadauth ON ROLE dba IS 'aadauth,oid={},type=group';
         CREATE ROLE analysts",
        DBA.1
    ))?;
    // As no statement would leave them.
    synced.server.sql(&format!(
        "SET allow_system_table_mods = on;
         INSERT INTO pg_shseclabel (objoid, classoid, provider, label)
         VALUES ('analysts'::regrole, 'pg_authid'::regclass, 'pgaadauth', 'aadauth,oid={0},type=group'),
             ('analysts'::regrole, 'pg_authid'::regclass, 'pgaadauth-int',
              'type=group,oid={0},tenant_id=6b1f0c7e-2a3d-4e58-9b41-0c5d7e8f9a01,admin')",
        ANALYSTS.1
    ))?;
    synced.sync_and_expect(&[(ALICE, "created"), (CAROL, "created")])?;
    synced.expect_members("analysts", "")?;
    // A member whose role's labels disagree neither gets the group role nor a second role.
    synced.server.sql(
        "REVOKE dba FROM \"alice@contoso.com\";
         SET allow_system_table_mods = on;
         UPDATE pg_shseclabel SET label = label || ',admin'
         WHERE provider = 'pgaadauth-int' AND objoid = '\"alice@contoso.com\"'::regrole",
    )?;
    synced.sync_and_expect(&[(ALICE, "labels-invalid")])?;
    synced.expect_members("dba", CAROL)
}
