//! What an Entra admin may do, and nobody else, by a client that signs in for each statement.

use std::thread;

use pg_test::Result;
use pg_test::client::Printed;
use pg_test::place::major;
use pg_test::server::Server;
use pg_test::wait::until;
use uuid::Uuid;

use crate::Test;
use crate::rig::{Person, Rig, ensure};

pub const TESTS: &[Test] = &[
    ("admins_make_principals", admins_make_principals),
    ("others_do_not", others_do_not),
    (
        "an_admin_may_not_grant_the_servers_files_and_programs",
        server_roles,
    ),
    ("an_admin_reads_and_writes_no_audit", no_audit),
    ("an_admins_role_is_no_superuser", admin_rights),
    ("an_admin_gives_an_application_its_database", application),
    ("azures_rights_are_given_on_request", azure_rights),
    (
        "azures_rights_take_and_add_nothing_else",
        azure_rights_beside,
    ),
    (
        "nor_a_role_that_becomes_privileged_meanwhile",
        azure_rights_meanwhile,
    ),
];

/// A server with an admin, who signs in with a token.
fn with_admin(rig: &Rig, name: &str) -> Result<(Server, Person)> {
    let server = rig.server(name, |plan| plan)?;
    let object_id = Uuid::new_v4();
    server.sql(&format!(
        "SELECT pgaadauth_create_principal_with_oid('chief', '{object_id}', 'user', true, false)"
    ))?;
    Ok((
        server,
        Person {
            role: "chief".to_owned(),
            object_id,
        },
    ))
}

/// Runs SQL in a session that was opened with a token.
fn run(rig: &Rig, server: &Server, person: &Person, sql: &str) -> Result<Printed> {
    rig.attempt(server, &person.role, &rig.token_of(person)?)
        .psql("", sql)
}

fn allowed(printed: &Printed, sql: &str) -> Result<()> {
    ensure(printed.success, || format!("{sql}: {}", printed.error))
}

fn denied(printed: &Printed, sql: &str) -> Result<()> {
    ensure(!printed.success, || format!("allowed: {sql}"))?;
    ensure(printed.error.contains("ERROR:  42501: "), || {
        format!("{sql}: failed for another reason: {}", printed.error)
    })
}

fn create(role: &str) -> String {
    format!(
        "SELECT pgaadauth_create_principal_with_oid('{role}', '{}', 'user', false, false)",
        Uuid::new_v4()
    )
}

fn label(role: &str) -> String {
    format!(
        "SECURITY LABEL FOR pgaadauth ON ROLE {role} IS 'aadauth,oid={},type=user'",
        Uuid::new_v4()
    )
}

fn admins_make_principals(rig: &Rig) -> Result<()> {
    let (server, chief) = with_admin(rig, "admins")?;
    for sql in [
        create("made_by_function"),
        format!(
            "CREATE ROLE made_by_label LOGIN; {}",
            label("made_by_label")
        ),
        format!(
            "SELECT pgaadauth_create_principal_with_oid('a group', '{}', 'group', true, false)",
            Uuid::new_v4()
        ),
        format!(
            "SELECT pgaadauth_create_principal_with_oid('a service', '{}', 'service', true, false)",
            Uuid::new_v4()
        ),
        "DROP ROLE made_by_function".to_owned(),
    ] {
        allowed(&run(rig, &server, &chief, &sql)?, &sql)?;
    }
    // Every type can be an admin, and an admin's right comes from the label, whatever role wrote it.
    let second = Person {
        role: "second".to_owned(),
        object_id: Uuid::new_v4(),
    };
    let sql = format!(
        "SELECT pgaadauth_create_principal_with_oid('second', '{}', 'user', true, false)",
        second.object_id
    );
    allowed(&run(rig, &server, &chief, &sql)?, &sql)?;
    let sql = create("made_by_the_second");
    allowed(&run(rig, &server, &second, &sql)?, &sql)
}

