//! The SQL functions: what they make of roles, what they refuse, and what they return.

use pg_test::Result;

use super::{
    ALICE, BOB, DENIED, Session, TENANT, create, expect_logged, internal, literal, signed_in,
    start, update,
};
use crate::Test;
use crate::rig::Rig;

pub const TESTS: &[Test] = &[
    ("create_makes_a_role_that_may_sign_in", makes_a_role),
    ("an_admin_gets_what_azure_gives", makes_an_admin),
    ("an_entra_admin_makes_admins", made_by_an_admin),
    ("an_error_leaves_the_user_as_it_was", user_after_an_error),
    (
        "create_is_strict_update_maps_what_is_there",
        create_and_update,
    ),
    (
        "update_moves_a_role_to_the_configured_tenant",
        moves_to_the_tenant,
    ),
    ("update_makes_and_unmakes_admins", makes_and_unmakes_admins),
    ("every_admin_administers_who_is_none", administered),
    ("arguments_are_understood_or_refused", arguments),
    ("any_name_that_postgres_keeps_is_kept", names),
    ("what_is_hardly_meant_is_warned_of", warnings),
    ("by_name_there_is_no_directory", by_name),
    ("list_has_azures_columns", columns),
    ("list_is_of_admins_or_of_all", list),
    ("the_functions_are_azures", signatures),
    ("roles_say_how_they_authenticate", authentication_types),
];

const ADMIN: &str = "login createrole createdb azure_pg_admin*";

/// Expects the role's attributes (`more` for superuser, replication or BYPASSRLS) and the roles that it is a member of,
/// with `*` for ADMIN OPTION.
fn expect_attributes(session: &mut Session, role: &str, expected: &str) -> Result<()> {
    let query = format!(
        "SELECT concat_ws(' ', CASE WHEN rolcanlogin THEN 'login' END,
             CASE WHEN rolcreaterole THEN 'createrole' END,
             CASE WHEN rolcreatedb THEN 'createdb' END,
             CASE WHEN rolsuper OR rolreplication OR rolbypassrls THEN 'more' END,
             (SELECT string_agg(roleid::regrole || CASE WHEN admin_option THEN '*' ELSE '' END, ' ')
              FROM pg_auth_members WHERE member = pg_roles.oid))
         FROM pg_roles WHERE rolname = {}",
        literal(role)
    );
    session.expect(&query, expected)
}

fn makes_a_role(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "create")?;
    for (kind, object_id) in [("user", ALICE), ("group", BOB), ("service", TENANT)] {
        let name = format!("the {kind}");
        superuser.expect(
            &create(&name, object_id, kind, false, kind == "user"),
            &format!("Created role for \"the {kind}\""),
        )?;
        expect_attributes(&mut superuser, &name, "login")?;
        let mfa = if kind == "user" { ",mfa" } else { "" };
        superuser.expect_labels(
            &name,
            &format!("aadauth,oid={object_id},type={kind}{mfa}"),
            &format!("type={kind},oid={object_id},tenant_id={TENANT}"),
        )?;
    }
    Ok(())
}

fn makes_an_admin(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "create-admin")?;
    superuser.run(&create("boss", &ALICE.to_uppercase(), "user", true, false))?;
    expect_attributes(&mut superuser, "boss", ADMIN)?;
    superuser.expect_labels(
        "boss",
        &format!("aadauth,oid={ALICE},type=user,admin"),
        &format!("type=user,oid={ALICE},tenant_id={TENANT},admin"),
    )?;
    // The grantor is not a role that the grant would keep from being dropped.
    superuser.expect(
        "SELECT bool_and(grantor = 10) FROM pg_auth_members
         WHERE member = 'boss'::regrole AND roleid = 'azure_pg_admin'::regrole",
        "t",
    )
}

fn made_by_an_admin(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "by-an-admin")?;
    superuser.make_admin()?;
    let mut admin = signed_in(rig, &server)?;
    admin.run(&create("boss", ALICE, "user", true, false))?;
    admin.run(&create("clerk", BOB, "user", false, false))?;
    // The privileges were raised for that one statement only.
    admin.expect("SELECT current_user", "root_admin")?;
    admin.refused("CREATE ROLE su SUPERUSER", DENIED)?;
    expect_attributes(&mut superuser, "boss", ADMIN)?;
    expect_attributes(&mut superuser, "clerk", "login")?;
    superuser.expect(
        "SELECT bool_and(grantor = 10) FROM pg_auth_members WHERE member = 'boss'::regrole",
        "t",
    )
}

