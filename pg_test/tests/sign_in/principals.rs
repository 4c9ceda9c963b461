//! Which principal a role belongs to: by object id, never by name.

use pg_test::Result;
use pg_test::process::checked;
use uuid::Uuid;

use crate::Test;
use crate::rig::{Rig, Subject, ensure};

pub const TESTS: &[Test] = &[
    ("same_name_new_object_id_is_refused", recreated),
    ("new_name_same_object_id_signs_in", renamed),
    ("a_service_by_its_application_id", application_id),
    ("a_guest", guest),
    ("one_role_per_object_id", one_role_each),
    ("update_rebinds_and_keeps_grants", update),
    ("by_name_says_that_there_is_no_directory", by_name),
    ("the_shim_extension", shim),
    ("the_list", list),
    ("labels_are_checked_where_they_are_set", label_grammar),
    ("a_dump_of_roles_can_be_replayed", dump),
    ("a_removed_label_takes_effect_at_once", label_removed),
];

fn recreated(rig: &Rig) -> Result<()> {
    let person = rig.person(&rig.server, "again@contoso.com")?;
    let named = |object_id| {
        rig.user("alice@contoso.com")
            .claim("upn", "again@contoso.com")
            .object_id(object_id)
    };
    rig.accepted(&rig.server, &person.role, &named(person.object_id).text()?)?;
    rig.refused(
        &rig.server,
        &person.role,
        &named(Uuid::new_v4()).text()?,
        "object-id-mismatch",
    )
}

fn renamed(rig: &Rig) -> Result<()> {
    let token = rig
        .user("alice@contoso.com")
        .claim("upn", "alice.married@contoso.com")
        .claim("unique_name", "alice.married@contoso.com")
        .claim("name", "Alice Married")
        .text()?;
    rig.accepted(&rig.server, "alice@contoso.com", &token)
        .map(drop)
}

fn application_id(rig: &Rig) -> Result<()> {
    let server = rig.server("application-id", |plan| plan)?;
    rig.map(
        &server,
        "by-application",
        "4e904700-0000-4000-8000-000000000020",
        "service",
    )?;
    let token = rig
        .emulator
        .token(Subject::ServicePrincipal("reporting".to_owned()))
        .text()?;
    rig.accepted(&server, "by-application", &token).map(drop)
}

fn guest(rig: &Rig) -> Result<()> {
    const GUEST: &str = "bob_fabrikam.com#EXT#@contoso.onmicrosoft.com";
    rig.map(
        &rig.server,
        GUEST,
        "b0b00000-0000-4000-8000-000000000002",
        "user",
    )?;
    rig.accepted(&rig.server, GUEST, &rig.user(GUEST).text()?)
        .map(drop)
}

fn one_role_each(rig: &Rig) -> Result<()> {
    let person = rig.person(&rig.server, "first")?;
    rig.server.sql("CREATE ROLE second LOGIN")?;
    for sql in [
        format!(
            "SELECT pgaadauth_create_principal_with_oid('third', '{}', 'user', false, false)",
            person.object_id
        ),
        format!(
            "SECURITY LABEL FOR pgaadauth ON ROLE second IS 'aadauth,oid={},type=user'",
            person.object_id
        ),
    ] {
        match rig.server.sql(&sql) {
            Ok(_) => return Err(format!("two roles for one object id: {sql}").into()),
            Err(error) => ensure(error.to_string().contains("first"), || {
                format!("names no role: {error}")
            })?,
        }
    }
    ensure(
        rig.server
            .sql("SELECT count(*) FROM pg_roles WHERE rolname = 'third'")?
            == "0",
        || "the role was left behind".to_owned(),
    )
}

fn update(rig: &Rig) -> Result<()> {
    let before = rig.person(&rig.server, "rebound")?;
    rig.server
        .sql("CREATE TABLE owned_by_rebound (); GRANT SELECT ON owned_by_rebound TO rebound")?;
    let object_id = Uuid::new_v4();
    rig.server.sql(&format!(
        "SELECT pgaadauth_update_principal_with_oid('rebound', '{object_id}', 'user', false, false)"
    ))?;
    rig.refused(
        &rig.server,
        "rebound",
        &rig.token_of(&before)?,
        "object-id-mismatch",
    )?;
    let token = rig.user("alice@contoso.com").object_id(object_id).text()?;
    let printed = rig
        .attempt(&rig.server, "rebound", &token)
        .psql("", "SELECT count(*) FROM owned_by_rebound")?;
    ensure(printed.output == "0", || format!("{printed:?}"))?;
    // A role that was none yet.
    rig.server.sql(&format!(
        "CREATE ROLE was_local LOGIN;
         SELECT pgaadauth_update_principal_with_oid('was_local', '{}', 'user', false, false)",
        Uuid::new_v4()
    ))?;
    Ok(())
}

fn by_name(rig: &Rig) -> Result<()> {
    match rig
        .server
        .sql("SELECT pgaadauth_create_principal('dora@contoso.com', false, false)")
    {
        Ok(answer) => Err(format!("made by name: {answer}").into()),
        Err(error) => ensure(
            error
                .to_string()
                .contains("pgaadauth_create_principal_with_oid"),
            || error.to_string(),
        ),
    }
}

