//! Roles that become privileged after they were mapped or granted, and what a label gives and takes.

use pg_test::Result;
use pg_test::place::major;
use pg_test::server::Server;

use super::{
    ALICE, BOB, DENIED, Session, TENANT, create, expect_logged, internal, literal, no_public,
    public, signed_in, start, update,
};
use crate::Test;
use crate::rig::{Rig, ensure};
use crate::sessions::revocation::{dump, restore_dump};

pub const TESTS: &[Test] = &[
    ("an_admin_takes_no_role_that_became_privileged", taken_later),
    ("what_was_granted_before_is_revoked", granted_before),
    ("members_of_a_new_member_are_looked_at_too", indirect),
    ("what_a_superuser_granted_stays", superusers_grants),
    ("role_managers_give_attributes_that_they_have", attributes),
    ("an_admin_is_nobody_elses", members_of_an_admin),
    ("no_admin_replays_a_dump", replay_by_an_admin),
    ("a_privileged_role_is_looked_at_again", privileged_again),
    ("what_a_superuser_lets_others_grant_is_judged", passed_on),
    ("nobody_takes_members_from_a_role", own_functions),
    ("labels_appoint_and_dismiss", appointed_by_label),
    ("a_labeled_admin_is_one_without_membership", labeled_only),
    ("own_operators_see_no_superuser", own_operators),
    ("no_admin_gives_azure_pg_admin", azure_pg_admin),
    ("names_of_our_roles_are_reserved", reserved_names),
    (
        "create_extension_keeps_no_untrusted_members",
        existing_members,
    ),
    ("members_of_a_group_leave_its_role_alone", shared_role),
    ("a_dump_of_all_this_restores", restored),
];

/// What makes a role privileged.
const PRIVILEGES: [&str; 9] = [
    "GRANT pg_execute_server_program TO app",
    "GRANT pg_write_server_files TO app",
    "GRANT pg_read_all_data TO app",
    "GRANT aadauth_auditor TO app",
    "GRANT aadauth_monitor TO app",
    "ALTER ROLE app BYPASSRLS",
    "GRANT SET ON PARAMETER log_statement TO app",
    "GRANT ALTER SYSTEM ON PARAMETER work_mem TO app",
    "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO app",
];

/// How a role gives another to itself, so that it can use it.
pub(super) fn take(role: &str) -> Result<String> {
    let options = if is_15()? {
        ""
    } else {
        " WITH INHERIT TRUE, SET TRUE"
    };
    Ok(format!("GRANT {role} TO CURRENT_USER{options}"))
}

pub(super) fn is_15() -> Result<bool> {
    Ok(major()? == "15")
}

/// The members of a role, in the order of their names.
pub(super) fn expect_members(session: &mut Session, role: &str, expected: &str) -> Result<()> {
    let query = format!(
        "SELECT coalesce(string_agg(DISTINCT member::regrole::text, ' ' ORDER BY member::regrole::text), '')
         FROM pg_auth_members WHERE roleid = '{role}'::regrole"
    );
    session.expect(&query, expected)
}

fn taken_later(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "taken-later")?;
    superuser.run("CREATE ROLE other")?;
    superuser.make_admin()?;
    let mut admin = signed_in(rig, &server)?;
    for privilege in PRIVILEGES {
        superuser.run(&create("app", ALICE, "service", false, false))?;
        superuser.run(privilege)?;
        for statement in [
            take("app")?,
            "GRANT app TO other".to_owned(),
            "ALTER ROLE app PASSWORD 'x'".to_owned(),
            "ALTER ROLE app SET search_path = mine".to_owned(),
            "ALTER ROLE app RENAME TO mine".to_owned(),
            "CREATE ROLE another IN ROLE app".to_owned(),
            public("app", &format!("aadauth,oid={BOB},type=user")),
            update("app", BOB, "user", false, false),
        ] {
            admin.refused(&statement, DENIED)?;
        }
        expect_members(&mut superuser, "app", "")?;
        superuser.run("DROP OWNED BY app; DROP ROLE app")?;
    }
    Ok(())
}

