//! What role managers may not do to privileged roles and Entra admins. On PostgreSQL 15 CREATEROLE makes a role manager;
//! since 16 PostgreSQL also asks for ADMIN OPTION.

use pg_test::Result;
use pg_test::place::major;

use super::{ALICE, DENIED, Session, public, start};
use crate::Test;
use crate::rig::Rig;

pub const TESTS: &[Test] = &[
    (
        "createrole_gives_privileged_roles_no_members",
        privileged_roles_get_no_members,
    ),
    ("nested_statements_are_seen", nested_statements),
    (
        "createrole_alters_no_privileged_role",
        privileged_roles_stay,
    ),
    ("createrole_leaves_entra_admins_alone", entra_admins_stay),
    ("everything_else_stays_as_it_was", everything_else),
    (
        "a_privileged_role_still_looks_after_itself",
        looks_after_itself,
    ),
    ("superusers_are_not_in_its_way", superusers),
    ("errors_of_statements_keep_their_detail", detail),
];

const PROTECTED: [&str; 7] = [
    "pg_read_all_data",
    "pg_write_all_data",
    "pg_read_server_files",
    "pg_write_server_files",
    "pg_execute_server_program",
    "aadauth_auditor",
    "azure_pg_admin",
];

fn protected() -> Result<Vec<&'static str>> {
    let since_17 = major()?.parse::<u32>()? >= 17;
    let maintain = since_17.then_some("pg_maintain");
    Ok(PROTECTED.into_iter().chain(maintain).collect())
}

/// A privileged role of every kind that is not protected by name, and an ordinary one.
fn make_roles(session: &mut Session) -> Result<()> {
    session.run(
        "CREATE ROLE clerk CREATEROLE CREATEDB LOGIN; CREATE ROLE friend; CREATE ROLE ordinary;
         CREATE ROLE middle IN ROLE pg_execute_server_program;
         CREATE ROLE runner NOINHERIT IN ROLE middle; CREATE ROLE rls BYPASSRLS;
         CREATE ROLE su SUPERUSER; CREATE ROLE below IN ROLE su; CREATE ROLE guest IN ROLE rls",
    )?;
    let made = "ordinary, friend, middle, runner, rls, below, pg_monitor";
    let roles = format!("{made}, {}", protected()?.join(", "));
    may_administer(session, &roles, "clerk")
}

/// Since 16 PostgreSQL asks a role manager for ADMIN OPTION, as the creator of a role has it.
fn may_administer(session: &mut Session, roles: &str, manager: &str) -> Result<()> {
    if major()? == "15" {
        return Ok(());
    }
    session.run(&format!(
        "GRANT {roles} TO {manager} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
    ))
}

/// Expects the guard's refusal.
fn needs_superuser(session: &mut Session, sql: &str) -> Result<()> {
    let failure = session.refused(sql, DENIED)?;
    failure.expect_in_message("must be superuser to")?;
    let texts = [&failure.refusal.detail, &failure.refusal.hint];
    let are_there = texts
        .iter()
        .all(|text| text.as_ref().is_some_and(|text| !text.is_empty()));
    failure.expect("with DETAIL and HINT", are_there)
}

fn privileged_roles_get_no_members(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "members")?;
    make_roles(&mut superuser)?;
    superuser.as_session_of("clerk", |clerk| {
        for role in protected()?
            .into_iter()
            .chain(["middle", "runner", "rls", "below"])
        {
            for sql in [
                format!("GRANT {role} TO clerk"),
                format!("GRANT ordinary, {role} TO friend WITH ADMIN OPTION"),
                format!("CREATE ROLE new IN ROLE ordinary, {role}"),
                format!("CREATE USER new IN GROUP {role}"),
            ] {
                needs_superuser(clerk, &sql)?;
            }
        }
        for role in ["aadauth_auditor", "azure_pg_admin", "middle"] {
            needs_superuser(clerk, &format!("ALTER GROUP {role} ADD USER clerk"))?;
            needs_superuser(clerk, &format!("ALTER ROLE {role} USER clerk"))?;
        }
        Ok(())
    })
}

fn nested_statements(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "nested")?;
    make_roles(&mut superuser)?;
    superuser.run(
        "CREATE FUNCTION inner_grant() RETURNS void LANGUAGE sql
         AS 'GRANT pg_execute_server_program TO clerk'",
    )?;
    superuser.as_session_of("clerk", |clerk| {
        needs_superuser(
            clerk,
            "DO $$ BEGIN EXECUTE 'GRANT pg_execute_server_program TO clerk'; END $$",
        )?;
        needs_superuser(clerk, "SELECT inner_grant()")
    })
}