fn user_after_an_error(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "after-an-error")?;
    superuser.make_admin()?;
    let mut admin = signed_in(rig, &server)?;
    admin.run(&create("clerk", ALICE, "user", false, false))?;
    // Membership of the role in azure_pg_admin would be circular: granting it fails, with the privileges raised.
    superuser.run("CREATE ROLE middle; GRANT clerk TO middle; GRANT middle TO azure_pg_admin")?;
    let appoint = update("clerk", ALICE, "user", true, false).replacen("SELECT", "PERFORM", 1);
    admin.run(&format!(
        "DO $$ BEGIN {appoint}; RAISE 'went through';
         EXCEPTION WHEN invalid_grant_operation THEN NULL; END $$"
    ))?;
    admin.expect("SELECT current_user", "root_admin")?;
    admin.refused("CREATE ROLE su SUPERUSER", DENIED)?;
    expect_attributes(&mut superuser, "clerk", "login")?;
    superuser.expect_labels(
        "clerk",
        &format!("aadauth,oid={ALICE},type=user"),
        &format!("type=user,oid={ALICE},tenant_id={TENANT}"),
    )
}

fn create_and_update(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "update")?;
    superuser.run("CREATE ROLE plain; CREATE TABLE owned (); ALTER TABLE owned OWNER TO plain")?;
    let exists = superuser.refused(&create("plain", ALICE, "user", false, false), "42710")?;
    exists.expect_message("role \"plain\" already exists")?;
    superuser.expect(
        &update("plain", ALICE, "user", false, false),
        "Updated role for \"plain\"",
    )?;
    superuser.expect_labels(
        "plain",
        &format!("aadauth,oid={ALICE},type=user"),
        &format!("type=user,oid={ALICE},tenant_id={TENANT}"),
    )?;
    // In place: another principal, another kind, MFA, and what it owns stays.
    let public_text = format!("aadauth,oid={BOB},type=service");
    let internal_text = format!("type=service,oid={BOB},tenant_id={TENANT}");
    superuser.run(&update("plain", BOB, "service", false, true))?;
    superuser.expect_labels("plain", &format!("{public_text},mfa"), &internal_text)?;
    superuser.run(&update("plain", BOB, "service", false, false))?;
    superuser.expect_labels("plain", &public_text, &internal_text)?;
    superuser.expect(
        "SELECT relowner = 'plain'::regrole FROM pg_class WHERE relname = 'owned'",
        "t",
    )?;
    let missing = superuser.refused(&update("nobody", ALICE, "user", false, false), "42704")?;
    missing.expect_message("role \"nobody\" does not exist")
}

fn moves_to_the_tenant(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "tenant")?;
    superuser.run("CREATE ROLE plain")?;
    superuser.run(&internal(
        "plain",
        &format!("type=user,oid={ALICE},tenant_id={BOB}"),
    ))?;
    superuser.run(&update("plain", ALICE, "user", false, false))?;
    superuser.expect_labels(
        "plain",
        &format!("aadauth,oid={ALICE},type=user"),
        &format!("type=user,oid={ALICE},tenant_id={TENANT}"),
    )
}

fn makes_and_unmakes_admins(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "unmake")?;
    superuser.run("CREATE ROLE r LOGIN")?;
    superuser.run(&update("r", ALICE, "user", true, false))?;
    expect_attributes(&mut superuser, "r", ADMIN)?;
    superuser.run(&update("r", ALICE, "user", true, false))?;
    superuser.run(&update("r", ALICE, "user", false, false))?;
    expect_attributes(&mut superuser, "r", "login")?;
    superuser.expect_labels(
        "r",
        &format!("aadauth,oid={ALICE},type=user"),
        &format!("type=user,oid={ALICE},tenant_id={TENANT}"),
    )?;
    // A role that was not an admin keeps its attributes.
    superuser.run("ALTER ROLE r CREATEDB")?;
    superuser.run(&update("r", ALICE, "user", false, false))?;
    expect_attributes(&mut superuser, "r", "login createdb")
}

/// On 15 CREATEROLE is enough.
fn administered(rig: &Rig) -> Result<()> {
    fn expect_administered(session: &mut Session, role: &str, expected: &str) -> Result<()> {
        let query = format!(
            "SELECT EXISTS (SELECT FROM pg_auth_members WHERE roleid = '{role}'::regrole
             AND member = 'azure_pg_admin'::regrole AND grantor = 10
             AND admin_option AND NOT inherit_option AND NOT set_option)"
        );
        session.expect(&query, expected)
    }
    let (_server, mut superuser) = start(rig, "administered")?;
    superuser.run(&create("clerk", ALICE, "user", false, false))?;
    expect_administered(&mut superuser, "clerk", "t")?;
    superuser.run(&update("clerk", ALICE, "user", true, false))?;
    expect_administered(&mut superuser, "clerk", "f")?;
    superuser.run(&update("clerk", ALICE, "user", false, false))?;
    expect_administered(&mut superuser, "clerk", "t")?;
    superuser.run("CREATE ROLE runner IN ROLE pg_execute_server_program")?;
    superuser.run(&update("runner", BOB, "user", false, false))?;
    expect_administered(&mut superuser, "runner", "f")
}

