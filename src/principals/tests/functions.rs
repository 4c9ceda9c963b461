use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use super::super::*;

    fn create(name: &str, oid: &str, kind: &str, admin: bool, mfa: bool) -> String {
        call("create", name, oid, kind, admin, mfa)
    }

    fn update(name: &str, oid: &str, kind: &str, admin: bool, mfa: bool) -> String {
        call("update", name, oid, kind, admin, mfa)
    }

    fn call(verb: &str, name: &str, oid: &str, kind: &str, admin: bool, mfa: bool) -> String {
        let [name, oid, kind] = [name, oid, kind].map(quote_literal);
        format!("SELECT pgaadauth_{verb}_principal_with_oid({name}, {oid}, {kind}, {admin}, {mfa})")
    }

    /// Login, createrole, createdb, superuser, membership in azure_pg_admin with ADMIN OPTION.
    fn attributes(role: &str) -> String {
        text(&format!(
            "SELECT concat_ws(' ', CASE WHEN rolcanlogin THEN 'login' END,
                 CASE WHEN rolcreaterole THEN 'createrole' END,
                 CASE WHEN rolcreatedb THEN 'createdb' END,
                 CASE WHEN rolsuper OR rolreplication OR rolbypassrls THEN 'more' END,
                 (SELECT string_agg(roleid::regrole || CASE WHEN admin_option THEN '*' ELSE '' END, ' ')
                  FROM pg_auth_members WHERE member = pg_roles.oid))
             FROM pg_roles WHERE oid = {}::regrole",
            quote_literal(quote_identifier(role))
        ))
        .unwrap()
    }

    #[pg_test]
    fn create_makes_a_role_that_may_sign_in() {
        for (kind, oid) in [("user", ALICE), ("group", BOB), ("service", TENANT)] {
            let name = format!("the {kind}");
            let answer = text(&create(&name, oid, kind, false, kind == "user"));
            assert_eq!(answer.unwrap(), format!("Created role for \"the {kind}\""));
            assert_eq!(attributes(&name), "login");
            let mfa = if kind == "user" { ",mfa" } else { "" };
            assert_eq!(
                labels(&format!("\"{name}\"")),
                (
                    format!("aadauth,oid={oid},type={kind}{mfa}"),
                    format!("type={kind},oid={oid},tenant_id={TENANT}")
                )
            );
        }
    }

    #[pg_test]
    fn an_admin_gets_what_azure_gives() {
        run(&create("boss", &ALICE.to_uppercase(), "user", true, false));
        assert_eq!(
            attributes("boss"),
            "login createrole createdb azure_pg_admin*"
        );
        assert_eq!(
            labels("boss").1,
            format!("type=user,oid={ALICE},tenant_id={TENANT},admin")
        );
        // The grantor is not a role that the grant would keep from being dropped.
        assert!(is_true(
            "SELECT bool_and(grantor = 10) FROM pg_auth_members
             WHERE member = 'boss'::regrole AND roleid = 'azure_pg_admin'::regrole"
        ));
    }

    #[pg_test]
    fn an_entra_admin_makes_admins() {
        make_admin();
        as_signed_in("root_admin", || {
            run(&create("boss", ALICE, "user", true, false));
            run(&create("clerk", BOB, "user", false, false));
            // The privileges were raised for that one statement only.
            assert_eq!(text("SELECT current_user::text").unwrap(), "root_admin");
            failure("CREATE ROLE su SUPERUSER");
        });
        assert_eq!(
            attributes("boss"),
            "login createrole createdb azure_pg_admin*"
        );
        assert_eq!(attributes("clerk"), "login");
        assert!(is_true(
            "SELECT bool_and(grantor = 10) FROM pg_auth_members
             WHERE member = 'boss'::regrole"
        ));
    }

    #[pg_test]
    fn an_error_leaves_the_user_as_it_was() {
        make_admin();
        run("ALTER ROLE azure_pg_admin RENAME TO gone");
        as_signed_in("root_admin", || {
            failure(&create("boss", ALICE, "user", true, false));
            assert_eq!(text("SELECT current_user::text").unwrap(), "root_admin");
            assert!(!is_true(
                "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'boss')"
            ));
        });
    }

    #[pg_test]
    fn create_is_strict_update_maps_what_is_there() {
        run("CREATE ROLE plain; CREATE TABLE owned (); ALTER TABLE owned OWNER TO plain");
        let exists = failure(&create("plain", ALICE, "user", false, false));
        assert_eq!(
            (exists.sqlstate.as_str(), exists.message.as_str()),
            ("42710", "role \"plain\" already exists")
        );
        assert_eq!(
            text(&update("plain", ALICE, "user", false, false)).unwrap(),
            "Updated role for \"plain\""
        );
        assert_eq!(labels("plain").0, format!("aadauth,oid={ALICE},type=user"));
        // In place: another principal, another kind, MFA, and what it owns stays.
        run(&update("plain", BOB, "service", false, true));
        assert_eq!(
            labels("plain"),
            (
                format!("aadauth,oid={BOB},type=service,mfa"),
                format!("type=service,oid={BOB},tenant_id={TENANT}")
            )
        );
        run(&update("plain", BOB, "service", false, false));
        assert_eq!(labels("plain").0, format!("aadauth,oid={BOB},type=service"));
        assert!(is_true(
            "SELECT relowner = 'plain'::regrole FROM pg_class WHERE relname = 'owned'"
        ));
        let missing = failure(&update("nobody", ALICE, "user", false, false));
        assert_eq!(
            (missing.sqlstate.as_str(), missing.message.as_str()),
            ("42704", "role \"nobody\" does not exist")
        );
    }

    #[pg_test]
    fn update_moves_a_role_to_the_configured_tenant() {
        run("CREATE ROLE plain");
        run(&internal(
            "plain",
            &format!("type=user,oid={ALICE},tenant_id={BOB}"),
        ));
        run(&update("plain", ALICE, "user", false, false));
        assert_eq!(
            labels("plain").1,
            format!("type=user,oid={ALICE},tenant_id={TENANT}")
        );
    }

    #[pg_test]
    fn update_makes_and_unmakes_admins() {
        run("CREATE ROLE r LOGIN");
        run(&update("r", ALICE, "user", true, false));
        assert_eq!(attributes("r"), "login createrole createdb azure_pg_admin*");
        run(&update("r", ALICE, "user", true, false));
        run(&update("r", ALICE, "user", false, false));
        assert_eq!(attributes("r"), "login");
        assert_eq!(
            labels("r").1,
            format!("type=user,oid={ALICE},tenant_id={TENANT}")
        );
        // A role that was not an admin keeps its attributes.
        run("ALTER ROLE r CREATEDB");
        run(&update("r", ALICE, "user", false, false));
        assert_eq!(attributes("r"), "login createdb");
    }

    #[cfg(not(feature = "pg15"))]
    #[pg_test]
    fn every_admin_administers_who_is_none() {
        let administered = |role: &str| {
            is_true(&format!(
                "SELECT EXISTS (SELECT FROM pg_auth_members WHERE roleid = '{role}'::regrole
                 AND member = 'azure_pg_admin'::regrole AND grantor = 10
                 AND admin_option AND NOT inherit_option AND NOT set_option)"
            ))
        };
        run(&create("clerk", ALICE, "user", false, false));
        assert!(administered("clerk"));
        run(&update("clerk", ALICE, "user", true, false));
        assert!(!administered("clerk"));
        run(&update("clerk", ALICE, "user", false, false));
        assert!(administered("clerk"));
        run("CREATE ROLE runner IN ROLE pg_execute_server_program");
        run(&update("runner", BOB, "user", false, false));
        assert!(!administered("runner"));
    }

    #[pg_test]
    fn arguments_are_understood_or_refused() {
        for (statement, sqlstate, says) in [
            (create("", ALICE, "user", false, false), "42602", "empty"),
            (
                create(&"x".repeat(64), ALICE, "user", false, false),
                "42622",
                "64 bytes",
            ),
            // 63 characters, 64 bytes.
            (
                create(&format!("é{}", "x".repeat(62)), ALICE, "user", false, false),
                "42622",
                "64 bytes",
            ),
            (
                update(&"x".repeat(64), ALICE, "user", false, false),
                "42622",
                "64 bytes",
            ),
            (
                create("pg_mine", ALICE, "user", false, false),
                "42939",
                "reserved",
            ),
            (
                create("public", ALICE, "user", false, false),
                "42939",
                "reserved",
            ),
            (
                create("none", ALICE, "user", false, false),
                "42939",
                "reserved",
            ),
            (
                create("r", "alice", "user", false, false),
                "22023",
                "object id",
            ),
            (create("r", "", "user", false, false), "22023", "object id"),
            (
                create("r", &format!("{{{ALICE}}}"), "user", false, false),
                "22023",
                "object id",
            ),
            (
                create("r", &ALICE.replace('-', ""), "user", false, false),
                "22023",
                "object id",
            ),
            (
                create(
                    "r",
                    &format!("{ALICE},type=user,admin"),
                    "user",
                    false,
                    false,
                ),
                "22023",
                "object id",
            ),
            (
                create(
                    "r",
                    "00000000-0000-0000-0000-000000000000",
                    "user",
                    false,
                    false,
                ),
                "22023",
                "object id",
            ),
            (
                create("r", ALICE, "User", false, false),
                "22023",
                "object type",
            ),
            (
                create("r", ALICE, "user,admin", false, false),
                "22023",
                "object type",
            ),
            (create("r", ALICE, "", false, false), "22023", "object type"),
        ] {
            let failure = failure(&statement);
            assert_eq!(failure.sqlstate, sqlstate, "{statement}: {failure:?}");
            assert!(failure.message.contains(says), "{statement}: {failure:?}");
        }
        for (argument, values) in [
            ("rolename", format!("NULL, '{ALICE}', 'user', false, false")),
            ("objectid", "'r', NULL, 'user', false, false".into()),
            ("objecttype", format!("'r', '{ALICE}', NULL, false, false")),
            ("isadmin", format!("'r', '{ALICE}', 'user', NULL, false")),
            ("ismfa", format!("'r', '{ALICE}', 'user', false, NULL")),
        ] {
            for verb in ["create", "update"] {
                let failure = failure(&format!(
                    "SELECT pgaadauth_{verb}_principal_with_oid({values})"
                ));
                assert_eq!(failure.sqlstate, "22004");
                assert_eq!(failure.message, format!("{argument} must not be null"));
            }
        }
        assert!(
            failure(&create("r", "x", "user", false, false))
                .hint
                .contains("GUID")
        );
        assert!(
            failure(&create("r", ALICE, "x", false, false))
                .hint
                .contains("user, group or service")
        );
        assert!(!is_true(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname IN ('r', ''))"
        ));
    }

    #[pg_test]
    fn any_name_that_postgres_keeps_is_kept() {
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
            (" ", 9),
        ] {
            let oid = format!("6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e40{number}");
            let answer = text(&create(name, &oid, "user", true, false)).unwrap();
            assert_eq!(answer, format!("Created role for \"{name}\""));
            run(&update(name, &oid, "user", false, true));
            assert!(is_true(&format!(
                "SELECT EXISTS (SELECT FROM pgaadauth_list_principals(false)
                 WHERE rolname = {} AND objectid = '{oid}' AND ismfa = 1 AND isadmin = 0)",
                quote_literal(name)
            )));
        }
        assert!(is_true(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'aadauth_auditor')"
        ));
    }

    #[pg_test]
    fn by_name_there_is_no_directory() {
        let by_name =
            failure("SELECT pgaadauth_create_principal('alice@contoso.com', false, false)");
        assert_eq!(by_name.sqlstate, "55000");
        assert!(
            by_name.hint.contains("pgaadauth_create_principal_with_oid"),
            "{by_name:?}"
        );
        let sync = failure("SELECT * FROM pgaadauth_sync_roles_for_group_members()");
        assert_eq!(sync.sqlstate, "55000");
    }

    #[pg_test]
    fn list_has_azures_columns() {
        let columns = "SELECT string_agg(name || ' ' || type::regtype, ', ' ORDER BY position)
             FROM pg_proc, unnest(proargnames, proallargtypes, proargmodes)
                  WITH ORDINALITY AS column_of (name, type, mode, position)
             WHERE proname = 'pgaadauth_list_principals' AND mode = 't'";
        assert_eq!(
            text(columns).unwrap(),
            "rolname name, principaltype text, objectid text, tenantid text, ismfa integer, \
             isadmin integer"
        );
    }

    #[pg_test]
    fn list_is_of_admins_or_of_all() {
        run(&create("b", ALICE, "group", false, true));
        run(&create("a", BOB, "user", true, false));
        run("CREATE ROLE somebody");
        let list = |admins| {
            text(&format!(
                "SELECT string_agg(l::text, ' ') FROM pgaadauth_list_principals({admins}) l"
            ))
            .unwrap()
        };
        let (a, b) = (
            format!("(a,user,{BOB},{TENANT},0,1)"),
            format!("(b,group,{ALICE},{TENANT},1,0)"),
        );
        assert_eq!(list(true), a);
        // Everybody may call it: pg_seclabels shows the same.
        assert_eq!(
            as_session_of("somebody", || list(false)),
            format!("{a} {b}")
        );
        // Roles with invalid labels admit nobody, so they are not listed.
        run("SET allow_system_table_mods = on");
        run("UPDATE pg_shseclabel SET label = 'junk' WHERE objoid = 'b'::regrole");
        assert_eq!(list(false), a);
    }

    #[pg_test]
    fn the_functions_are_azures() {
        let functions = "SELECT string_agg(p.oid::regprocedure::text, ' ' ORDER BY proname)
             FROM pg_proc p WHERE proname LIKE 'pgaadauth%' AND pronamespace = 'pg_catalog'::regnamespace
             AND NOT prosecdef AND provolatile = 'v'
             AND obj_description(p.oid, 'pg_proc') IS NOT NULL
             AND (prorettype = 'text'::regtype OR proretset)";
        assert_eq!(
            text(functions).unwrap(),
            "pgaadauth_create_principal(text,boolean,boolean) \
             pgaadauth_create_principal_with_oid(text,text,text,boolean,boolean) \
             pgaadauth_list_principals(boolean) pgaadauth_sync_roles_for_group_members() \
             pgaadauth_update_principal_with_oid(text,text,text,boolean,boolean)"
        );
    }
}