fn others_do_not(rig: &Rig) -> Result<()> {
    let (server, _) = with_admin(rig, "others")?;
    let plain = rig.person(&server, "plain")?;
    server.sql("CREATE ROLE target LOGIN; CREATE ROLE maker LOGIN CREATEROLE PASSWORD 'secret'")?;
    for sql in [create("x1"), label("target"), label("plain")] {
        denied(&run(rig, &server, &plain, &sql)?, &sql)?;
    }
    server.sql("ALTER ROLE plain CREATEROLE")?;
    for sql in [
        create("x2"),
        label("target"),
        "SECURITY LABEL FOR \"pgaadauth-int\" ON ROLE target IS NULL".to_owned(),
    ] {
        denied(&run(rig, &server, &plain, &sql)?, &sql)?;
        denied(
            &rig.attempt(&server, "maker", "secret").psql("", &sql)?,
            &sql,
        )?;
    }
    Ok(())
}

fn server_roles(rig: &Rig) -> Result<()> {
    let (server, chief) = with_admin(rig, "server-roles")?;
    let plain = rig.person(&server, "plain")?;
    server.sql("ALTER ROLE plain CREATEROLE")?;
    for role in [
        "pg_execute_server_program",
        "pg_read_server_files",
        "pg_write_server_files",
        "aadauth_auditor",
    ] {
        for (person, name) in [(&chief, "chief"), (&plain, "plain")] {
            let sql = format!("GRANT {role} TO {name}");
            denied(&run(rig, &server, person, &sql)?, &sql)?;
            // Nor hidden in other statements.
            let sql = format!("DO $$ BEGIN EXECUTE 'GRANT {role} TO {name}'; END $$");
            denied(&run(rig, &server, person, &sql)?, &sql)?;
            let sql = format!("CREATE ROLE sly_{name} ROLE {name} IN ROLE {role}");
            denied(&run(rig, &server, person, &sql)?, &sql)?;
        }
    }
    let sql = "GRANT azure_pg_admin TO plain";
    denied(&run(rig, &server, &plain, sql)?, sql)?;
    let members = server.sql(
        "SELECT count(*) FROM pg_auth_members
         WHERE roleid::regrole::text ~ '^(pg_execute|pg_read_server|pg_write_server|aadauth_auditor)'
           AND member::regrole::text IN ('chief', 'plain', 'sly_chief', 'sly_plain')",
    )?;
    ensure(members == "0", || format!("{members} were granted"))
}

/// On 15, CREATEROLE grants itself the roles that read and write every table; the audit's policies
/// stand against them.
fn no_audit(rig: &Rig) -> Result<()> {
    const COUNT: &str = "SELECT count(*) FROM aadauth.sign_in_audit";
    let (server, chief) = with_admin(rig, "no-audit")?;
    let sign_in = rig.accepted(&server, "chief", &rig.token_of(&chief)?)?;
    rig.event(&server, &sign_in.mark)?;
    let grant = "GRANT pg_read_all_data, pg_write_all_data TO chief";
    denied(&run(rig, &server, &chief, grant)?, grant)?;
    server.sql(grant)?;
    let printed = run(rig, &server, &chief, COUNT)?;
    allowed(&printed, COUNT)?;
    ensure(printed.output == "0", || {
        format!("an admin sees {} events", printed.output)
    })?;
    // Nor around the table, in the partition of a week.
    let week = server.sql(
        "SELECT min(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'aadauth.sign_in_audit'::regclass",
    )?;
    ensure(week.starts_with("aadauth.sign_in_audit_"), || week.clone())?;
    let printed = run(
        rig,
        &server,
        &chief,
        &format!("SELECT count(*) FROM {week}"),
    )?;
    ensure(printed.output == "0", || {
        format!("an admin sees {} events of a week", printed.output)
    })?;
    for table in ["aadauth.sign_in_audit", &week] {
        for sql in [
            format!(
                "INSERT INTO {table} (event_id, occurred_at, role, outcome, method, tls, backend_pid, decision_time, count)
                 VALUES (gen_random_uuid(), now(), 'x', 'refused', 'password', true, 1, '1 ms', 1)"
            ),
            format!("TRUNCATE {table}"),
            format!("DROP TABLE {table}"),
            format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"),
        ] {
            denied(&run(rig, &server, &chief, &sql)?, &sql)?;
        }
        // Nor are there fewer events than before.
        for sql in [
            format!("DELETE FROM {table}"),
            format!("UPDATE {table} SET role = 'nobody'"),
        ] {
            allowed(&run(rig, &server, &chief, &sql)?, &sql)?;
        }
    }
    let event = rig.event(&server, &sign_in.mark)?;
    ensure(event["role"] == "chief", || event.to_string())
}