fn privileged_roles_stay(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "alter")?;
    make_roles(&mut superuser)?;
    superuser.as_session_of("clerk", |clerk| {
        for role in [
            "aadauth_auditor",
            "azure_pg_admin",
            "middle",
            "runner",
            "rls",
            "below",
        ] {
            for sql in [
                format!("ALTER ROLE {role} PASSWORD 'x'"),
                format!("ALTER USER {role} LOGIN"),
                format!("ALTER ROLE {role} USER friend PASSWORD 'x'"),
                format!("ALTER ROLE {role} VALID UNTIL 'infinity'"),
                format!("ALTER ROLE {role} SET search_path = evil"),
                format!("ALTER ROLE {role} IN DATABASE postgres SET role = clerk"),
                format!("ALTER ROLE {role} RESET ALL"),
                format!("ALTER ROLE {role} RENAME TO other"),
                format!("DROP ROLE {role}"),
                format!("DROP ROLE IF EXISTS friend, {role}"),
            ] {
                needs_superuser(clerk, &sql)?;
            }
        }
        Ok(())
    })
}

/// A user who acts as an admin, prepares an admin's session, or creates the role again could map roles.
fn entra_admins_stay(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "chief")?;
    make_roles(&mut superuser)?;
    superuser.run("CREATE ROLE chief LOGIN CREATEROLE")?;
    superuser.run(&public(
        "chief",
        &format!("aadauth,oid={ALICE},type=user,admin"),
    ))?;
    may_administer(&mut superuser, "chief", "clerk")?;
    superuser.as_session_of("clerk", |clerk| {
        for sql in [
            "GRANT chief TO clerk",
            "ALTER ROLE chief SET search_path = evil",
            "ALTER ROLE chief IN DATABASE postgres SET search_path = evil",
            "ALTER ROLE chief RENAME TO other",
            "DROP ROLE chief",
        ] {
            needs_superuser(clerk, sql)?;
        }
        Ok(())
    })?;
    superuser.as_session_of("chief", |chief| {
        chief.run("ALTER ROLE chief SET search_path = mine")
    })
}

fn everything_else(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "else")?;
    make_roles(&mut superuser)?;
    superuser.as_session_of("clerk", |clerk| {
        for sql in [
            "GRANT ordinary TO friend",
            "GRANT pg_monitor TO friend",
            "CREATE ROLE new IN ROLE ordinary ROLE friend",
            "ALTER GROUP ordinary ADD USER clerk; ALTER GROUP ordinary DROP USER clerk",
            "ALTER ROLE friend LOGIN PASSWORD 'x'; ALTER ROLE friend SET search_path = x",
            "ALTER ROLE friend RENAME TO mate; DROP ROLE mate, new",
            "ALTER GROUP rls DROP USER guest; REVOKE pg_execute_server_program FROM middle",
            "ALTER ROLE clerk PASSWORD 'x'; ALTER ROLE CURRENT_USER SET search_path = x",
            "DROP ROLE IF EXISTS no_such",
        ] {
            clerk.run(sql)?;
        }
        // PostgreSQL's own complaints.
        for (sql, sqlstate) in [
            ("GRANT no_such TO clerk", "42704"),
            ("ALTER ROLE no_such LOGIN", "42704"),
            ("DROP ROLE no_such", "42704"),
            ("ALTER ROLE ALL SET search_path = x", DENIED),
        ] {
            clerk.refused(sql, sqlstate)?;
        }
        Ok(())
    })
}

fn looks_after_itself(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "itself")?;
    superuser.run("CREATE ROLE runner LOGIN CREATEROLE IN ROLE pg_execute_server_program")?;
    may_administer(&mut superuser, "pg_execute_server_program", "runner")?;
    superuser.as_session_of("runner", |runner| {
        runner.run("ALTER ROLE runner PASSWORD 'x'")?;
        runner.run("ALTER ROLE CURRENT_USER SET work_mem = '8MB'")?;
        needs_superuser(runner, "GRANT pg_execute_server_program TO runner")
    })
}

fn superusers(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "superusers")?;
    make_roles(&mut superuser)?;
    for role in protected()? {
        superuser.run(&format!("GRANT {role} TO friend"))?;
    }
    for sql in [
        "ALTER ROLE middle LOGIN PASSWORD 'x'; ALTER ROLE middle RENAME TO other; DROP ROLE other",
        "ALTER GROUP aadauth_auditor ADD USER ordinary",
        "CREATE FUNCTION lend() RETURNS void SECURITY DEFINER LANGUAGE sql
         AS 'GRANT pg_execute_server_program TO ordinary'",
    ] {
        superuser.run(sql)?;
    }
    superuser.as_session_of("clerk", |clerk| clerk.run("SELECT lend()"))
}

fn detail(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "detail")?;
    superuser.run("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1)")?;
    let failure = superuser.failure("CREATE UNIQUE INDEX ON t (a)")?;
    let detail = "Key (a)=(1) is duplicated.";
    failure.expect(detail, failure.refusal.detail.as_deref() == Some(detail))
}
