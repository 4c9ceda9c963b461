//! What errors and notices about mappings advise: statements that do what is said when they are pasted.

use std::fs;

use pg_test::Result;
use pg_test::client::Printed;
use pg_test::document::block_with;
use pg_test::place::{major, source};
use uuid::Uuid;

use super::{
    ALICE, BOB, DENIED, Failure, ROOT_ADMIN, Session, TENANT, call, create, expect_logged, literal,
    no_internal, no_public, public, signed_in, start, update,
};
use crate::Test;
use crate::rig::{Rig, ensure};

pub const TESTS: &[Test] = &[
    ("types_may_be_in_capital_letters", types),
    (
        "a_role_that_exists_is_mapped_by_the_statement_in_the_hint",
        existing_role,
    ),
    ("a_mapped_roles_password_is_said_to_be_of_no_use", password),
    ("set_role_none_ends_a_role_that_was_set", set_role),
    (
        "an_admin_gets_the_role_by_the_statement_in_the_hint",
        administered,
    ),
    ("azures_setting_has_no_effect", azures_setting),
    (
        "an_admin_follows_the_document_about_principals",
        documented_statements,
    ),
];

fn types(rig: &Rig) -> Result<()> {
    let mut superuser = Session(rig.server.superuser()?);
    for (kind, label) in [
        ("User", "user"),
        ("GROUP", "group"),
        ("Service", "service"),
        ("sErViCe", "service"),
    ] {
        let (role, object_id) = (format!("type {kind}"), Uuid::new_v4().to_string());
        for verb in ["create", "update"] {
            superuser.run(&call(verb, &role, &object_id, kind, false, false))?;
            superuser.expect_labels(
                &role,
                &format!("aadauth,oid={object_id},type={label}"),
                &format!("type={label},oid={object_id},tenant_id={TENANT}"),
            )?;
        }
    }
    for word in ["ServicePrincipal", "user ", "Users", "üser", ""] {
        for verb in ["create", "update"] {
            let failure =
                superuser.refused(&call(verb, "x", ALICE, word, false, false), "22023")?;
            failure.expect_message(&format!("invalid object type \"{word}\""))?;
            failure.expect_in_hint("user, group or service")?;
            failure.expect_in_hint("service principals")?;
        }
    }
    superuser.run("CREATE ROLE typed")?;
    let label = public("typed", &format!("aadauth,oid={ALICE},type=User"));
    superuser.refused(&label, "22023").map(drop)
}

/// The statement that a hint ends with.
fn advised(failure: &Failure) -> Result<String> {
    let hint = failure.refusal.hint.as_deref().unwrap_or_default();
    let statement = hint.split_once('\n').map(|(advice, statement)| {
        // psql would take the statement for a part of a constant.
        (!advice.contains('\'')).then(|| statement.to_owned())
    });
    let no_statement = || format!("no statement: {:?}", failure.refusal);
    Ok(statement.flatten().ok_or_else(no_statement)?)
}

