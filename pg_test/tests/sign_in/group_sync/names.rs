//! Names come from the directory, where others choose them: they do no harm, and decide nothing.

use pg_test::Result;
use uuid::Uuid;

use super::{ALICE, ALICE_ID, CAROL, Synced};
use crate::Test;
use crate::rig::{Rig, Subject, ensure};

pub const TESTS: &[Test] = &[
    ("a_local_role_of_that_name_is_left_alone", local_role),
    ("so_is_another_principals", other_principal),
    ("names_are_only_names", hostile),
    ("a_superusers_name_is_taken", superusers),
    ("names_that_no_role_gets", unusable),
    ("of_two_with_one_name_one_gets_it", twins),
    ("names_in_the_databases_encoding", encoding),
];

/// A group of these applications, by display name.
fn group_of(names: &[&str]) -> String {
    let mut toml = String::new();
    for (index, name) in names.iter().enumerate() {
        let name = serde_json::to_string(name).unwrap();
        toml += &format!(
            "[[tenant.application]]\nname = {name}\n\
             client_id = \"ab000000-0000-4000-8000-{index:012}\"\noid = \"ac000000-0000-4000-8000-{index:012}\"\n"
        );
    }
    let members: Vec<String> = (0..names.len())
        .map(|index| format!("\"ac000000-0000-4000-8000-{index:012}\""))
        .collect();
    toml + &format!(
        "[[tenant.group]]\nname = \"named\"\noid = \"{}\"\nmembers = [{}]\n",
        NAMED.1,
        members.join(", ")
    )
}

const NAMED: (&str, &str) = ("named", "ad000000-0000-4000-8000-000000000000");

/// All that is known of every role but its number.
const ROLES: &str = "SELECT string_agg(row::text, ' ' ORDER BY row) FROM (
    SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,
        rolbypassrls, rolconnlimit, rolpassword, rolvaliduntil,
        (SELECT array_agg(roleid::regrole::text ORDER BY 1) FROM pg_auth_members WHERE member = r.oid),
        (SELECT array_agg(label ORDER BY 1) FROM pg_shseclabel WHERE objoid = r.oid)
    FROM pg_authid r) AS row";

fn local_role(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-name-local", "")?;
    synced.map(&[super::DBA])?;
    synced.server.sql(&format!(
        "CREATE ROLE \"{ALICE}\" LOGIN PASSWORD 'own' CONNECTION LIMIT 3"
    ))?;
    let role = format!(
        "SELECT row::text FROM ({}) AS row",
        "SELECT oid, * FROM pg_authid WHERE rolname = 'alice@contoso.com'"
    );
    let before = synced.server.sql(&role)?;
    let rows = synced.sync()?;
    let taken = rows
        .iter()
        .find(|row| row.short() == (ALICE, "name-taken"))
        .ok_or_else(|| format!("{rows:?}"))?;
    let advice = taken.detail.clone().unwrap_or_default();
    ensure(rows.len() == 2, || format!("{rows:?}"))?;
    ensure(synced.server.sql(&role)? == before, || "changed".to_owned())?;
    synced.expect_members("dba", CAROL)?;
    let (mut connection, _) = rig.connect(&synced.server, ALICE)?;
    connection.request()?;
    ensure(connection.scram(b"own", || Ok(()))?.is_in(), || {
        "the password is of no use".to_owned()
    })?;
    // The report names the principal; that the role belongs to it is for an administrator to decide.
    ensure(advice.contains(ALICE_ID), || advice.clone())?;
    synced.server.sql(&format!(
        "SELECT pgaadauth_update_principal_with_oid('{ALICE}', '{ALICE_ID}', 'user', false, false)"
    ))?;
    synced.sync_and_expect(&[(ALICE, "granted")])?;
    rig.accepted(&synced.server, ALICE, &synced.token(ALICE)?)
        .map(drop)
}

