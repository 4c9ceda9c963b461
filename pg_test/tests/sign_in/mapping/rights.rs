//! Which sessions may map roles, and which roles.

use pg_test::Result;
use pg_test::place::major;

use super::{
    ALICE, BOB, DENIED, ROOT_ADMIN, Session, TENANT, create, internal, literal, no_internal,
    no_public, public, signed_in, signed_in_for, start, update,
};
use crate::Test;
use crate::audit_table::await_weeks;
use crate::rig::Rig;

pub const TESTS: &[Test] = &[
    (
        "sessions_that_may_not_map_get_azures_text",
        sessions_that_may_not,
    ),
    ("createrole_confers_nothing", createrole),
    ("a_superuser_gives_it_up_with_set_role", set_role),
    ("security_definer_lends_it_to_nobody", security_definer),
    ("an_entra_admin_may_as_themselves", themselves),
    (
        "an_entra_admin_with_a_password_session_may_not",
        without_token,
    ),
    ("an_entra_admin_may_not_as_another", as_another),
    ("functions_of_an_entra_admin_lend_nothing", lent_by_admins),
    (
        "another_session_user_is_not_the_entra_admin",
        another_session_user,
    ),
    ("an_admin_ends_with_the_label", without_label),
    (
        "admins_leave_each_others_mapping_alone",
        each_others_mapping,
    ),
    ("system_roles_are_mapped_by_nobody", system_roles),
    ("only_a_superuser_maps_privileged_roles", privileged_roles),
    ("the_audit_is_for_auditors", audit),
];

/// A function that runs what it is given with the rights of its owner.
const LEND: &str =
    "CREATE FUNCTION lend(statement text) RETURNS void SECURITY DEFINER LANGUAGE plpgsql
     AS $$ BEGIN EXECUTE statement; END $$";

fn create_carol() -> String {
    create("carol", ALICE, "user", false, false)
}

fn lend(statement: &str) -> String {
    format!("SELECT lend({})", literal(statement))
}

/// Everything that changes a mapping.
fn changes() -> [String; 8] {
    [
        create_carol(),
        update("carol", ALICE, "user", false, false),
        "SELECT pgaadauth_create_principal('carol', false, false)".to_owned(),
        "SELECT * FROM pgaadauth_sync_roles_for_group_members()".to_owned(),
        public("carol", &format!("aadauth,oid={ALICE},type=user")),
        no_public("carol"),
        internal(
            "carol",
            &format!("type=user,oid={ALICE},tenant_id={TENANT}"),
        ),
        no_internal("carol"),
    ]
}

fn all_denied(session: &mut Session) -> Result<()> {
    all_denied_with(session, "Entra")
}

fn all_denied_with(session: &mut Session, hint: &str) -> Result<()> {
    for change in changes() {
        session.refused(&change, DENIED)?.expect_in_hint(hint)?;
    }
    Ok(())
}

fn sessions_that_may_not(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "others")?;
    superuser.run("CREATE ROLE somebody")?;
    superuser.as_session_of("somebody", |somebody| {
        for (function, arguments) in [
            ("pgaadauth_create_principal", "'x', false, false"),
            (
                "pgaadauth_create_principal_with_oid",
                "'x', 'x', 'x', false, false",
            ),
            (
                "pgaadauth_update_principal_with_oid",
                "'x', 'x', 'x', false, false",
            ),
            ("pgaadauth_sync_roles_for_group_members", ""),
        ] {
            let failure = somebody.failure(&format!("SELECT {function}({arguments})"))?;
            failure.expect_message(&format!("permission denied for function {function}"))?;
        }
        Ok(())
    })
}

fn createrole(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "createrole")?;
    superuser.run("CREATE ROLE carol; CREATE ROLE clerk CREATEROLE")?;
    superuser.make_admin()?;
    // Since 16 PostgreSQL asks for this first.
    superuser.run("GRANT carol TO clerk, root_admin WITH ADMIN OPTION")?;
    superuser.as_session_of("clerk", all_denied)?;
    // Nor does the membership it can give itself on 15.
    superuser.run("GRANT root_admin TO clerk")?;
    superuser.as_session_of("clerk", |clerk| {
        clerk.run("SET ROLE root_admin")?;
        all_denied(clerk)?;
        clerk.run("RESET ROLE")
    })
}

fn set_role(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "set-role")?;
    superuser.run(
        "CREATE ROLE carol; CREATE ROLE clerk CREATEROLE; GRANT carol TO clerk WITH ADMIN OPTION",
    )?;
    superuser.run("SET ROLE clerk")?;
    all_denied_with(&mut superuser, "SET ROLE NONE")?;
    superuser.run("RESET ROLE")?;
    superuser.run(&public("carol", &format!("aadauth,oid={ALICE},type=user")))
}