fn existing_role(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "existing")?;
    superuser.run("CREATE TABLE kept ()")?;
    for (name, number) in [("batch", 1), ("x'); DROP TABLE kept; --\"", 2), ("Ж", 3)] {
        let object_id = format!("6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e40{number}");
        superuser.run(&create(name, &object_id, "user", false, false))?;
        let again = create(name, &object_id, "service", false, true);
        let failure = superuser.refused(&again, "42710")?;
        failure.expect_message(&format!("role \"{name}\" already exists"))?;
        let statement = advised(&failure)?;
        let expected = format!("{};", update(name, &object_id, "service", false, true));
        ensure(statement == expected, || statement.clone())?;
        superuser.run(&statement)?;
        superuser.expect_labels(
            name,
            &format!("aadauth,oid={object_id},type=service,mfa"),
            &format!("type=service,oid={object_id},tenant_id={TENANT}"),
        )?;
        let by_name = format!(
            "SELECT pgaadauth_create_principal({}, true, false)",
            literal(name)
        );
        let statement = advised(&superuser.refused(&by_name, "42710")?)?;
        let expected = format!(
            "SECURITY LABEL FOR pgaadauth ON ROLE \"{}\" IS 'aadauth,admin';",
            name.replace('"', "\"\"")
        );
        ensure(statement.replace("batch", "\"batch\"") == expected, || {
            statement.clone()
        })?;
    }
    superuser.run("SELECT FROM kept")?;
    // A name that is not shown as it is would be another role's, or another statement.
    for (name, object_id) in [
        (r"back\u30ED", BOB),
        ("x\x1b[2K\rDROP TABLE kept; --", ALICE),
        ("in\u{200b}visible", ROOT_ADMIN),
    ] {
        let create = create(name, object_id, "user", false, false);
        superuser.run(&create)?;
        let failure = superuser.refused(&create, "42710")?;
        failure.expect_in_hint("pgaadauth_update_principal_with_oid")?;
        ensure(advised(&failure).is_err(), || {
            format!("{:?}", failure.refusal)
        })?;
    }
    Ok(())
}

fn password(rig: &Rig) -> Result<()> {
    const SECRET: &str = "not to be shown";
    const HIDDEN: &str = "not even logged";
    let person = rig.person(&rig.server, "given_password")?;
    rig.server.sql("CREATE ROLE keeps_password LOGIN")?;
    let as_superuser = |sql: &str| -> Result<Printed> {
        let mut psql = rig.server.client("psql")?;
        Ok(psql.args(["-X", "-c", sql]).output()?.into())
    };
    let itself = rig.attempt(&rig.server, "given_password", &rig.token_of(&person)?);
    let notice = "cannot sign in to this server with a password";
    for (printed, is_noted) in [
        (
            as_superuser(&format!("ALTER ROLE given_password PASSWORD '{SECRET}'"))?,
            true,
        ),
        // As psql's \password does.
        (
            as_superuser(
                "ALTER USER given_password PASSWORD 'SCRAM-SHA-256$4096:c2FsdA==$LW4Rn+Qd3Hgvvb3s4AYIxs9VRGG8FGI8A7Pq4+7oeLs=:zfnnGgZGMOXdmX1MrBvy5xBhFGmvaFLbtrgDwyoTfLw='",
            )?,
            true,
        ),
        (
            itself.psql(
                "",
                &format!("ALTER ROLE CURRENT_USER VALID UNTIL 'infinity' PASSWORD '{SECRET}'"),
            )?,
            false,
        ),
        (
            itself.psql("", &format!("ALTER ROLE CURRENT_USER PASSWORD '{SECRET}'"))?,
            true,
        ),
        (
            as_superuser("ALTER ROLE given_password VALID UNTIL 'infinity'")?,
            false,
        ),
        (
            as_superuser("ALTER ROLE given_password PASSWORD ''")?,
            false,
        ),
        (
            as_superuser("ALTER ROLE given_password PASSWORD NULL")?,
            false,
        ),
        (
            as_superuser(&format!("ALTER ROLE keeps_password PASSWORD '{SECRET}'"))?,
            false,
        ),
    ] {
        ensure(printed.error.contains(notice) == is_noted, || {
            format!("{is_noted}: {printed:?}")
        })?;
        ensure(!printed.error.contains(SECRET), || printed.error)?;
    }
    let count = rig.server.sql(
        "SELECT count(rolpassword) FROM pg_authid WHERE rolname IN ('given_password', 'keeps_password')",
    )?;
    ensure(count == "1", || count)?;
    // Nor as a function's statement, or in the log.
    let function =
        format!("DO $$ BEGIN EXECUTE 'ALTER ROLE given_password PASSWORD ''{HIDDEN}'''; END $$");
    let mut psql = rig.server.client("psql")?;
    let printed: Printed = psql
        .args(["-X", "-v", "SHOW_CONTEXT=always"])
        .args([
            "-c",
            "SET log_min_messages = notice; SET log_min_error_statement = notice",
        ])
        .args(["-c", &function])
        .args([
            "-c",
            &format!("ALTER ROLE given_password PASSWORD '{HIDDEN}'"),
        ])
        .output()?
        .into();
    ensure(printed.error.matches(notice).count() == 2, || {
        format!("{printed:?}")
    })?;
    ensure(!printed.error.contains(HIDDEN), || printed.error)?;
    let log = rig.server.log()?;
    ensure(log.contains(notice) && !log.contains(HIDDEN), || {
        "the log has the password".to_owned()
    })
}