fn granted_before(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "granted-before")?;
    superuser.run("CREATE ROLE friend")?;
    superuser.make_admin()?;
    let mut admin = signed_in(rig, &server)?;
    for privilege in PRIVILEGES {
        // A role of the admin's own.
        admin.run("CREATE ROLE app")?;
        admin.run(&take("app")?)?;
        admin.run("GRANT app TO friend WITH ADMIN OPTION")?;
        superuser.run(privilege)?;
        expect_members(&mut superuser, "app", "")?;
        admin.refused("SET ROLE app", DENIED)?;
        superuser.run("DROP OWNED BY app; DROP ROLE app")?;
    }
    // What a superuser granted to all admins is no exception.
    superuser.run("CREATE ROLE app; GRANT app TO azure_pg_admin; GRANT pg_read_all_data TO app")?;
    expect_members(&mut superuser, "app", "")?;
    expect_logged(
        &server,
        "revoked the membership of role \"friend\" in role \"app\"",
    )
}

fn indirect(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "indirect")?;
    superuser
        .run("CREATE ROLE app; CREATE ROLE worker; GRANT app TO worker; CREATE ROLE friend")?;
    superuser.make_admin()?;
    if !is_15()? {
        superuser.run("GRANT worker TO root_admin WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")?;
    }
    let mut admin = signed_in(rig, &server)?;
    admin.run("GRANT worker TO friend")?;
    superuser.run("GRANT pg_read_all_data TO app")?;
    expect_members(&mut superuser, "app", "worker")?;
    expect_members(&mut superuser, "worker", "")?;
    admin.refused("GRANT worker TO friend", DENIED).map(drop)
}

fn superusers_grants(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "superusers-grants")?;
    superuser.run(
        "CREATE ROLE app; CREATE ROLE friend LOGIN; CREATE ROLE keeper LOGIN CREATEROLE;
         GRANT app TO friend; GRANT app TO keeper WITH ADMIN OPTION;
         GRANT pg_read_all_data TO app",
    )?;
    expect_members(&mut superuser, "app", "friend keeper")?;
    // Whom a superuser has given the role WITH ADMIN OPTION may go on giving it, where PostgreSQL knows who has.
    superuser.run("CREATE ROLE another")?;
    superuser.as_session_of("keeper", |keeper| {
        if is_15()? {
            keeper.refused("GRANT app TO another", DENIED).map(drop)
        } else {
            keeper.run("GRANT app TO another")
        }
    })?;
    // Nothing is revoked when it becomes more privileged.
    superuser.run("GRANT pg_write_all_data TO app")?;
    let expected = if is_15()? {
        "friend keeper"
    } else {
        "another friend keeper"
    };
    expect_members(&mut superuser, "app", expected)
}

/// As PostgreSQL has it since 16. On 15 it refuses that itself.
fn attributes(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "attributes")?;
    superuser.run(
        "CREATE ROLE keeper CREATEROLE BYPASSRLS; CREATE ROLE clerk CREATEROLE; CREATE ROLE app BYPASSRLS;
         CREATE ROLE walker BYPASSRLS REPLICATION",
    )?;
    if is_15()? {
        return superuser.as_session_of("keeper", |keeper| {
            keeper
                .refused("ALTER ROLE app PASSWORD 'x'", DENIED)
                .map(drop)
        });
    }
    // As the creator of a role has it.
    superuser
        .run("GRANT app, walker TO keeper, clerk WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")?;
    superuser.as_session_of("clerk", |clerk| {
        let failure = clerk.refused("ALTER ROLE app PASSWORD 'x'", DENIED)?;
        failure.expect_in_message("must be superuser to alter")
    })?;
    superuser.as_session_of("keeper", |keeper| {
        keeper.run("ALTER ROLE app PASSWORD 'x'; GRANT app TO clerk")?;
        let failure = keeper.refused("GRANT walker TO clerk", DENIED)?;
        failure.expect_in_message("must be superuser to grant")?;
        keeper.run("REVOKE app FROM clerk")
    })
}

