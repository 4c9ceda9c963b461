use pg_test::Result;

use super::{BySql, expect, expect_silence, good_server, plant_by_sql};
use crate::rig::{Rig, ensure};

const MISTAKES: &[BySql] = &[
    BySql {
        plant: "SELECT pgaadauth_create_principal_with_oid('boss', gen_random_uuid()::text, 'user', true, false);
                ALTER ROLE boss NOCREATEDB",
        undo: "ALTER ROLE boss CREATEDB",
        code: "admin-without-rights",
        says: &["role \"boss\"", "CREATEROLE CREATEDB"],
    },
    BySql {
        plant: "REVOKE azure_pg_admin FROM boss",
        undo: "DROP ROLE boss",
        code: "admin-without-rights",
        says: &["role \"boss\"", "GRANT azure_pg_admin TO"],
    },
    BySql {
        plant: "SET allow_system_table_mods = on;
                UPDATE pg_shseclabel SET label = label || ',x' WHERE objoid = 'someone'::regrole",
        undo: "SELECT pgaadauth_update_principal_with_oid('someone',
                   'e15e0000-0000-4000-8000-0000000000e1', 'user', false, false)",
        code: "role-label-damaged",
        says: &["role \"someone\""],
    },
    BySql {
        plant: "SECURITY LABEL FOR \"pgaadauth-int\" ON ROLE someone IS
                    'type=user,oid=e15e0000-0000-4000-8000-0000000000e1,tenant_id=fab41ca0-0000-4000-8000-00000000000f'",
        // As docs/people.md has it.
        undo: "SELECT pgaadauth_update_principal_with_oid(rolname, objectid, principaltype, isadmin::int::bool, ismfa::int::bool)
               FROM pgaadauth_list_principals(false)",
        code: "role-of-another-tenant",
        says: &["role \"someone\"", "aadauth.tenant_id"],
    },
    BySql {
        plant: "ALTER ROLE someone SUPERUSER",
        undo: "ALTER ROLE someone NOSUPERUSER",
        code: "role-with-superuser",
        says: &["role \"someone\""],
    },
    BySql {
        plant: "ALTER ROLE someone PASSWORD 'secret'",
        undo: "ALTER ROLE someone PASSWORD NULL",
        code: "role-with-password",
        says: &["role \"someone\"", "PASSWORD NULL"],
    },
    BySql {
        plant: "DO $$ BEGIN FOR i IN 1..7 LOOP
                    PERFORM pgaadauth_create_principal_with_oid('many' || i, gen_random_uuid()::text, 'user', false, false);
                    EXECUTE 'ALTER ROLE many' || i || ' PASSWORD ''secret''';
                END LOOP; END $$",
        undo: "DROP ROLE many1, many2, many3, many4, many5, many6, many7",
        code: "role-with-password",
        says: &["roles \"many1\", \"many2\", \"many3\", \"many4\", \"many5\" and 2 more"],
    },
    BySql {
        plant: "ALTER ROLE aadauth_auditor LOGIN",
        undo: "ALTER ROLE aadauth_auditor NOLOGIN",
        code: "own-role-changed",
        says: &["role \"aadauth_auditor\"", "NOLOGIN"],
    },
    BySql {
        plant: "ALTER ROLE azure_pg_admin CREATEROLE",
        undo: "ALTER ROLE azure_pg_admin NOCREATEROLE",
        code: "own-role-changed",
        says: &["role \"azure_pg_admin\""],
    },
    BySql {
        plant: "ALTER ROLE azure_pg_admin RENAME TO somebody_elses",
        undo: "ALTER ROLE somebody_elses RENAME TO azure_pg_admin",
        code: "own-role-changed",
        says: &["role \"azure_pg_admin\"", "does not exist"],
    },
    BySql {
        plant: "CREATE ROLE app; CREATE ROLE friend; GRANT app TO friend; GRANT pg_execute_server_program TO app",
        undo: "DROP ROLE app, friend",
        code: "role-reaches-privileges",
        says: &[
            "role \"friend\"",
            "Role \"friend\" is a member of \"app\". It is a member of role \"pg_execute_server_program\".",
            "REVOKE app FROM friend",
        ],
    },
    BySql {
        plant: "CREATE ROLE friend; GRANT azure_pg_admin TO friend",
        undo: "DROP ROLE friend",
        code: "role-reaches-privileges",
        says: &["role \"friend\"", "REVOKE azure_pg_admin FROM friend"],
    },
    BySql {
        plant: "CREATE ROLE team; CREATE ROLE friend; GRANT azure_pg_admin TO team; GRANT team TO friend",
        undo: "DROP ROLE team, friend",
        code: "role-reaches-privileges",
        says: &["REVOKE azure_pg_admin FROM team", "REVOKE team FROM friend"],
    },
    BySql {
        plant: "GRANT azure_pg_admin TO someone",
        undo: "REVOKE azure_pg_admin FROM someone",
        code: "role-reaches-privileges",
        says: &["role \"someone\"", "REVOKE azure_pg_admin FROM someone"],
    },
    BySql {
        plant: "SELECT pgaadauth_create_principal_with_oid('team', gen_random_uuid()::text, 'group', false, false)",
        undo: "ALTER SYSTEM SET aadauth.groups_claim_is_complete = on",
        code: "group-without-directory",
        says: &["role \"team\"", "Add groups claim", "aadauth.credential"],
    },
    BySql {
        plant: "UPDATE pg_extension SET extversion = '0.0' WHERE extname = 'aadauth'",
        undo: "UPDATE pg_extension SET extversion = '1.0' WHERE extname = 'aadauth'",
        code: "extension-version",
        says: &["version 0.0", "ALTER EXTENSION aadauth UPDATE"],
    },
];