fn set_role(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "set-role-none")?;
    superuser.make_admin()?;
    superuser.run(
        "CREATE ROLE app_owner; GRANT app_owner TO root_admin; ALTER ROLE root_admin SET role = app_owner",
    )?;
    let mut admin = signed_in(rig, &server)?;
    let map = create("carol", ALICE, "user", false, false);
    for change in ["SELECT 1", "RESET ROLE"] {
        admin.run(change)?;
        let failure = admin.refused(&map, DENIED)?;
        failure.expect_in_hint("SET ROLE NONE")?;
    }
    let failure = admin.refused(&format!("SELECT aadauth.revoke('{ALICE}')"), DENIED)?;
    failure.expect_in_hint("SET ROLE NONE")?;
    // It would not help who is no admin, nor in a function.
    superuser.run(
        "CREATE ROLE clerk; GRANT app_owner TO clerk; ALTER ROLE clerk SET role = app_owner",
    )?;
    superuser.run(
        "CREATE FUNCTION lend() RETURNS text SECURITY DEFINER LANGUAGE sql
         AS $$ SELECT pgaadauth_create_principal('x', false, false) $$; ALTER FUNCTION lend OWNER TO app_owner",
    )?;
    admin.run("SET ROLE NONE")?;
    for failure in [
        admin.refused("SELECT lend()", DENIED)?,
        superuser.refused(
            &format!("SET SESSION AUTHORIZATION clerk; SET ROLE app_owner; {map}"),
            DENIED,
        )?,
    ] {
        failure.expect_in_hint("Sign in as a superuser")?;
    }
    admin.run(&map)
}

/// On 15, CREATEROLE is enough.
fn administered(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "not-administered")?;
    superuser.make_admin()?;
    superuser.run(
        "CREATE ROLE deploy LOGIN CREATEROLE; CREATE ROLE \"Odd's role\";
         CREATE ROLE reader IN ROLE pg_read_all_data",
    )?;
    superuser.as_session_of("deploy", |deploy| deploy.run("CREATE ROLE app"))?;
    if major()? != "15" {
        // It leaves a membership without any right.
        superuser.run(
            "GRANT app TO azure_pg_admin WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;
             REVOKE ADMIN OPTION FOR app FROM azure_pg_admin",
        )?;
    }
    let mut admin = signed_in(rig, &server)?;
    let label = |role: &str| public(role, &format!("aadauth,oid={ALICE},type=user"));
    let refused = "must be superuser to change the Entra mapping of role \"reader\"";
    for change in [label("reader"), no_internal("reader")] {
        admin.refused(&change, DENIED)?.expect_message(refused)?;
    }
    if major()? == "15" {
        admin.run(&label("app"))?;
        return admin.run(&update("Odd's role", BOB, "user", false, false));
    }
    let mut statements = Vec::new();
    for (change, role) in [
        (label("app"), "app"),
        (no_public("app"), "app"),
        (
            update("Odd's role", BOB, "user", false, false),
            "Odd's role",
        ),
    ] {
        let failure = admin.refused(&change, DENIED)?;
        failure.expect_message(&format!(
            "must have ADMIN OPTION on role \"{role}\" to change its Entra mapping"
        ))?;
        statements.push(advised(&failure)?);
    }
    admin
        .refused(&no_public("pg_monitor"), DENIED)?
        .expect_in_message("cannot be mapped")?;
    // It would not help who may map nothing.
    superuser.run("CREATE ROLE friend CREATEROLE")?;
    superuser.as_session_of("friend", |friend| {
        let failure = friend.refused(&label("app"), DENIED)?;
        ensure(failure.refusal.hint.is_none(), || {
            format!("{:?}", failure.refusal)
        })
    })?;
    let [app, _, odd] = statements.try_into().map_err(|_| "three statements")?;
    superuser.as_session_of("deploy", |deploy| deploy.run(&app))?;
    superuser.run(&odd)?;
    admin.run(&label("app"))?;
    admin.run(&update("Odd's role", BOB, "user", false, false))?;
    // What they got is to administer the role, not its rights.
    admin.refused("SET ROLE app", DENIED).map(drop)
}