fn shim(rig: &Rig) -> Result<()> {
    let server = rig.start_plan(rig.plan("shim")?)?;
    server.sql("CREATE EXTENSION IF NOT EXISTS pgaadauth CASCADE")?;
    let both = server.sql("SELECT string_agg(extname, ',' ORDER BY extname) FROM pg_extension WHERE extname LIKE '%aadauth'")?;
    ensure(both == "aadauth,pgaadauth", || both)?;
    server
        .sql("DROP EXTENSION pgaadauth; DROP EXTENSION aadauth CASCADE; CREATE EXTENSION aadauth")
        .map(drop)
}

fn list(rig: &Rig) -> Result<()> {
    let row = rig.server.sql(
        "SELECT rolname, principaltype, objectid, tenantid, ismfa, isadmin
         FROM pgaadauth_list_principals(false) WHERE rolname = 'carol@contoso.com'",
    )?;
    let tenant = pg_test::emulator::TENANT;
    ensure(
        row == format!("carol@contoso.com|user|ca401000-0000-4000-8000-000000000003|{tenant}|1|0"),
        || row.clone(),
    )?;
    let admins = rig
        .server
        .sql("SELECT count(*) FROM pgaadauth_list_principals(true) WHERE isadmin = 0")?;
    ensure(admins == "0", || admins.clone())
}

fn label_grammar(rig: &Rig) -> Result<()> {
    rig.server.sql("CREATE ROLE grammar LOGIN")?;
    for label in [
        "",
        "aad",
        "aadauth,oid=nonsense,type=user",
        "aadauth,oid=e15e0000-0000-4000-8000-0000000000e3",
        "aadauth,oid=e15e0000-0000-4000-8000-0000000000e3,type=robot",
        "aadauth,oid=e15e0000-0000-4000-8000-0000000000e3,type=user,database=x",
        "aadauth,oid=e15e0000-0000-4000-8000-0000000000e3,type=user,admin,admin",
    ] {
        let sql = format!("SECURITY LABEL FOR pgaadauth ON ROLE grammar IS '{label}'");
        fails(rig, &sql, "22023")?;
    }
    rig.server.sql("CREATE TABLE not_a_role ()")?;
    let on_table = "SECURITY LABEL FOR pgaadauth ON TABLE not_a_role IS 'aadauth'";
    fails(rig, on_table, "42809")
}

/// Expects a statement of the superuser's to fail with that SQLSTATE.
fn fails(rig: &Rig, sql: &str, sqlstate: &str) -> Result<()> {
    match rig.server.sql(sql) {
        Ok(_) => Err(format!("accepted: {sql}").into()),
        Err(error) => {
            let error = error.to_string();
            ensure(error.contains(&format!("ERROR:  {sqlstate}: ")), || {
                format!("{sql}: {error}")
            })
        }
    }
}

fn dump(rig: &Rig) -> Result<()> {
    let from = rig.server("dump-from", |plan| plan)?;
    let person = rig.person(&from, "travels")?;
    let group = Uuid::new_v4();
    from.sql(&format!(
        "SELECT pgaadauth_create_principal_with_oid('a group', '{group}', 'group', true, true)"
    ))?;
    let mut pg_dumpall = pg_test::process::as_postgres(pg_test::place::program("pg_dumpall")?)?;
    pg_dumpall
        .args(["--roles-only", "-U", "postgres", "-h"])
        .arg(from.socket());
    let dump = checked(pg_dumpall.args(["-p", &from.port().to_string()]))?;
    ensure(dump.contains("pgaadauth-int"), || dump.clone())?;
    // The roles that exist already, and the extension's own, are not created again.
    let dump: String = dump
        .lines()
        .filter(|line| {
            !["postgres", "azure_pg_admin", "aadauth_auditor"]
                .iter()
                .any(|role| *line == format!("CREATE ROLE {role};"))
        })
        .filter(|line| !line.starts_with('\\'))
        .map(|line| format!("{line}\n"))
        .collect();
    let to = rig.server("dump-to", |plan| plan)?;
    to.sql(&dump)?;
    let list = "SELECT array_agg(p ORDER BY rolname) FROM pgaadauth_list_principals(false) p";
    let (before, after) = (from.sql(list)?, to.sql(list)?);
    ensure(before == after, || format!("{before}\n{after}"))?;
    rig.accepted(&to, "travels", &rig.token_of(&person)?)
        .map(drop)
}

fn label_removed(rig: &Rig) -> Result<()> {
    let person = rig.person(&rig.server, "leaver")?;
    let token = rig.token_of(&person)?;
    rig.accepted(&rig.server, "leaver", &token)?;
    rig.server
        .sql("SECURITY LABEL FOR pgaadauth ON ROLE leaver IS NULL")?;
    let labels = rig
        .server
        .sql("SELECT count(*) FROM pg_shseclabel WHERE objoid = 'leaver'::regrole")?;
    ensure(labels == "0", || format!("{labels} labels are left"))?;
    let request = rig.connect(&rig.server, "leaver")?.0.request()?;
    ensure(matches!(request, pg_test::wire::Request::Sasl(_)), || {
        format!("{request:?}")
    })
}