pub fn mistakes(rig: &Rig) -> Result<()> {
    let server = good_server(rig, "check-roles", |plan| plan)?;
    plant_by_sql(&server, MISTAKES)
}

/// What was mapped on 15 has no membership in `azure_pg_admin` after an upgrade.
pub fn unadministered(rig: &Rig) -> Result<()> {
    let server = good_server(rig, "check-unadministered", |plan| plan)?;
    let is_broad = server.sql("SELECT current_setting('server_version_num')::int < 160000")? == "t";
    // That the privileged role has no administrator is intended: a member of it would get its privileges.
    server.sql(
        "CREATE ROLE \"Some body\" LOGIN; CREATE ROLE privileged LOGIN IN ROLE pg_execute_server_program;
         SECURITY LABEL FOR pgaadauth ON ROLE \"Some body\" IS
             'aadauth,oid=50beb0d1-0000-4000-8000-000000000001,type=user';
         SECURITY LABEL FOR pgaadauth ON ROLE privileged IS
             'aadauth,oid=50beb0d1-0000-4000-8000-000000000002,type=user'",
    )?;
    expect_silence(&server, "without admins")?;
    server.sql(
        "SELECT pgaadauth_create_principal_with_oid('boss', gen_random_uuid()::text, 'user', true, false)",
    )?;
    if is_broad {
        return expect_silence(&server, "where CREATEROLE administers all");
    }
    // As it was on 15.
    server.sql("REVOKE \"Some body\" FROM azure_pg_admin")?;
    expect(
        &server,
        "a role that was mapped on 15",
        &[(
            "role-without-administrator",
            &[
                "role \"Some body\" |",
                "GRANT \"Some body\" TO azure_pg_admin",
            ],
        )],
    )?;
    server
        .sql("GRANT \"Some body\" TO azure_pg_admin WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")?;
    expect_silence(&server, "after the statement that it says")
}

/// What others can run as a superuser in the database where the function is called.
pub fn exposed(rig: &Rig) -> Result<()> {
    let server = good_server(rig, "check-exposed", |plan| plan)?;
    let code = "database-reaches-privileges";
    plant_by_sql(
        &server,
        &[
            BySql {
                plant: "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO PUBLIC",
                undo: "REVOKE EXECUTE ON FUNCTION pg_read_file(text) FROM PUBLIC",
                code,
                says: &["pg_read_file(text)", "REVOKE EXECUTE ON FUNCTION pg_read_file(text) FROM PUBLIC;"],
            },
            BySql {
                plant: "GRANT SET ON PARAMETER log_statement TO PUBLIC",
                undo: "REVOKE SET ON PARAMETER log_statement FROM PUBLIC",
                code,
                says: &["REVOKE SET ON PARAMETER log_statement FROM PUBLIC;"],
            },
            BySql {
                plant: "CREATE FUNCTION public.lent() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
                undo: "REVOKE EXECUTE ON ROUTINE public.lent() FROM PUBLIC",
                code,
                says: &["PUBLIC can execute public.lent()", "REVOKE EXECUTE ON ROUTINE public.lent() FROM PUBLIC;"],
            },
            BySql {
                plant: "CREATE ROLE clerk; GRANT EXECUTE ON FUNCTION public.lent() TO clerk",
                undo: "DROP FUNCTION public.lent()",
                code,
                says: &["\"clerk\" can execute public.lent()", "FROM clerk;"],
            },
            BySql {
                plant: "CREATE FUNCTION public.own() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
                    CREATE LANGUAGE plunsafe HANDLER plpgsql_call_handler;
                    CREATE FUNCTION public.unsafe() RETURNS int LANGUAGE plunsafe AS 'BEGIN RETURN 1; END';
                    ALTER FUNCTION public.own() OWNER TO clerk",
                undo: "DROP FUNCTION public.own(); DROP LANGUAGE plunsafe CASCADE; DROP ROLE clerk",
                code,
                says: &["public.unsafe(), which is written in a language that is not trusted"],
            },
        ],
    )?;
    server.sql("CREATE ROLE owner")?;
    server.sql("CREATE DATABASE owned OWNER owner")?;
    server.sql_in("owned", "CREATE EXTENSION aadauth")?;
    let found = server.sql_in(
        "owned",
        "SELECT problem FROM aadauth.check_configuration() WHERE code = 'database-reaches-privileges'",
    )?;
    ensure(
        found.contains("\"owner\", decides") && !found.contains("execute"),
        || found,
    )
}
