//! Who may make principals, of what, on a version where CREATEROLE is broad.

use pg_test::Result;
use pg_test::client::Printed;
use pg_test::server::Server;
use uuid::Uuid;

use crate::Test;
use crate::rig::{Person, Rig, ensure};

pub const TESTS: &[Test] = &[
    ("admins_make_principals", admins_make_principals),
    ("others_do_not", others_do_not),
    ("set_role_to_an_admin_confers_nothing", set_role),
    ("an_admin_may_not_touch_privileged_roles", privileged_roles),
    (
        "an_admin_may_not_grant_the_servers_files_and_programs",
        server_roles,
    ),
    ("an_admin_reads_and_writes_no_audit", no_audit),
    ("an_admin_whose_label_lost_the_word_is_none", demoted),
    ("protected_roles_are_never_labeled", protected),
    ("an_admins_role_is_no_superuser", admin_rights),
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

/// On 15, CREATEROLE may grant itself any role that is no superuser's, but for the guard. A role that is a
/// member of an admin's role by other means may act as it, and still map nobody.
fn set_role(rig: &Rig) -> Result<()> {
    let (server, chief) = with_admin(rig, "set-role")?;
    server.sql("CREATE ROLE target LOGIN; CREATE ROLE maker LOGIN CREATEROLE PASSWORD 'secret'")?;
    let maker = rig.attempt(&server, "maker", "secret");
    let take = "GRANT chief TO maker";
    denied(&maker.psql("", take)?, take)?;
    server.sql(take)?;
    for sql in [create("x1"), label("target")] {
        let sql = format!("SET ROLE chief; {sql}");
        denied(&maker.psql("", &sql)?, &sql)?;
    }
    // Nor may an admin's session map roles after SET ROLE to another.
    server.sql("CREATE ROLE other CREATEROLE; GRANT other TO chief")?;
    let sql = format!("SET ROLE other; {}", create("x2"));
    denied(&run(rig, &server, &chief, &sql)?, &sql)?;
    // Nor does a SECURITY DEFINER function that an admin owns map roles for its callers.
    server.sql(
        "CREATE FUNCTION public.lend(sql text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
             AS $$ BEGIN EXECUTE sql; END $$;
         ALTER FUNCTION public.lend OWNER TO chief",
    )?;
    let sql = format!("SELECT public.lend($sql${}$sql$)", create("x3"));
    denied(&maker.psql("", &sql)?, &sql)
}

fn privileged_roles(rig: &Rig) -> Result<()> {
    let (server, chief) = with_admin(rig, "privileged")?;
    for attribute in ["SUPERUSER", "REPLICATION", "BYPASSRLS"] {
        let role = format!("has_{}", attribute.to_lowercase());
        server.sql(&format!("CREATE ROLE {role} LOGIN {attribute}"))?;
        let update = format!(
            "SELECT pgaadauth_update_principal_with_oid('{role}', '{}', 'user', false, false)",
            Uuid::new_v4()
        );
        for sql in [label(&role), update] {
            denied(&run(rig, &server, &chief, &sql)?, &sql)?;
        }
        // The superuser may.
        server.sql(&label(&role))?;
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
        "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'aadauth.sign_in_audit'::regclass",
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

fn demoted(rig: &Rig) -> Result<()> {
    let (server, chief) = with_admin(rig, "demoted")?;
    let token = rig.token_of(&chief)?;
    let (mut session, _) = rig.connect(&server, "chief")?;
    session.request()?;
    session.password(token.as_bytes())?;
    ensure(session.outcome()?.is_in(), || "not let in".to_owned())?;
    session.query(&create("while_admin"))?;
    server.sql(&format!(
        "SELECT pgaadauth_update_principal_with_oid('chief', '{}', 'user', false, false)",
        chief.object_id
    ))?;
    match session.query(&create("after")) {
        Ok(_) => Err("a former admin made a principal".into()),
        Err(error) => ensure(error.to_string().contains("permission denied"), || {
            error.to_string()
        }),
    }
}

fn protected(rig: &Rig) -> Result<()> {
    for role in [
        "postgres",
        "azure_pg_admin",
        "aadauth_auditor",
        "pg_monitor",
    ] {
        match rig.server.sql(&label(role)) {
            Ok(_) => return Err(format!("{role} was labeled").into()),
            Err(error) => ensure(
                error.to_string().contains("42501") || error.to_string().contains("42939"),
                || error.to_string(),
            )?,
        }
    }
    Ok(())
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