/// Azure's scripts set it. In a file it would keep the server from starting again.
fn azures_setting(rig: &Rig) -> Result<()> {
    const SHOW: &str = "SHOW aad_validate_oids_in_tenant";
    let (mut server, mut superuser) = start(rig, "azures-setting")?;
    superuser.run("CREATE ROLE anybody")?;
    superuser.as_session_of("anybody", |anybody| {
        anybody.expect(SHOW, "on")?;
        anybody.run("SET aad_validate_oids_in_tenant = off")?;
        anybody.expect(SHOW, "off")
    })?;
    superuser.run(&create("set_off", BOB, "user", false, false))?;
    let failure = superuser.refused(
        "ALTER SYSTEM SET aad_validate_oids_in_tenant = off",
        "55P02",
    )?;
    failure.expect_in_message("cannot be changed")?;
    server.configure(&[("aad_validate_oids_in_tenant", Some("off"))])?;
    Session(server.superuser()?).expect(SHOW, "on")?;
    let refused = "Remove it from the file: the server does not start with it.";
    expect_logged(&server, refused)?;
    let finding = server.sql(
        "SELECT code, remedy FROM aadauth.check_configuration() WHERE problem ~ 'aad_validate_oids_in_tenant'",
    )?;
    ensure(finding == format!("setting-refused|{refused}"), || {
        finding.clone()
    })
}

/// Creating a role or mapping it again, and dropping it, by the statements of docs/principals.md and an Entra admin who has
/// not created the role.
fn documented_statements(rig: &Rig) -> Result<()> {
    let text = fs::read_to_string(source().join("docs/principals.md"))?;
    let create_or_map = block_with(&text, "DO $$")?.text;
    let drop_role = block_with(&text, "ALTER ROLE nightly NOLOGIN")?.text;
    let (server, mut superuser) = start(rig, "documented")?;
    superuser.make_admin()?;
    superuser.run(&create("clerk", ALICE, "user", false, false))?;
    superuser.run(&create("nightly", BOB, "user", false, true))?;
    superuser.run("CREATE TABLE owned (); ALTER TABLE owned OWNER TO nightly; GRANT CREATE ON SCHEMA public TO clerk")?;
    let mut admin = signed_in(rig, &server)?;
    for _ in 0..2 {
        admin.run(&create_or_map)?;
        superuser.expect(
            "SELECT concat_ws(' ', rolname, principaltype, objectid, ismfa)
             FROM pgaadauth_list_principals(false) WHERE rolname = 'nightly'",
            "nightly service 0a7b0000-0000-4000-8000-000000000031 0",
        )?;
    }
    for statement in drop_role
        .split_inclusive(';')
        .filter(|text| !text.trim().is_empty())
    {
        admin.run(statement)?;
    }
    superuser.expect(
        "SELECT concat_ws(' ', relowner::regrole, to_regrole('nightly') IS NULL) FROM pg_class WHERE relname = 'owned'",
        "clerk t",
    )?;
    admin.run(&create_or_map)
}