/// The account was deleted and created again: the role is mapped to another principal.
fn other_principal(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-name-other", "")?;
    synced.map(&[super::DBA])?;
    let former = Uuid::new_v4();
    synced.map_unasked(ALICE, &former.to_string(), "user", "")?;
    let rows = synced.sync()?;
    let taken = rows
        .iter()
        .find(|row| row.short() == (ALICE, "name-taken"))
        .and_then(|row| row.detail.clone())
        .ok_or_else(|| format!("{rows:?}"))?;
    ensure(taken.contains(&former.to_string()), || taken.clone())?;
    synced.expect_members("dba", CAROL)?;
    rig.accepted(&synced.server, ALICE, &synced.token_about(former)?)?;
    rig.refused(
        &synced.server,
        ALICE,
        &synced.token(ALICE)?,
        "object-id-mismatch",
    )
}

fn hostile(rig: &Rig) -> Result<()> {
    let names = [
        "x\"; ALTER ROLE local SUPERUSER; --",
        "x'; ALTER ROLE local SUPERUSER; --",
        "$$; ALTER ROLE local SUPERUSER; --",
        "\\\"; ALTER ROLE local SUPERUSER; --",
        "local WITH ADMIN OPTION",
        "%I %s",
        "current_user",
        "all",
        "+named",
        "p\u{43e}stgres",
        "Select",
    ];
    let more = group_of(&names)
        + "[[tenant.user]]\nupn = \"o'b\\\"; DROP ROLE local; --@contoso.com\"\n\
           oid = \"ac000000-0000-4000-8000-0000000000ff\"\nname = \"Attack\"\n";
    let user = "o'b\"; DROP ROLE local; --@contoso.com";
    let synced = Synced::start(rig, "sync-hostile", &more)?;
    synced.map(&[NAMED])?;
    synced.server.sql("CREATE ROLE local LOGIN")?;
    synced.emulator.change_members("named", &[user], &[])?;
    let before = synced.server.sql(ROLES)?;
    let mut created: Vec<(&str, &str)> = names.iter().map(|name| (*name, "created")).collect();
    created.push((user, "created"));
    synced.sync_and_expect(&created)?;
    let attributes = synced.server.sql(
        "SELECT count(*), bool_or(rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls),
             bool_and(rolcanlogin), count(DISTINCT (SELECT string_agg(roleid::regrole::text, ',')
                 FROM pg_auth_members WHERE member = r.oid))
         FROM pg_roles r WHERE rolname <> 'azure_pg_admin' AND EXISTS (
             SELECT FROM pg_auth_members WHERE member = r.oid AND roleid = 'named'::regrole)",
    )?;
    ensure(attributes == format!("{}|f|t|1", created.len()), || {
        attributes
    })?;
    // The one with the most to break signs in.
    let service = synced
        .emulator
        .token(Subject::ServicePrincipal(names[0].to_owned()))
        .text()?;
    rig.accepted(&synced.server, names[0], &service)?;
    // Out of the group all of them: nothing remains but the roles themselves.
    synced.emulator.delete("named")?;
    synced.sync()?;
    synced.expect_members("named", "")?;
    for name in names.iter().chain([&user]) {
        synced.server.sql(&format!(
            "DO $do$ BEGIN EXECUTE format('DROP ROLE %I', {}); END $do$",
            literal(name)
        ))?;
    }
    let after = synced.server.sql(ROLES)?;
    ensure(after == before, || format!("{before}\n{after}"))
}

fn superusers(rig: &Rig) -> Result<()> {
    let synced = Synced::start(
        rig,
        "sync-superusers",
        &group_of(&[
            "postgres",
            "boss",
            "POSTGRES",
            "azure_pg_admin",
            "named",
            "Boss",
        ]),
    )?;
    synced.map(&[NAMED])?;
    synced.server.sql("CREATE ROLE boss SUPERUSER LOGIN")?;
    synced.sync_and_expect(&[
        ("postgres", "name-taken"),
        ("boss", "name-taken"),
        ("azure_pg_admin", "name-taken"),
        ("named", "name-taken"),
        ("POSTGRES", "created"),
        ("Boss", "created"),
    ])?;
    synced.expect_members("named", "Boss,POSTGRES")?;
    let labeled = synced.server.sql(
        "SELECT count(*) FROM pg_shseclabel s JOIN pg_roles r ON r.oid = s.objoid
         WHERE r.rolsuper OR r.rolname = 'azure_pg_admin'",
    )?;
    ensure(labeled == "0", || labeled)?;
    let superusers = synced
        .server
        .sql("SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles WHERE rolsuper")?;
    ensure(superusers == "boss,postgres", || superusers)
}

