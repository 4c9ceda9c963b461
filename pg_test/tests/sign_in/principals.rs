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
    ("update_rebinds_and_keeps_grants", update),
    ("the_shim_extension", shim),
    (
        "other_databases_have_the_functions_with_the_extension",
        other_database,
    ),
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

fn shim(rig: &Rig) -> Result<()> {
    let server = rig.start_plan(rig.plan("shim")?)?;
    server.sql("CREATE EXTENSION IF NOT EXISTS pgaadauth CASCADE")?;
    let both = server.sql("SELECT string_agg(extname, ',' ORDER BY extname) FROM pg_extension WHERE extname LIKE '%aadauth'")?;
    ensure(both == "aadauth,pgaadauth", || both)?;
    server
        .sql("DROP EXTENSION pgaadauth; DROP EXTENSION aadauth CASCADE; CREATE EXTENSION aadauth")
        .map(drop)
}

/// What docs/differences-from-azure.md says of the functions in other databases.
fn other_database(rig: &Rig) -> Result<()> {
    const EXTENSION: &str = "CREATE EXTENSION IF NOT EXISTS pgaadauth";
    let server = rig.server("other-database", |plan| plan)?;
    server.sql("CREATE DATABASE other")?;
    server.sql("CREATE ROLE maker")?;
    let create = format!(
        "SELECT pgaadauth_create_principal_with_oid('elsewhere', '{}', 'user', false, false)",
        Uuid::new_v4()
    );
    for (statement, expected) in [
        (create.as_str(), "does not exist"),
        (EXTENSION, "required extension \"aadauth\" is not installed"),
        (
            &format!(
                "GRANT CREATE ON DATABASE other TO maker; SET ROLE maker; {EXTENSION} CASCADE"
            ),
            "Must be superuser to create this extension",
        ),
    ] {
        let error = server.sql_in("other", statement).err();
        let error = error.map(|error| error.to_string()).unwrap_or_default();
        ensure(error.contains(expected), || format!("{statement}: {error}"))?;
    }
    server.sql_in("other", &format!("RESET ROLE; {EXTENSION} CASCADE"))?;
    server.sql_in("other", &create)?;
    let listed =
        server.sql("SELECT string_agg(rolname, ',') FROM pgaadauth_list_principals(false)")?;
    ensure(listed == "elsewhere", || listed)
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
        .filter(|line| !creates_role_that_is_there(line))
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

/// Whether a line of a dump creates a role that a server with the extension has.
pub fn creates_role_that_is_there(line: &str) -> bool {
    let there = [
        "postgres",
        "azure_pg_admin",
        "aadauth_auditor",
        "aadauth_monitor",
        "aadauth_pooler",
    ];
    there
        .iter()
        .any(|role| line == format!("CREATE ROLE {role};"))
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