fn admin_rights(rig: &Rig) -> Result<()> {
    let (server, _) = with_admin(rig, "admin-rights")?;
    let row = server.sql(
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolcanlogin,
                pg_has_role('chief', 'azure_pg_admin', 'MEMBER WITH ADMIN OPTION')
         FROM pg_roles WHERE rolname = 'chief'",
    )?;
    ensure(row == "f|t|t|f|f|t|t", || row.clone())?;
    let group = server.sql("SELECT rolcanlogin, rolsuper, rolcreaterole FROM pg_roles WHERE rolname = 'azure_pg_admin'")?;
    ensure(group == "f|f|f", || group.clone())
}

/// What Azure's administrators have beyond ours is given by one call of a superuser, but for what makes a role privileged.
fn azure_rights(rig: &Rig) -> Result<()> {
    const CALL: &str = "SELECT aadauth.grant_azure_rights()";
    let (server, chief) = with_admin(rig, "azure-rights")?;
    server.sql(
        "CREATE ROLE app; CREATE ROLE \"Odd role\"; CREATE ROLE files IN ROLE pg_read_server_files;
         CREATE ROLE boss SUPERUSER; CREATE ROLE copier REPLICATION; CREATE TABLE public.old ();
         ALTER TABLE public.old OWNER TO app; CREATE ROLE member; GRANT member TO azure_pg_admin",
    )?;
    if major()? != "15" {
        server.sql(
            "CREATE ROLE lent; GRANT lent TO app WITH ADMIN OPTION; GRANT lent TO azure_pg_admin GRANTED BY app",
        )?;
    }
    let create = "CREATE TABLE public.made ()";
    denied(&run(rig, &server, &chief, create)?, create)?;
    denied(&run(rig, &server, &chief, CALL)?, CALL)?;
    // Nor with what a superuser may grant by mistake.
    server.sql("GRANT EXECUTE ON FUNCTION aadauth.grant_azure_rights() TO chief")?;
    let refused = run(rig, &server, &chief, CALL)?;
    denied(&refused, CALL)?;
    ensure(refused.error.contains("must be superuser to call"), || {
        refused.error
    })?;
    let statements = server.sql(CALL)?;
    let mut expected = vec![
        "GRANT pg_monitor TO azure_pg_admin",
        "GRANT pg_signal_backend TO azure_pg_admin",
        "GRANT ALL ON SCHEMA public TO azure_pg_admin WITH GRANT OPTION",
    ];
    if major()? != "15" {
        expected.extend([
            "GRANT \"Odd role\" TO azure_pg_admin WITH ADMIN TRUE, INHERIT FALSE, SET FALSE",
            "GRANT app TO azure_pg_admin WITH ADMIN TRUE, INHERIT FALSE, SET FALSE",
            // What another role has granted goes with that role's own grant.
            "GRANT lent TO azure_pg_admin WITH ADMIN TRUE, INHERIT FALSE, SET FALSE",
            // It keeps INHERIT and SET.
            "GRANT member TO azure_pg_admin WITH ADMIN TRUE",
        ]);
    }
    let said: Vec<&str> = statements.lines().collect();
    ensure(said == expected, || statements.clone())?;
    let again = server.sql(CALL)?;
    ensure(again.is_empty(), || again)?;
    let inherits = server.sql("SELECT pg_has_role('azure_pg_admin', 'member', 'USAGE')")?;
    ensure(inherits == "t", || inherits)?;
    let plain = rig.person(&server, "plain")?;
    let token = rig.token_of(&plain)?;
    let mut session = rig.session(&server, &plain.role, &token)?;
    let end =
        "SELECT pg_terminate_backend((SELECT pid FROM pg_stat_activity WHERE usename = 'plain'))";
    allowed(&run(rig, &server, &chief, end)?, end)?;
    ensure(session.rows("SELECT 1").is_err(), || "goes on".into())?;
    for sql in [
        create,
        "SHOW data_directory",
        "GRANT app TO chief; REASSIGN OWNED BY app TO chief",
    ] {
        allowed(&run(rig, &server, &chief, sql)?, sql)?;
    }
    for role in ["files", "copier"] {
        let sql = format!("GRANT {role} TO chief");
        denied(&run(rig, &server, &chief, &sql)?, &sql)?;
    }
    // A role that becomes privileged is taken back.
    server.sql("ALTER ROLE app REPLICATION")?;
    let sql = "GRANT app TO chief WITH ADMIN OPTION";
    denied(&run(rig, &server, &chief, sql)?, sql)
}