fn unusable(rig: &Rig) -> Result<()> {
    let long = "é".repeat(32);
    let names = [
        "pg_signal_backend",
        "pg_mine",
        "public",
        "none",
        "line\nbreak",
        "tab\tulator",
        "left\u{202e}right",
        "zero\u{200b}width",
        " in front",
        "behind ",
        "imitation@contoso.com",
        &long,
    ];
    let long_user = format!("{}@contoso.com", "u".repeat(60));
    let more = group_of(&names)
        + &format!(
            "[[tenant.user]]\nupn = \"{long_user}\"\n\
             oid = \"ac000000-0000-4000-8000-0000000000ff\"\nname = \"Long\"\n"
        );
    let synced = Synced::start(rig, "sync-unusable", &more)?;
    synced.map(&[NAMED])?;
    synced
        .emulator
        .change_members("named", &[&long_user], &[])?;
    let before = synced.server.sql(ROLES)?;
    let rows = synced.sync()?;
    let count = |action: &str| rows.iter().filter(|row| row.action == action).count();
    ensure(count("name-unusable") == 13 && rows.len() == 13, || {
        format!("{rows:?}")
    })?;
    let after = synced.server.sql(ROLES)?;
    ensure(after == before, || format!("{before}\n{after}"))?;
    // What people read of it is fit to be read.
    ensure(
        rows.iter().all(|row| {
            let member = row.member.as_deref().unwrap_or_default();
            !member.contains(['\n', '\t', '\u{202e}', '\u{200b}']) && row.detail.is_some()
        }),
        || format!("{rows:?}"),
    )
}

fn encoding(rig: &Rig) -> Result<()> {
    let more = group_of(&["zoë", "ロール", "chÃ«f"]);
    let mut synced = Synced::prepare(rig, "sync-latin1", &more, |plan| plan)?;
    let server = &mut synced.server;
    server.sql("CREATE DATABASE latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")?;
    server.configure(&[("aadauth.database", Some("latin1"))])?;
    server.sql_in("latin1", "CREATE EXTENSION aadauth")?;
    synced.enable()?;
    let mut superuser = synced.server.superuser_in("latin1")?;
    superuser.query("SET client_encoding = 'UTF8'")?;
    superuser.query("SELECT * FROM pgaadauth_sync_roles_for_group_members()")?;
    synced.map(&[NAMED])?;
    let rows = superuser.query(
        "SELECT member || ' ' || action FROM pgaadauth_sync_roles_for_group_members() ORDER BY action",
    )?;
    // The last would be "chëf" in UTF-8.
    let expected = [
        "zoë created",
        r"\u30ED\u30FC\u30EB name-unusable",
        "chÃ«f name-unusable",
    ];
    let is_there = |row: &&str| rows.iter().any(|found| found == row);
    ensure(rows.len() == 3 && expected.iter().all(is_there), || {
        format!("{rows:?}")
    })?;
    let members = superuser
        .query("SELECT member::regrole FROM pg_auth_members WHERE roleid = 'named'::regrole")?;
    ensure(members == ["\"zoë\""], || format!("{members:?}"))
}

fn twins(rig: &Rig) -> Result<()> {
    let synced = Synced::start(rig, "sync-twins", &group_of(&["same", "same", "same"]))?;
    synced.map(&[NAMED])?;
    for expected in [
        &[
            ("same", "created"),
            ("same", "name-taken"),
            ("same", "name-taken"),
        ][..],
        &[("same", "name-taken"), ("same", "name-taken")],
    ] {
        synced.sync_and_expect(expected)?;
        let mapped = synced
            .server
            .sql("SELECT objectid FROM pgaadauth_list_principals(false) WHERE rolname = 'same'")?;
        ensure(mapped == "ac000000-0000-4000-8000-000000000000", || mapped)?;
    }
    // By hand the second gets another name, and then the group role.
    rig.map(
        &synced.server,
        "other",
        "ac000000-0000-4000-8000-000000000001",
        "service",
    )?;
    synced.sync_and_expect(&[("other", "granted"), ("same", "name-taken")])?;
    let alice = synced.server.sql(&format!(
        "SELECT count(*) FROM pgaadauth_list_principals(false) WHERE objectid = '{ALICE_ID}'"
    ))?;
    ensure(alice == "0", || alice)
}

fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