fn security_definer(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "definer")?;
    superuser.run("CREATE ROLE carol; CREATE ROLE somebody CREATEROLE")?;
    superuser.run(LEND)?;
    superuser.as_session_of("somebody", |somebody| {
        for change in changes() {
            let failure = somebody.refused(&lend(&change), DENIED)?;
            failure.expect_in_hint("Entra")?;
        }
        Ok(())
    })?;
    // Nor does the function of an admin, in a superuser's session.
    superuser.make_admin()?;
    superuser.run(
        "GRANT carol TO root_admin WITH ADMIN OPTION; ALTER FUNCTION lend OWNER TO root_admin",
    )?;
    let failure = superuser.refused(&lend(&create_carol()), DENIED)?;
    failure.expect_in_hint("Entra")
}

fn themselves(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "admin")?;
    superuser.make_admin()?;
    let mut admin = signed_in(rig, &server)?;
    admin.run(&create_carol())?;
    superuser.expect_labels(
        "carol",
        &format!("aadauth,oid={ALICE},type=user"),
        &format!("type=user,oid={ALICE},tenant_id={TENANT}"),
    )?;
    admin.run(&no_public("carol"))
}

/// One that was opened before the role was mapped.
fn without_token(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "password")?;
    superuser.run(
        "CREATE ROLE carol; CREATE ROLE root_admin LOGIN PASSWORD 'secret';
         GRANT carol TO root_admin WITH ADMIN OPTION",
    )?;
    let mut session = Session(rig.session(&server, "root_admin", "secret")?);
    superuser.run(&update("root_admin", ROOT_ADMIN, "user", true, false))?;
    all_denied(&mut session)
}

fn as_another(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "as-another")?;
    superuser.make_admin()?;
    superuser.run(
        "CREATE ROLE carol; GRANT carol TO root_admin WITH ADMIN OPTION;
         CREATE ROLE other CREATEROLE; GRANT carol TO other WITH ADMIN OPTION;
         GRANT other TO root_admin",
    )?;
    superuser.run(&public(
        "other",
        &format!("aadauth,oid={BOB},type=user,admin"),
    ))?;
    let mut admin = signed_in(rig, &server)?;
    admin.run("SET ROLE other")?;
    all_denied_with(&mut admin, "SET ROLE NONE")
}

fn lent_by_admins(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "lent")?;
    superuser.make_admin()?;
    superuser.run("CREATE ROLE other CREATEROLE")?;
    superuser.run(LEND)?;
    superuser.run("ALTER FUNCTION lend OWNER TO root_admin")?;
    // In a session that a superuser made another's, and in the admin's own.
    for mut session in [
        signed_in_for(rig, &server, &mut superuser, "other")?,
        signed_in(rig, &server)?,
    ] {
        let failure = session.refused(&lend(&create_carol()), DENIED)?;
        failure.expect_in_hint("Entra")?;
    }
    Ok(())
}

fn another_session_user(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "session-user")?;
    superuser.make_admin()?;
    superuser.run(
        "CREATE ROLE other CREATEROLE; GRANT root_admin TO other; CREATE ROLE carol;
         GRANT carol TO root_admin, other WITH ADMIN OPTION",
    )?;
    // Labeled an admin as well, but not the role that signed in to this backend.
    superuser.run(&public(
        "other",
        &format!("aadauth,oid={BOB},type=user,admin"),
    ))?;
    let mut other = signed_in_for(rig, &server, &mut superuser, "other")?;
    all_denied(&mut other)?;
    other.run("SET ROLE root_admin")?;
    all_denied(&mut other)
}

fn without_label(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "label")?;
    superuser.make_admin()?;
    superuser.run("CREATE ROLE carol; GRANT carol TO root_admin WITH ADMIN OPTION")?;
    let mut admin = signed_in(rig, &server)?;
    admin.run(&no_public("carol"))?;
    let label = format!("aadauth,oid={ROOT_ADMIN},type=user");
    for no_more in [public("root_admin", &label), no_public("root_admin")] {
        superuser.run(&no_more)?;
        // Which the role lost with the label.
        superuser.run("ALTER ROLE root_admin CREATEROLE")?;
        all_denied(&mut admin)?;
    }
    // Labels that disagree are no admin's either.
    superuser.run(&public("root_admin", &format!("{label},admin")))?;
    superuser.run("SET allow_system_table_mods = on")?;
    superuser.run(
        "UPDATE pg_shseclabel SET label = replace(label, ',admin', '')
         WHERE provider = 'pgaadauth-int' AND objoid = 'root_admin'::regrole",
    )?;
    all_denied(&mut admin)
}

/// Since 16 it is PostgreSQL that refuses the labels: they require ADMIN OPTION, which no role has on itself.
fn each_others_mapping(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "each-other")?;
    superuser.make_admin()?;
    superuser.run("CREATE ROLE other CREATEROLE CREATEDB")?;
    superuser.run(&public(
        "other",
        &format!("aadauth,oid={BOB},type=user,admin"),
    ))?;
    let mut admin = signed_in(rig, &server)?;
    for role in ["other", "root_admin"] {
        for change in [
            no_public(role),
            public(role, &format!("aadauth,oid={ALICE},type=user,admin")),
            internal(role, &format!("type=user,oid={ALICE},tenant_id={TENANT}")),
            update(role, ALICE, "user", false, false),
        ] {
            let failure = admin.refused(&change, DENIED)?;
            if major()? == "15" {
                failure.expect_message(&format!(
                    "must be superuser to change the Entra mapping of admin \"{role}\""
                ))?;
            }
        }
    }
    admin.run(&create("third", ALICE, "user", true, false))?;
    superuser.run(&no_public("other"))
}