fn members_of_an_admin(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "members-of-an-admin")?;
    superuser.run("CREATE ROLE friend LOGIN PASSWORD 'x'; CREATE ROLE keeper")?;
    superuser.make_admin()?;
    let mut admin = signed_in(rig, &server)?;
    admin.run("CREATE ROLE team; GRANT team TO friend WITH ADMIN OPTION")?;
    superuser.run("GRANT team TO keeper")?;
    superuser.run(&update("team", ALICE, "group", true, false))?;
    expect_members(&mut superuser, "team", "keeper")?;
    admin.refused("GRANT team TO friend", DENIED).map(drop)
}

const ADMIN: &str = "t t t";
const NONE: &str = "f f f";

/// Expects CREATEROLE, CREATEDB, and membership in `azure_pg_admin` WITH ADMIN OPTION.
fn expect_powers(session: &mut Session, role: &str, expected: &str) -> Result<()> {
    let query = format!(
        "SELECT concat_ws(' ', rolcreaterole, rolcreatedb, EXISTS (SELECT FROM pg_auth_members
             WHERE roleid = 'azure_pg_admin'::regrole AND member = r.oid AND admin_option))
         FROM pg_roles AS r WHERE rolname = {}",
        literal(role)
    );
    session.expect(&query, expected)
}

fn appointed_by_label(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "appointed")?;
    superuser.make_admin()?;
    superuser.run("CREATE ROLE r LOGIN")?;
    let public_admin = public("r", &format!("aadauth,oid={ALICE},type=user,admin"));
    let internal_admin = internal(
        "r",
        &format!("type=user,oid={ALICE},tenant_id={TENANT},admin"),
    );
    let public_user = public("r", &format!("aadauth,oid={ALICE},type=user"));
    let internal_user = internal("r", &format!("type=user,oid={ALICE},tenant_id={TENANT}"));
    for (appoint, dismiss) in [
        (&public_admin, &public_user),
        (&internal_admin, &internal_user),
        (&public_admin, &no_public("r")),
        (
            &update("r", ALICE, "user", true, false),
            &update("r", ALICE, "user", false, false),
        ),
    ] {
        superuser.run(appoint)?;
        expect_powers(&mut superuser, "r", ADMIN)?;
        superuser.run(dismiss)?;
        expect_powers(&mut superuser, "r", NONE)?;
    }
    // What all admins administer is theirs no longer when it is not mapped any more.
    if !is_15()? {
        superuser.run(&public_user)?;
        expect_members(&mut superuser, "r", "azure_pg_admin")?;
    }
    superuser.run(&no_public("r"))?;
    expect_members(&mut superuser, "r", "")?;
    // An admin appoints as well, by either way.
    let mut admin = signed_in(rig, &server)?;
    admin.run("CREATE ROLE second LOGIN")?;
    admin.run(&public(
        "second",
        &format!("aadauth,oid={BOB},type=user,admin"),
    ))?;
    expect_powers(&mut superuser, "second", ADMIN)?;
    admin.run("CREATE ROLE third LOGIN")?;
    admin.run(&update("third", ALICE, "user", false, false))?;
    admin.run(&update("third", ALICE, "user", true, false))?;
    expect_powers(&mut superuser, "third", ADMIN)
}

fn azure_pg_admin(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "azure-pg-admin")?;
    superuser.make_admin()?;
    superuser.run("CREATE ROLE local LOGIN PASSWORD 'x'")?;
    let mut admin = signed_in(rig, &server)?;
    admin.refused("GRANT azure_pg_admin TO local", DENIED)?;
    admin.refused("CREATE ROLE another IN ROLE azure_pg_admin", DENIED)?;
    admin
        .refused("ALTER GROUP azure_pg_admin ADD USER local", DENIED)
        .map(drop)
}

