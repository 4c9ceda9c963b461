use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use super::super::*;

    fn create() -> String {
        format!(
            "SELECT pgaadauth_create_principal_with_oid('carol', '{ALICE}', 'user', false, false)"
        )
    }

    /// Everything that changes a mapping.
    fn changes() -> Vec<String> {
        vec![
            create(),
            create().replace("create", "update"),
            "SELECT pgaadauth_create_principal('carol', false, false)".into(),
            "SELECT * FROM pgaadauth_sync_roles_for_group_members()".into(),
            public("carol", &format!("aadauth,oid={ALICE},type=user")),
            public("carol", "NULL"),
            internal(
                "carol",
                &format!("type=user,oid={ALICE},tenant_id={TENANT}"),
            ),
            internal("carol", "NULL"),
        ]
    }

    #[track_caller]
    fn all_denied() {
        for change in changes() {
            let failure = failure(&change);
            assert_eq!(failure.sqlstate, "42501", "{change}: {failure:?}");
            assert!(failure.hint.contains("Entra"), "{change}: {failure:?}");
        }
    }

    #[pg_test]
    fn sessions_that_may_not_map_get_azures_text() {
        run("CREATE ROLE somebody");
        for function in [
            "pgaadauth_create_principal('x', false, false)",
            "pgaadauth_create_principal_with_oid('x', 'x', 'x', false, false)",
            "pgaadauth_update_principal_with_oid('x', 'x', 'x', false, false)",
            "pgaadauth_sync_roles_for_group_members()",
        ] {
            let failure = as_session_of("somebody", || failure(&format!("SELECT {function}")));
            let name = function.split('(').next().unwrap();
            assert_eq!(
                failure.message,
                format!("permission denied for function {name}")
            );
        }
    }

    #[pg_test]
    fn createrole_confers_nothing() {
        run("CREATE ROLE carol; CREATE ROLE clerk CREATEROLE");
        make_admin();
        // Since 16 PostgreSQL asks for this first.
        run("GRANT carol TO clerk, root_admin WITH ADMIN OPTION");
        as_session_of("clerk", all_denied);
        // Nor does the membership it can give itself on 15.
        run("GRANT root_admin TO clerk");
        as_session_of("clerk", || {
            run("SET ROLE root_admin");
            all_denied();
            run("RESET ROLE");
        });
    }

    #[pg_test]
    fn a_superuser_gives_it_up_with_set_role() {
        run(
            "CREATE ROLE carol; CREATE ROLE clerk CREATEROLE; GRANT carol TO clerk WITH ADMIN OPTION",
        );
        run("SET ROLE clerk");
        all_denied();
        run("RESET ROLE");
        run(&public("carol", &format!("aadauth,oid={ALICE},type=user")));
    }

    #[pg_test]
    fn security_definer_lends_it_to_nobody() {
        run("CREATE ROLE carol; CREATE ROLE somebody CREATEROLE");
        run(
            "CREATE FUNCTION lend(statement text) RETURNS void SECURITY DEFINER LANGUAGE plpgsql
             AS $$ BEGIN EXECUTE statement; END $$",
        );
        as_session_of("somebody", || {
            for change in changes() {
                let failure = failure(&format!("SELECT lend({})", quote_literal(change)));
                assert_eq!(failure.sqlstate, "42501");
            }
        });
        // Nor does the function of an admin, in a superuser's session.
        make_admin();
        run("GRANT carol TO root_admin WITH ADMIN OPTION; ALTER FUNCTION lend OWNER TO root_admin");
        let failure = failure(&format!("SELECT lend({})", quote_literal(create())));
        assert_eq!(failure.sqlstate, "42501");
    }

    #[pg_test]
    fn an_entra_admin_may_as_themselves() {
        make_admin();
        as_signed_in("root_admin", || run(&create()));
        assert_eq!(labels("carol").0, format!("aadauth,oid={ALICE},type=user"));
        as_signed_in("root_admin", || run(&public("carol", "NULL")));
    }

    #[pg_test]
    fn an_entra_admin_with_a_password_session_may_not() {
        make_admin();
        run("CREATE ROLE carol; GRANT carol TO root_admin WITH ADMIN OPTION");
        as_session_of("root_admin", all_denied);
    }

    #[pg_test]
    fn an_entra_admin_may_not_as_another() {
        make_admin();
        run("CREATE ROLE carol; GRANT carol TO root_admin WITH ADMIN OPTION");
        run("CREATE ROLE other CREATEROLE; GRANT carol TO other WITH ADMIN OPTION");
        run("GRANT other TO root_admin");
        run(&public(
            "other",
            &format!("aadauth,oid={BOB},type=user,admin"),
        ));
        as_signed_in("root_admin", || {
            run("SET ROLE other");
            all_denied();
            run("RESET ROLE");
        });
    }

    #[pg_test]
    fn functions_of_an_entra_admin_lend_nothing() {
        make_admin();
        run("CREATE ROLE other CREATEROLE");
        run(
            "CREATE FUNCTION lend(statement text) RETURNS void SECURITY DEFINER LANGUAGE plpgsql
             AS $$ BEGIN EXECUTE statement; END $$",
        );
        run("ALTER FUNCTION lend OWNER TO root_admin");
        let call = format!("SELECT lend({})", quote_literal(create()));
        // In a session that a superuser made another's, and in the admin's own.
        for session in ["other", "root_admin"] {
            let failure =
                with_verdict_for("root_admin", || as_session_of(session, || failure(&call)));
            assert_eq!(failure.sqlstate, "42501", "{session}: {failure:?}");
        }
    }

    #[pg_test]
    fn another_session_user_is_not_the_entra_admin() {
        make_admin();
        run("CREATE ROLE other CREATEROLE; GRANT root_admin TO other; CREATE ROLE carol");
        run("GRANT carol TO root_admin, other WITH ADMIN OPTION");
        // Labeled an admin as well, but not the role that signed in to this backend.
        run(&public(
            "other",
            &format!("aadauth,oid={BOB},type=user,admin"),
        ));
        with_verdict_for("root_admin", || {
            as_session_of("other", || {
                all_denied();
                run("SET ROLE root_admin");
                all_denied();
                run("RESET ROLE");
            });
        });
    }

    #[pg_test]
    fn an_admin_ends_with_the_label() {
        make_admin();
        run("CREATE ROLE carol; GRANT carol TO root_admin WITH ADMIN OPTION");
        let id = "0a0a0a0a-1b1b-4c2c-8d3d-4e4e4e4e4e4e";
        for no_more in [
            public("root_admin", &format!("aadauth,oid={id},type=user")),
            public("root_admin", "NULL"),
        ] {
            run(&no_more);
            as_signed_in("root_admin", all_denied);
        }
        // Labels that disagree are no admin's either.
        run(&public(
            "root_admin",
            &format!("aadauth,oid={id},type=user,admin"),
        ));
        run("SET allow_system_table_mods = on");
        run(
            "UPDATE pg_shseclabel SET label = replace(label, ',admin', '')
             WHERE provider = 'pgaadauth-int' AND objoid = 'root_admin'::regrole",
        );
        as_signed_in("root_admin", all_denied);
    }

    #[pg_test]
    fn system_roles_are_mapped_by_nobody() {
        let bootstrap = text("SELECT rolname::text FROM pg_roles WHERE oid = 10").unwrap();
        for role in [
            "pg_monitor",
            "pg_execute_server_program",
            "azure_pg_admin",
            "aadauth_auditor",
            &bootstrap,
        ] {
            for label in [
                public(role, &format!("aadauth,oid={ALICE},type=user")),
                internal(role, &format!("type=user,oid={ALICE},tenant_id={TENANT}")),
                format!(
                    "SELECT pgaadauth_update_principal_with_oid('{role}', '{ALICE}', 'user', false, false)"
                ),
            ] {
                let failure = failure(&label);
                assert_eq!(failure.sqlstate, "42501", "{label}");
                assert!(failure.message.contains("cannot be mapped"), "{failure:?}");
            }
            run(&public(role, "NULL"));
        }
    }

    #[pg_test]
    fn only_a_superuser_maps_privileged_roles() {
        make_admin();
        run(
            "CREATE ROLE su SUPERUSER; CREATE ROLE middle; GRANT pg_execute_server_program TO middle",
        );
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
            run(made);
            run(&format!(
                "GRANT {role} TO root_admin WITH ADMIN OPTION; REVOKE {role} FROM root_admin"
            ));
            let mapped = public(role, &format!("aadauth,oid={ALICE},type=user"));
            if !cfg!(feature = "pg15") {
                run(&format!(
                    "GRANT {role} TO root_admin WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
                ));
            }
            let failure = as_signed_in("root_admin", || failure(&mapped));
            assert_eq!(failure.sqlstate, "42501", "{role}");
            // That of a superuser's role is PostgreSQL's own refusal.
            if role != "super" {
                assert!(
                    failure
                        .message
                        .contains("must be superuser to change the Entra"),
                    "{failure:?}"
                );
            }
            run(&mapped);
            run(&public(role, "NULL"));
        }
    }

    #[cfg(feature = "pg15")]
    #[pg_test]
    fn admins_leave_each_others_mapping_alone() {
        make_admin();
        run("CREATE ROLE other CREATEROLE CREATEDB");
        run(&public(
            "other",
            &format!("aadauth,oid={BOB},type=user,admin"),
        ));
        for role in ["other", "root_admin"] {
            for change in [
                public(role, "NULL"),
                public(role, &format!("aadauth,oid={ALICE},type=user,admin")),
                internal(role, &format!("type=user,oid={ALICE},tenant_id={TENANT}")),
                format!(
                    "SELECT pgaadauth_update_principal_with_oid('{role}', '{ALICE}', 'user', false, false)"
                ),
            ] {
                let failure = as_signed_in("root_admin", || failure(&change));
                assert_eq!(
                    failure.message,
                    format!("must be superuser to change the Entra mapping of admin \"{role}\"")
                );
            }
        }
        as_signed_in("root_admin", || {
            run(&format!(
                "SELECT pgaadauth_create_principal_with_oid('third', '{ALICE}', 'user', true, false)"
            ));
        });
        run(&public("other", "NULL"));
    }

    #[pg_test]
    fn the_audit_is_for_auditors() {
        run("CREATE ROLE clerk CREATEROLE; CREATE ROLE auditor IN ROLE aadauth_auditor");
        run("CREATE ROLE somebody");
        run("GRANT pg_read_all_data, pg_write_all_data TO clerk");
        let insert = "INSERT INTO aadauth.sign_in_audit
            (event_id, occurred_at, role, outcome, method, tls, backend_pid, decision_time, count)
            VALUES (gen_random_uuid(), now(), 'x', 'refused', 'password', true, 1, '1 ms', 1)";
        run("CREATE TABLE weeks PARTITION OF aadauth.sign_in_audit DEFAULT");
        run(insert);
        run("INSERT INTO aadauth.audit_spool VALUES (gen_random_uuid(), 1, 0)");
        let seen = |relation: &str| {
            Spi::get_one::<i64>(&format!("SELECT count(*) FROM aadauth.{relation}")).unwrap()
        };
        as_session_of("clerk", || {
            assert_eq!(
                (seen("sign_in_audit"), seen("sign_ins")),
                (Some(0), Some(0))
            );
            assert_eq!(failure(insert).sqlstate, "42501");
            assert_eq!(failure("TRUNCATE aadauth.sign_in_audit").sqlstate, "42501");
            run("UPDATE aadauth.sign_in_audit SET role = 'y'");
            run("DELETE FROM aadauth.sign_in_audit");
            run("DELETE FROM aadauth.audit_spool");
        });
        as_session_of("auditor", || {
            assert_eq!(
                (seen("sign_in_audit"), seen("sign_ins")),
                (Some(1), Some(1))
            );
            for change in [insert, "DELETE FROM aadauth.sign_in_audit"] {
                assert_eq!(failure(change).sqlstate, "42501");
            }
        });
        as_session_of("somebody", || {
            for relation in ["sign_in_audit", "sign_ins", "audit_spool"] {
                let select = format!("SELECT FROM aadauth.{relation}");
                assert_eq!(failure(&select).sqlstate, "42501");
            }
        });
        assert!(is_true(
            "SELECT role = 'x' FROM aadauth.sign_in_audit, aadauth.audit_spool WHERE read_to = 1"
        ));
    }
}