fn arguments(rig: &Rig) -> Result<()> {
    let mut superuser = Session(rig.server.superuser()?);
    let too_long = "x".repeat(64);
    // 63 characters, 64 bytes.
    let too_long_in_bytes = format!("é{}", "x".repeat(62));
    for (name, sqlstate, says) in [
        ("", "42602", "blank"),
        (too_long.as_str(), "42622", "64 bytes"),
        (too_long_in_bytes.as_str(), "42622", "64 bytes"),
        ("pg_mine", "42939", "reserved"),
        ("public", "42939", "reserved"),
        ("none", "42939", "reserved"),
    ] {
        let failure = superuser.refused(&create(name, ALICE, "user", false, false), sqlstate)?;
        failure.expect_in_message(says)?;
    }
    let failure = superuser.refused(&update(&too_long, ALICE, "user", false, false), "42622")?;
    failure.expect_in_message("64 bytes")?;
    for object_id in [
        "alice",
        "x",
        "",
        &format!("{{{ALICE}}}"),
        &ALICE.replace('-', ""),
        &format!("{ALICE},type=user,admin"),
        "00000000-0000-0000-0000-000000000000",
    ] {
        let failure = superuser.refused(&create("r", object_id, "user", false, false), "22023")?;
        failure.expect_in_message("object id")?;
        failure.expect_in_hint("GUID")?;
    }
    for kind in ["user,admin", "x", ""] {
        let failure = superuser.refused(&create("r", ALICE, kind, false, false), "22023")?;
        failure.expect_in_message("object type")?;
        failure.expect_in_hint("user, group or service")?;
    }
    for (argument, values) in [
        ("rolename", format!("NULL, '{ALICE}', 'user', false, false")),
        ("objectid", "'r', NULL, 'user', false, false".to_owned()),
        ("objecttype", format!("'r', '{ALICE}', NULL, false, false")),
        ("isadmin", format!("'r', '{ALICE}', 'user', NULL, false")),
        ("ismfa", format!("'r', '{ALICE}', 'user', false, NULL")),
    ] {
        for verb in ["create", "update"] {
            let sql = format!("SELECT pgaadauth_{verb}_principal_with_oid({values})");
            let failure = superuser.refused(&sql, "22004")?;
            failure.expect_message(&format!("{argument} must not be null"))?;
        }
    }
    superuser.expect(
        "SELECT count(*) FROM pg_roles WHERE rolname IN ('r', '')",
        "0",
    )
}

fn names(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "names")?;
    let long = format!("é{}", "x".repeat(61));
    for (name, number) in [
        ("alice@contoso.com", 1),
        ("guest_x.com#EXT#@contoso.onmicrosoft.com", 2),
        ("O'Brien \"the\" \\ admin", 3),
        ("x\"; DROP ROLE aadauth_auditor; --", 4),
        ("x' IS NULL; --", 5),
        ("Группа % $$ 测试", 6),
        ("select", 7),
        (long.as_str(), 8),
        (" x ", 9),
    ] {
        let object_id = format!("6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e40{number}");
        superuser.expect(
            &create(name, &object_id, "user", true, false),
            &format!("Created role for \"{name}\""),
        )?;
        superuser.run(&update(name, &object_id, "user", false, true))?;
        let listed = format!(
            "SELECT EXISTS (SELECT FROM pgaadauth_list_principals(false)
             WHERE rolname = {} AND objectid = '{object_id}' AND ismfa = 1 AND isadmin = 0)",
            literal(name)
        );
        superuser.expect(&listed, "t")?;
    }
    superuser.expect(
        "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'aadauth_auditor')",
        "t",
    )
}

fn by_name(rig: &Rig) -> Result<()> {
    let mut superuser = Session(rig.server.superuser()?);
    let failure = superuser.refused(
        "SELECT pgaadauth_create_principal('dora@contoso.com', false, false)",
        "55000",
    )?;
    failure.expect_in_hint("pgaadauth_create_principal_with_oid")?;
    let sync = "SELECT * FROM pgaadauth_sync_roles_for_group_members()";
    superuser.refused(sync, "55000").map(drop)
}

fn columns(rig: &Rig) -> Result<()> {
    let mut superuser = Session(rig.server.superuser()?);
    superuser.expect(
        "SELECT string_agg(name || ' ' || type::regtype, ', ' ORDER BY position)
         FROM pg_proc, unnest(proargnames, proallargtypes, proargmodes)
              WITH ORDINALITY AS column_of (name, type, mode, position)
         WHERE proname = 'pgaadauth_list_principals' AND mode = 't'",
        "rolname name, principaltype text, objectid text, tenantid text, ismfa integer, \
         isadmin integer",
    )
}