fn reserved_names(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start_without_audit(rig, "reserved")?;
    superuser.run(
        "CREATE ROLE clerk CREATEROLE; DROP EXTENSION aadauth CASCADE; DROP ROLE aadauth_auditor",
    )?;
    superuser.as_session_of("clerk", |clerk| {
        clerk.run("CREATE ROLE mine")?;
        for statement in [
            "CREATE ROLE aadauth_auditor ROLE clerk",
            "ALTER ROLE mine RENAME TO aadauth_auditor",
        ] {
            let failure = clerk.refused(statement, "42939")?;
            failure.expect_in_message("reserved")?;
        }
        Ok(())
    })
}

/// [`start`], with no worker in the database whose extension is dropped.
fn start_without_audit(rig: &Rig, name: &str) -> Result<(Server, Session)> {
    let server = rig.start_plan(rig.plan(name)?.set("aadauth.database", "template1"))?;
    let mut superuser = Session(server.superuser()?);
    superuser.run("CREATE EXTENSION aadauth")?;
    Ok((server, superuser))
}

fn existing_members(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start_without_audit(rig, "existing")?;
    superuser.run(&create("boss", ALICE, "user", true, false))?;
    superuser.run(
        "CREATE ROLE clerk CREATEROLE; CREATE ROLE friend; CREATE ROLE auditor; CREATE ROLE su SUPERUSER;
         DROP EXTENSION aadauth CASCADE; DROP ROLE aadauth_auditor;
         REVOKE azure_pg_admin FROM boss; CREATE ROLE aadauth_auditor;
         GRANT aadauth_auditor TO friend, auditor, su, boss",
    )?;
    // As before the library was there, which would refuse it.
    superuser.run("SET allow_system_table_mods = on")?;
    superuser.run(
        "UPDATE pg_auth_members SET grantor = 'clerk'::regrole WHERE member = 'friend'::regrole",
    )?;
    superuser.run("CREATE EXTENSION aadauth")?;
    expect_members(&mut superuser, "aadauth_auditor", "auditor boss su")?;
    expect_members(&mut superuser, "azure_pg_admin", "boss")?;
    expect_logged(
        &server,
        "role \"aadauth_auditor\" exists and keeps its member \"auditor\"",
    )?;
    expect_logged(
        &server,
        "revoked the membership of role \"friend\" in role \"aadauth_auditor\"",
    )
}

fn shared_role(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "shared")?;
    superuser.run(&create("analysts", ALICE, "group", false, false))?;
    superuser.run(&create("alone", BOB, "user", false, false))?;
    superuser.as_session_of("analysts", |member| {
        for statement in [
            "ALTER ROLE analysts SET search_path = mine, pg_catalog, public",
            "ALTER ROLE CURRENT_USER IN DATABASE postgres SET search_path = mine",
            "ALTER USER analysts RESET ALL",
            "ALTER ROLE analysts PASSWORD 'x'",
            "ALTER ROLE SESSION_USER VALID UNTIL 'now'",
        ] {
            let failure = member.refused(statement, DENIED)?;
            failure.expect_in_message("\"analysts\"")?;
        }
        member.run("SET search_path = public")
    })?;
    // Nor by way of another role of theirs.
    superuser.run("CREATE ROLE own CREATEROLE; GRANT own TO analysts")?;
    superuser.as_session_of("analysts", |member| {
        member.run("SET ROLE own")?;
        member.refused("ALTER ROLE analysts SET search_path = mine", DENIED)?;
        member.run("RESET ROLE")
    })?;
    superuser.as_session_of("alone", |user| {
        user.run("ALTER ROLE alone SET search_path = public")
    })?;
    superuser.make_admin()?;
    let mut admin = signed_in(rig, &server)?;
    admin.run("ALTER ROLE analysts SET work_mem = '8MB'")
}

