//! PostgreSQL 15 only: since 16 PostgreSQL asks for ADMIN OPTION by itself.
#![cfg(feature = "pg15")]

use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use super::super::*;

    const PROTECTED: [&str; 7] = [
        "pg_read_all_data",
        "pg_write_all_data",
        "pg_read_server_files",
        "pg_write_server_files",
        "pg_execute_server_program",
        "aadauth_auditor",
        "azure_pg_admin",
    ];

    /// A privileged role of every kind that is not protected by name, and an ordinary one.
    fn make_roles() {
        run(
            "CREATE ROLE clerk CREATEROLE CREATEDB LOGIN; CREATE ROLE friend; CREATE ROLE ordinary",
        );
        run("CREATE ROLE middle IN ROLE pg_execute_server_program");
        run("CREATE ROLE runner NOINHERIT IN ROLE middle; CREATE ROLE rls BYPASSRLS");
        run("CREATE ROLE su SUPERUSER; CREATE ROLE below IN ROLE su");
    }

    #[track_caller]
    fn refused(statement: &str) {
        let failure = failure(statement);
        assert_eq!(failure.sqlstate, "42501", "{statement}: {failure:?}");
        assert!(
            failure.message.starts_with("must be superuser to"),
            "{statement}: {failure:?}"
        );
        assert!(
            !failure.detail.is_empty() && !failure.hint.is_empty(),
            "{failure:?}"
        );
    }

    #[pg_test]
    fn createrole_gives_privileged_roles_no_members() {
        make_roles();
        as_session_of("clerk", || {
            for role in PROTECTED
                .into_iter()
                .chain(["middle", "runner", "rls", "below"])
            {
                refused(&format!("GRANT {role} TO clerk"));
                refused(&format!(
                    "GRANT ordinary, {role} TO friend WITH ADMIN OPTION"
                ));
                refused(&format!("CREATE ROLE new IN ROLE ordinary, {role}"));
                refused(&format!("CREATE USER new IN GROUP {role}"));
            }
            for role in ["aadauth_auditor", "azure_pg_admin", "middle"] {
                refused(&format!("ALTER GROUP {role} ADD USER clerk"));
                refused(&format!("ALTER ROLE {role} USER clerk"));
            }
        });
    }

    #[pg_test]
    fn nested_statements_are_seen() {
        make_roles();
        run("CREATE FUNCTION inner_grant() RETURNS void LANGUAGE sql
             AS 'GRANT pg_execute_server_program TO clerk'");
        as_session_of("clerk", || {
            refused("DO $$ BEGIN EXECUTE 'GRANT pg_execute_server_program TO clerk'; END $$");
            refused("SELECT inner_grant()");
        });
    }

    #[pg_test]
    fn createrole_alters_no_privileged_role() {
        make_roles();
        as_session_of("clerk", || {
            for role in [
                "aadauth_auditor",
                "azure_pg_admin",
                "middle",
                "runner",
                "rls",
                "below",
            ] {
                refused(&format!("ALTER ROLE {role} PASSWORD 'x'"));
                refused(&format!("ALTER USER {role} LOGIN"));
                refused(&format!("ALTER ROLE {role} USER friend PASSWORD 'x'"));
                refused(&format!("ALTER ROLE {role} VALID UNTIL 'infinity'"));
                refused(&format!("ALTER ROLE {role} SET search_path = evil"));
                refused(&format!(
                    "ALTER ROLE {role} IN DATABASE postgres SET role = clerk"
                ));
                refused(&format!("ALTER ROLE {role} RESET ALL"));
                refused(&format!("ALTER ROLE {role} RENAME TO other"));
                refused(&format!("DROP ROLE {role}"));
                refused(&format!("DROP ROLE IF EXISTS friend, {role}"));
            }
        });
    }

    /// A user who acts as an admin, prepares an admin's session, or creates the role again could map roles.
    #[pg_test]
    fn createrole_leaves_entra_admins_alone() {
        make_roles();
        run("CREATE ROLE chief LOGIN CREATEROLE");
        run(&format!(
            "SECURITY LABEL FOR pgaadauth ON ROLE chief IS 'aadauth,oid={ALICE},type=user,admin'"
        ));
        as_session_of("clerk", || {
            refused("GRANT chief TO clerk");
            refused("ALTER ROLE chief SET search_path = evil");
            refused("ALTER ROLE chief IN DATABASE postgres SET search_path = evil");
            refused("ALTER ROLE chief RENAME TO other");
            refused("DROP ROLE chief");
        });
        as_session_of("chief", || run("ALTER ROLE chief SET search_path = mine"));
    }

    #[pg_test]
    fn everything_else_stays_as_it_was() {
        make_roles();
        run("CREATE ROLE guest IN ROLE rls");
        as_session_of("clerk", || {
            run("GRANT ordinary TO friend");
            run("GRANT pg_monitor TO friend");
            run("CREATE ROLE new IN ROLE ordinary ROLE friend");
            run("ALTER GROUP ordinary ADD USER clerk; ALTER GROUP ordinary DROP USER clerk");
            run("ALTER ROLE friend LOGIN PASSWORD 'x'; ALTER ROLE friend SET search_path = x");
            run("ALTER ROLE friend RENAME TO mate; DROP ROLE mate, new");
            run("ALTER GROUP rls DROP USER guest; REVOKE pg_execute_server_program FROM middle");
            run("ALTER ROLE clerk PASSWORD 'x'; ALTER ROLE CURRENT_USER SET search_path = x");
            // PostgreSQL's own complaints.
            assert_eq!(failure("GRANT no_such TO clerk").sqlstate, "42704");
            assert_eq!(failure("ALTER ROLE no_such LOGIN").sqlstate, "42704");
            assert_eq!(failure("DROP ROLE no_such").sqlstate, "42704");
            run("DROP ROLE IF EXISTS no_such");
            assert_eq!(
                failure("ALTER ROLE ALL SET search_path = x").sqlstate,
                "42501"
            );
        });
    }

    #[pg_test]
    fn a_privileged_role_still_looks_after_itself() {
        run("CREATE ROLE runner LOGIN CREATEROLE IN ROLE pg_execute_server_program");
        as_session_of("runner", || {
            run("ALTER ROLE runner PASSWORD 'x'");
            run("ALTER ROLE CURRENT_USER SET work_mem = '8MB'");
            refused("GRANT pg_execute_server_program TO runner");
        });
    }

    #[pg_test]
    fn superusers_are_not_in_its_way() {
        make_roles();
        for role in PROTECTED {
            run(&format!("GRANT {role} TO friend"));
        }
        run(
            "ALTER ROLE middle LOGIN PASSWORD 'x'; ALTER ROLE middle RENAME TO other; DROP ROLE other",
        );
        run("ALTER GROUP aadauth_auditor ADD USER ordinary");
        run(
            "CREATE FUNCTION lend() RETURNS void SECURITY DEFINER LANGUAGE sql
             AS 'GRANT pg_execute_server_program TO ordinary'",
        );
        as_session_of("clerk", || run("SELECT lend()"));
    }

    #[pg_test]
    fn errors_of_statements_keep_their_detail() {
        run("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1)");
        let failure = failure("CREATE UNIQUE INDEX ON t (a)");
        assert_eq!(failure.detail, "Key (a)=(1) is duplicated.");
    }
}