fn system_roles(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "system-roles")?;
    // The bootstrap superuser.
    superuser.expect("SELECT rolname FROM pg_roles WHERE oid = 10", "postgres")?;
    for role in [
        "pg_monitor",
        "pg_execute_server_program",
        "azure_pg_admin",
        "aadauth_auditor",
        "postgres",
    ] {
        for change in [
            public(role, &format!("aadauth,oid={ALICE},type=user")),
            internal(role, &format!("type=user,oid={ALICE},tenant_id={TENANT}")),
            update(role, ALICE, "user", false, false),
        ] {
            let failure = superuser.refused(&change, DENIED)?;
            failure.expect_in_message("cannot be mapped")?;
        }
        superuser.run(&no_public(role))?;
    }
    Ok(())
}

fn privileged_roles(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "privileged")?;
    superuser.make_admin()?;
    superuser.run(
        "CREATE ROLE su SUPERUSER; CREATE ROLE middle; GRANT pg_execute_server_program TO middle",
    )?;
    let mut admin = signed_in(rig, &server)?;
    for (role, made) in [
        ("super", "CREATE ROLE super SUPERUSER"),
        ("repl", "CREATE ROLE repl REPLICATION"),
        ("rls", "CREATE ROLE rls BYPASSRLS"),
        ("reader", "CREATE ROLE reader IN ROLE pg_read_server_files"),
        ("writer", "CREATE ROLE writer IN ROLE pg_write_server_files"),
        ("runner", "CREATE ROLE runner NOINHERIT IN ROLE middle"),
        ("viewer", "CREATE ROLE viewer IN ROLE aadauth_auditor"),
        ("below", "CREATE ROLE below IN ROLE su"),
    ] {
        superuser.run(made)?;
        // Since 16 PostgreSQL asks for ADMIN OPTION first.
        if major()? != "15" {
            superuser.run(&format!(
                "GRANT {role} TO root_admin WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
            ))?;
        }
        let mapped = public(role, &format!("aadauth,oid={ALICE},type=user"));
        for change in [&mapped, &update(role, ALICE, "user", false, false)] {
            let failure = admin.refused(change, DENIED)?;
            // That of a superuser's role is PostgreSQL's own refusal.
            if role != "super" {
                failure.expect_in_message("must be superuser to change the Entra")?;
            }
        }
        superuser.run(&mapped)?;
        superuser.run(&no_public(role))?;
    }
    Ok(())
}

fn audit(rig: &Rig) -> Result<()> {
    const INSERT: &str = "INSERT INTO aadauth.sign_in_audit
        (event_id, occurred_at, role, outcome, method, tls, backend_pid, decision_time, count)
        VALUES (gen_random_uuid(), now(), 'x', 'refused', 'password', true, 1, '1 ms', 1)";
    const DELETE: &str = "DELETE FROM aadauth.sign_in_audit";
    const SEEN: &str = "SELECT concat_ws(' ', (SELECT count(*) FROM aadauth.sign_in_audit),
        (SELECT count(*) FROM aadauth.sign_ins))";
    // Without events of its own.
    let server = rig.server("mapping-audit", |plan| {
        plan.set("aadauth.audit_local_sign_ins", "off")
    })?;
    let mut superuser = Session(server.superuser()?);
    superuser.run(
        "CREATE ROLE clerk CREATEROLE; CREATE ROLE auditor IN ROLE aadauth_auditor;
         CREATE ROLE somebody; GRANT pg_read_all_data, pg_write_all_data TO clerk",
    )?;
    await_weeks(&server)?;
    superuser.run(INSERT)?;
    superuser.run("INSERT INTO aadauth.audit_spool VALUES (gen_random_uuid(), 1, 0)")?;
    superuser.as_session_of("clerk", |clerk| {
        clerk.expect(SEEN, "0 0")?;
        clerk.refused(INSERT, DENIED)?;
        clerk.refused("TRUNCATE aadauth.sign_in_audit", DENIED)?;
        clerk.run("UPDATE aadauth.sign_in_audit SET role = 'y'")?;
        clerk.run(DELETE)?;
        clerk.run("DELETE FROM aadauth.audit_spool")
    })?;
    superuser.as_session_of("auditor", |auditor| {
        auditor.expect(SEEN, "1 1")?;
        auditor.refused(INSERT, DENIED)?;
        auditor.refused(DELETE, DENIED).map(drop)
    })?;
    superuser.as_session_of("somebody", |somebody| {
        for relation in ["sign_in_audit", "sign_ins", "audit_spool"] {
            somebody.refused(&format!("SELECT FROM aadauth.{relation}"), DENIED)?;
        }
        Ok(())
    })?;
    superuser.expect(
        "SELECT role = 'x' FROM aadauth.sign_in_audit, aadauth.audit_spool WHERE read_to = 1",
        "t",
    )
}