/// The label makes the administrator, whatever became of the memberships.
fn labeled_only(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "labeled-only")?;
    superuser.run(&create("boss", ALICE, "user", true, false))?;
    superuser
        .run("REVOKE azure_pg_admin FROM boss; CREATE ROLE friend; CREATE ROLE clerk CREATEROLE")?;
    if !is_15()? {
        superuser.run("GRANT boss TO clerk WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")?;
    }
    superuser.as_session_of("clerk", |clerk| {
        clerk.refused("ALTER ROLE boss PASSWORD 'x'", DENIED)?;
        clerk.refused("GRANT boss TO friend", DENIED).map(drop)
    })
}

/// What this library asks the catalogs as a superuser is not answered by operators of the caller's.
fn own_operators(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "own-operators")?;
    superuser.make_admin()?;
    superuser.run("CREATE SCHEMA mine; GRANT ALL ON SCHEMA mine TO root_admin")?;
    let mut admin = signed_in(rig, &server)?;
    // The log keeps what a failed statement rolls back.
    admin.run(
        "CREATE FUNCTION mine.oids(oid, oid) RETURNS boolean LANGUAGE plpgsql AS
             $$ BEGIN RAISE LOG 'seen as %', current_user; RETURN pg_catalog.oideq($1, $2); END $$;
         CREATE OPERATOR mine.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = mine.oids);
         SET search_path = mine, pg_catalog",
    )?;
    admin.run("CREATE ROLE s; CREATE ROLE t")?;
    for statement in [
        public("s", &format!("aadauth,oid={ALICE},type=user,admin")),
        public("s", &format!("aadauth,oid={ALICE},type=user")),
        "GRANT t TO s".to_owned(),
        create("u", BOB, "user", false, false),
        "DROP ROLE t".to_owned(),
    ] {
        let _ = admin.0.execute(&statement)?;
    }
    let log = server.log()?;
    ensure(!log.contains("seen as postgres"), || log.clone())?;
    // They do answer what the caller asks.
    admin.run("SELECT count(*) FROM pg_class WHERE oid = relnamespace")?;
    expect_logged(&server, "seen as root_admin")
}

fn restored(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "dumped")?;
    superuser.make_admin()?;
    superuser.run(&create("boss", ALICE, "user", true, true))?;
    superuser.run("CREATE ROLE clerk LOGIN CREATEROLE; CREATE ROLE team; GRANT team TO clerk WITH ADMIN OPTION")?;
    superuser.run(&update("team", BOB, "group", false, false))?;
    let mut admin = signed_in(rig, &server)?;
    admin.run(&create(
        "person",
        "7a2b3c4d-5e6f-4a1b-9c8d-0e1f2a3b4c51",
        "user",
        false,
        false,
    ))?;
    for (number, privilege) in PRIVILEGES.iter().enumerate() {
        let id = format!("7a2b3c4d-5e6f-4a1b-9c8d-0e1f2a3b4d0{number}");
        admin.run(&create("app", &id, "service", false, false))?;
        superuser.run(privilege)?;
        superuser.run(&format!(
            "GRANT app TO boss; ALTER ROLE app RENAME TO app{number}"
        ))?;
    }
    superuser.run("GRANT aadauth_auditor TO clerk; ALTER ROLE person SET search_path = public")?;
    superuser.run(&format!("SELECT aadauth.revoke('{ALICE}')"))?;
    let roles = dump(&server, "pg_dumpall", "--roles-only")?;
    let two = rig.start_plan(rig.plan("mapping-restored")?)?;
    restore_dump(rig, &two, &roles)?;
    restore_dump(rig, &two, &dump(&server, "pg_dump", "--dbname=postgres")?)?;
    let again = dump(&two, "pg_dumpall", "--roles-only")?;
    ensure(roles == again, || format!("{roles}\n{again}"))
}