fn list(rig: &Rig) -> Result<()> {
    const ADMINS: &str =
        "SELECT string_agg(l::text, ' ') FROM pgaadauth_list_principals(true) AS l";
    const ALL: &str = "SELECT string_agg(l::text, ' ') FROM pgaadauth_list_principals(false) AS l";
    let (_server, mut superuser) = start(rig, "list")?;
    superuser.run(&create("b", ALICE, "group", false, true))?;
    superuser.run(&create("a", BOB, "user", true, false))?;
    superuser.run("CREATE ROLE somebody")?;
    let (a, b) = (
        format!("(a,user,{BOB},{TENANT},0,1)"),
        format!("(b,group,{ALICE},{TENANT},1,0)"),
    );
    superuser.expect(ADMINS, &a)?;
    // Everybody may call it: pg_seclabels shows the same.
    superuser.as_session_of("somebody", |somebody| {
        somebody.expect(ALL, &format!("{a} {b}"))
    })?;
    // Roles with invalid labels admit nobody, so they are not listed.
    superuser.run("SET allow_system_table_mods = on")?;
    superuser.run("UPDATE pg_shseclabel SET label = 'junk' WHERE objoid = 'b'::regrole")?;
    superuser.expect(ALL, &a)
}

fn signatures(rig: &Rig) -> Result<()> {
    let mut superuser = Session(rig.server.superuser()?);
    superuser.expect(
        "SELECT string_agg(p.oid::regprocedure::text, ' ' ORDER BY proname)
         FROM pg_proc p WHERE proname LIKE 'pgaadauth%' AND pronamespace = 'pg_catalog'::regnamespace
         AND NOT prosecdef AND provolatile = 'v'
         AND obj_description(p.oid, 'pg_proc') IS NOT NULL
         AND (prorettype = 'text'::regtype OR proretset)",
        "pgaadauth_create_principal(text,boolean,boolean) \
         pgaadauth_create_principal_with_oid(text,text,text,boolean,boolean) \
         pgaadauth_list_principals(boolean) pgaadauth_sync_roles_for_group_members() \
         pgaadauth_update_principal_with_oid(text,text,text,boolean,boolean)",
    )
}

fn authentication_types(rig: &Rig) -> Result<()> {
    const TYPES: &str =
        "SELECT string_agg(concat_ws(' ', rolename, authtype), ', ' ORDER BY rolename)
        FROM azure_roles_authtype() WHERE rolename ~ '^(t_|azure_pg_admin$)'";
    let (_server, mut superuser) = start(rig, "authtype")?;
    superuser.make_admin()?;
    superuser.run(
        "CREATE ROLE t_group; CREATE ROLE t_passwordless LOGIN; CREATE ROLE t_scram LOGIN PASSWORD 'x';
         CREATE ROLE t_mapped LOGIN PASSWORD 'x'; SET password_encryption = md5;
         CREATE ROLE t_md5 LOGIN PASSWORD 'x'; CREATE ROLE t_off NOLOGIN PASSWORD 'x'",
    )?;
    superuser.run(&update("t_mapped", ALICE, "user", false, false))?;
    let expected = "azure_pg_admin NOLOGIN, t_group NOLOGIN, t_mapped ENTRA, t_md5 MD5, t_off NOLOGIN, \
        t_passwordless, t_scram SCRAM-256";
    superuser.expect(TYPES, expected)?;
    superuser.as_session_of("root_admin", |session| session.expect(TYPES, expected))?;
    superuser.as_session_of("t_scram", |session| {
        session
            .refused(TYPES, "42501")?
            .expect_message("permission denied for function azure_roles_authtype")
    })
}

fn warnings(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "warnings")?;
    for blank in ["", " ", "\t "] {
        let failure = superuser.refused(&create(blank, ALICE, "user", false, false), "42602")?;
        failure.expect_in_message("blank")?;
    }
    for name in ["\"quoted\"", "it's", " space", "space "] {
        superuser.run(&create(name, ALICE, "user", false, false))?;
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        expect_logged(
            &server,
            &format!(
                "WARNING:  role name {quoted} contains quotation marks or begins or ends with a space"
            ),
        )?;
        superuser.run(&format!("DROP ROLE {quoted}"))?;
    }
    let mfa = "WARNING:  a service cannot prove multi-factor authentication";
    let before = server.log()?.matches(mfa).count();
    superuser.run(&create("app", ALICE, "service", false, true))?;
    superuser.run("CREATE ROLE second")?;
    superuser.run(&super::public(
        "second",
        &format!("aadauth,oid={BOB},type=service,mfa"),
    ))?;
    superuser.run(&create("person", super::ROOT_ADMIN, "user", false, true))?;
    let after = server.log()?.matches(mfa).count();
    crate::rig::ensure(before == 0 && after == 2, || format!("{before}, {after}"))
}
