use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use super::super::*;

    #[pg_test]
    fn a_public_label_writes_the_internal_one() {
        run("CREATE ROLE r");
        for (public_text, internal_text) in [
            (
                format!("aadauth,oid={ALICE},type=user"),
                format!("type=user,oid={ALICE},tenant_id={TENANT}"),
            ),
            (
                format!("aadauth,oid={ALICE},type=group,admin"),
                format!("type=group,oid={ALICE},tenant_id={TENANT},admin"),
            ),
            // Stays as it was typed.
            (
                format!(
                    "aadauth,mfa,type=service,admin,oid={}",
                    ALICE.to_uppercase()
                ),
                format!("type=service,oid={ALICE},tenant_id={TENANT},admin"),
            ),
        ] {
            run(&public("r", &public_text));
            assert_eq!(labels("r"), (public_text, internal_text));
        }
    }

    #[pg_test]
    fn an_internal_label_writes_the_public_one() {
        run("CREATE ROLE r");
        run(&internal(
            "r",
            &format!("type=user,oid={ALICE},tenant_id={TENANT}"),
        ));
        assert_eq!(labels("r").0, format!("aadauth,oid={ALICE},type=user"));
        // Another principal: rewritten. It does not mention MFA, so the requirement stays.
        run(&public("r", &format!("aadauth,oid={ALICE},type=user,mfa")));
        run(&internal(
            "r",
            &format!("type=group,oid={BOB},tenant_id={TENANT},admin"),
        ));
        assert_eq!(
            labels("r").0,
            format!("aadauth,oid={BOB},type=group,admin,mfa")
        );
    }

    #[pg_test]
    fn a_dump_replays_in_either_order() {
        // A tenant other than the configured one: what was dumped comes back as it was.
        let tenant = "99999999-8888-4777-8666-555555555555";
        let public_text = format!("aadauth,type=service,oid={},mfa", ALICE.to_uppercase());
        let internal_text = format!("oid={ALICE},tenant_id={tenant},type=service");
        run("CREATE ROLE r; CREATE ROLE s");
        run(&public("r", &public_text));
        run(&internal("r", &internal_text));
        assert_eq!(labels("r"), (public_text.clone(), internal_text.clone()));
        run(&internal("r", "NULL"));
        run(&internal("r", &internal_text));
        run(&public("r", &public_text));
        let replayed = format!("type=service,oid={ALICE},tenant_id={tenant}");
        assert_eq!(labels("r"), (public_text, replayed));
        // Azure's bare public label, whose principal only the internal one knows.
        run(&internal(
            "s",
            &format!("type=user,oid={BOB},tenant_id={tenant},admin"),
        ));
        run(&public("s", "aadauth,admin"));
        assert_eq!(labels("s").0, "aadauth,admin");
    }

    #[pg_test]
    fn null_clears_both() {
        run("CREATE ROLE r");
        for clear in [public("r", "NULL"), internal("r", "NULL")] {
            run(&public("r", &format!("aadauth,oid={ALICE},type=user")));
            run(&clear);
            assert_eq!(labels("r"), ("-".into(), "-".into()));
            run(&clear);
        }
    }

    #[pg_test]
    fn a_bare_label_names_the_function_that_needs_no_directory() {
        run("CREATE ROLE r");
        for bare in ["aadauth", "aadauth,admin", "aadauth,mfa"] {
            let failure = failure(&public("r", bare));
            assert_eq!(failure.sqlstate, "55000");
            assert!(
                failure.hint.contains("pgaadauth_create_principal_with_oid"),
                "{failure:?}"
            );
        }
        // Agreeing with the internal label, it is known whom it means; else not.
        run(&internal(
            "r",
            &format!("type=user,oid={ALICE},tenant_id={TENANT}"),
        ));
        run(&public("r", "aadauth,mfa"));
        failure(&public("r", "aadauth,admin"));
        assert_eq!(labels("r").0, "aadauth,mfa");
    }

    /// Scripts of pg_dumpall begin with that setting.
    #[pg_test]
    fn a_dump_replays_a_bare_label_before_the_internal_one() {
        run("CREATE ROLE r; SET default_transaction_read_only = off");
        run(&public("r", "aadauth,admin,mfa"));
        assert_eq!(labels("r"), ("aadauth,admin,mfa".into(), "-".into()));
        let internal_text = format!("type=user,oid={ALICE},tenant_id={BOB},admin");
        run(&internal("r", &internal_text));
        assert_eq!(labels("r"), ("aadauth,admin,mfa".into(), internal_text));
        run("RESET default_transaction_read_only; CREATE ROLE s");
        assert_eq!(failure(&public("s", "aadauth")).sqlstate, "55000");
    }

    #[pg_test]
    fn what_is_no_label_is_refused_with_what_is_accepted() {
        run("CREATE ROLE r");
        let long = format!("aadauth,oid={ALICE},type=user,{}", "x".repeat(1000));
        for bad in [
            "",
            "aad",
            "aadauth ",
            "aadauth, admin",
            "aadauth,database=x",
            &format!("aadauth,oid={ALICE}"),
            &format!("aadauth,oid={ALICE},type=robot"),
            "aadauth,oid=alice,type=user",
            &long,
        ] {
            let failure = failure(&public("r", bad));
            assert_eq!(failure.sqlstate, "22023", "{bad}");
            assert!(
                failure.hint.contains("aadauth[,oid=GUID,type="),
                "{failure:?}"
            );
        }
        for bad in [
            "",
            "aadauth",
            &format!("type=user,oid={ALICE}"),
            &format!("oid={ALICE}"),
        ] {
            let failure = failure(&internal("r", bad));
            assert_eq!(failure.sqlstate, "22023", "{bad}");
            assert!(failure.hint.contains("tenant_id=GUID"), "{failure:?}");
        }
        assert_eq!(labels("r"), ("-".into(), "-".into()));
    }

    #[pg_test]
    fn one_principal_has_one_role() {
        run("CREATE ROLE r; CREATE ROLE s");
        run(&public("r", &format!("aadauth,oid={ALICE},type=user")));
        for taken in [
            public(
                "s",
                &format!("aadauth,oid={},type=user", ALICE.to_uppercase()),
            ),
            // Of another kind it is the same object all the same.
            public("s", &format!("aadauth,oid={ALICE},type=service")),
            internal("s", &format!("type=user,oid={ALICE},tenant_id={TENANT}")),
            format!(
                "SELECT pgaadauth_create_principal_with_oid('t', '{ALICE}', 'user', false, false)"
            ),
        ] {
            let failure = failure(&taken);
            assert_eq!(failure.sqlstate, "23505", "{taken}");
            assert!(failure.message.contains("\"r\""), "{failure:?}");
        }
        // The same id in another tenant is another principal, and the role itself may be labeled again.
        run(&internal(
            "s",
            &format!("type=user,oid={ALICE},tenant_id={BOB}"),
        ));
        run(&public("r", &format!("aadauth,oid={ALICE},type=user,mfa")));
        // Agreement with an internal label does not excuse a duplicate.
        run("DROP ROLE s; CREATE ROLE s");
        run(&public("r", "NULL"));
        run(&public("s", &format!("aadauth,oid={ALICE},type=user")));
        failure(&public("r", &format!("aadauth,oid={ALICE},type=user")));
    }

    #[pg_test]
    fn a_label_change_holds_the_lock_until_the_transaction_ends() {
        run("CREATE ROLE r");
        let held = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()
             AND locktype = 'object' AND classid = 'pg_shseclabel'::regclass
             AND mode = 'ExclusiveLock' AND granted";
        assert_eq!(Spi::get_one::<i64>(held).unwrap(), Some(0));
        run(&public("r", &format!("aadauth,oid={ALICE},type=user")));
        assert_eq!(Spi::get_one::<i64>(held).unwrap(), Some(1));
    }

    #[pg_test]
    fn labels_are_for_roles() {
        run("CREATE TABLE t ()");
        for object in ["TABLE t", "DATABASE postgres"] {
            for provider in ["pgaadauth", "pgaadauth-int"] {
                let failure = failure(&format!(
                    "SECURITY LABEL FOR \"{provider}\" ON {object} IS 'aadauth,oid={ALICE},type=user'"
                ));
                assert_eq!(failure.sqlstate, "42809");
            }
        }
    }

    #[pg_test]
    fn a_dropped_role_leaves_no_label() {
        run("CREATE ROLE r");
        run(&public("r", &format!("aadauth,oid={ALICE},type=user")));
        run("DROP ROLE r; CREATE ROLE r");
        assert_eq!(labels("r"), ("-".into(), "-".into()));
        run(&public("r", &format!("aadauth,oid={ALICE},type=user")));
    }
}