/// As docs/rights.md has it.
fn application(rig: &Rig) -> Result<()> {
    let (server, chief) = with_admin(rig, "admins-application")?;
    server.sql("GRANT pg_monitor TO azure_pg_admin WITH ADMIN OPTION")?;
    let run_in = |database: &str, sql: &str| -> Result<()> {
        let mut attempt = rig.attempt(&server, &chief.role, &rig.token_of(&chief)?);
        attempt.database = database.to_owned();
        allowed(&attempt.psql("", sql)?, sql)
    };
    run_in(
        "postgres",
        "CREATE ROLE readers; CREATE ROLE app LOGIN; GRANT pg_monitor TO app",
    )?;
    let owned = "CREATE DATABASE appdb OWNER app";
    denied(&run(rig, &server, &chief, owned)?, owned)?;
    run_in("postgres", "GRANT app TO CURRENT_USER")?;
    run_in("postgres", owned)?;
    run_in(
        "appdb",
        "ALTER DEFAULT PRIVILEGES FOR ROLE app GRANT SELECT ON TABLES TO readers",
    )?;
    let granted = server.sql_in(
        "appdb",
        "SET ROLE app; CREATE SCHEMA own; CREATE TABLE own.notes ();
         SELECT has_table_privilege('readers', 'own.notes', 'SELECT')",
    )?;
    ensure(granted == "t", || granted)?;
    run_in("appdb", "DROP OWNED BY app")?;
    run_in("postgres", "DROP DATABASE appdb")?;
    run_in("postgres", "DROP ROLE app")
}

/// What a superuser has granted for use stays, and a predefined role that has become privileged is left out.
fn azure_rights_beside(rig: &Rig) -> Result<()> {
    let (server, chief) = with_admin(rig, "azure-rights-beside")?;
    server.sql(
        "CREATE ROLE used; GRANT used TO azure_pg_admin; GRANT pg_read_all_data TO pg_monitor;
         CREATE TABLE public.secret ()",
    )?;
    let statements = server.sql("SELECT aadauth.grant_azure_rights()")?;
    ensure(!statements.contains("pg_monitor"), || statements.clone())?;
    let sql = "SELECT FROM public.secret";
    denied(&run(rig, &server, &chief, sql)?, sql)?;
    let sql = "SET ROLE used";
    allowed(&run(rig, &server, &chief, sql)?, sql)
}

fn azure_rights_meanwhile(rig: &Rig) -> Result<()> {
    let (server, _) = with_admin(rig, "azure-rights-meanwhile")?;
    server.sql("CREATE ROLE app; CREATE ROLE used; GRANT used TO azure_pg_admin")?;
    let (mut other, mut caller) = (server.superuser()?, server.superuser()?);
    other.query("BEGIN")?;
    other.query("ALTER ROLE app REPLICATION")?;
    other.query("ALTER ROLE used REPLICATION")?;
    thread::scope(|scope| {
        let call = scope.spawn(move || {
            caller
                .query("SELECT aadauth.grant_azure_rights()")
                .map_err(|error| error.to_string())
        });
        until("the call waits, or has ended", || {
            let waits = server.sql(
                "SELECT count(*) > 0 FROM pg_stat_activity
                 WHERE query = 'SELECT aadauth.grant_azure_rights()' AND wait_event_type = 'Lock'",
            )?;
            Ok((waits == "t" || call.is_finished()).then_some(()))
        })?;
        other.query("COMMIT")?;
        call.join().map_err(|_| "the call")??;
        let held = server.sql(
            "SELECT count(*) FROM pg_auth_members
             WHERE member = 'azure_pg_admin'::regrole AND roleid IN ('app'::regrole, 'used'::regrole)",
        )?;
        ensure(held == "0", || held)
    })
}