pub(super) const PROGRAMS: &str = "GRANT pg_execute_server_program TO r";

/// What a label gives and takes is left out for dumps, whose role memberships are a superuser's.
fn replay_by_an_admin(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "replay-by-an-admin")?;
    superuser.make_admin()?;
    let mut admin = signed_in(rig, &server)?;
    admin.run(
        "SET client_encoding = 'UTF8'; SET standard_conforming_strings = on;
         SET default_transaction_read_only = off; CREATE ROLE r LOGIN",
    )?;
    admin.run(&take("r")?)?;
    admin.run(&public(
        "r",
        &format!("aadauth,oid={ALICE},type=user,admin"),
    ))?;
    expect_powers(&mut superuser, "r", ADMIN)?;
    expect_members(&mut superuser, "r", "")
}

/// Whatever it was before.
fn privileged_again(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "privileged-again")?;
    superuser.run("CREATE ROLE clerk CREATEROLE REPLICATION; CREATE ROLE r REPLICATION")?;
    let grant = if is_15()? {
        // There, a role manager does not give REPLICATION.
        "SET allow_system_table_mods = on; GRANT r TO clerk;
         UPDATE pg_auth_members SET grantor = 'clerk'::regrole WHERE member = 'clerk'::regrole"
    } else {
        "GRANT r TO clerk WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
    };
    superuser.run(grant)?;
    if !is_15()? {
        superuser.as_session_of("clerk", |clerk| clerk.run(&take("r")?))?;
    }
    superuser.run(PROGRAMS)?;
    superuser.expect(
        "SELECT count(*) FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.grantor
         WHERE roleid = 'r'::regrole AND NOT g.rolsuper",
        "0",
    )
}

/// By granting it a function of their own that has the name of one of core's.
fn own_functions(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "own-functions")?;
    superuser.run(
        "CREATE ROLE nobody; CREATE SCHEMA mine AUTHORIZATION nobody; CREATE ROLE friend;
         CREATE ROLE r REPLICATION; GRANT r TO friend; CREATE ROLE clerk;
         SET allow_system_table_mods = on;
         UPDATE pg_auth_members SET grantor = 'clerk'::regrole WHERE member = 'friend'::regrole",
    )?;
    superuser.as_session_of("nobody", |nobody| {
        nobody.run(
            "CREATE FUNCTION mine.pg_read_file(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
             GRANT EXECUTE ON FUNCTION mine.pg_read_file(text) TO r;
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA mine TO r",
        )
    })?;
    expect_members(&mut superuser, "r", "friend")?;
    // The function that does reach the server's files.
    superuser.run("GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO r")?;
    expect_members(&mut superuser, "r", "")
}

/// Also where it is not a superuser who makes the role privileged.
fn passed_on(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "passed-on")?;
    superuser.run(
        "CREATE ROLE holder; CREATE ROLE clerk CREATEROLE; CREATE ROLE friend;
         GRANT SET ON PARAMETER log_statement TO holder WITH GRANT OPTION",
    )?;
    let mut granted = vec![("r", "SET ON PARAMETER log_statement")];
    if !is_15()? {
        superuser.run("GRANT pg_read_server_files TO holder WITH ADMIN OPTION")?;
        granted.push(("s", "pg_read_server_files"));
    }
    for (role, privilege) in granted {
        superuser.run(&format!("CREATE ROLE {role}"))?;
        if !is_15()? {
            superuser.run(&format!(
                "GRANT {role} TO clerk WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
            ))?;
        }
        superuser.as_session_of("clerk", |clerk| {
            clerk.run(&format!("GRANT {role} TO friend"))
        })?;
        superuser.as_session_of("holder", |holder| {
            holder.run(&format!("GRANT {privilege} TO {role}"))
        })?;
        superuser.expect(
            "SELECT count(*) FROM pg_auth_members WHERE member = 'friend'::regrole",
            "0",
        )?;
    }
    Ok(())
}
