use pg_test::Result;
use pg_test::place::give_to_server;
use pg_test::server::Server;
use uuid::Uuid;

use super::{BySql, expect, expect_silence, findings, good, good_server, plant_by_sql};
use crate::rig::{Rig, ensure, installed_library};

const MISTAKES: &[BySql] = &[
    BySql {
        plant: "CREATE ROLE owner; ALTER TABLE aadauth.sign_in_audit OWNER TO owner",
        undo: "ALTER TABLE aadauth.sign_in_audit OWNER TO postgres; DROP ROLE owner",
        code: "audit-database-owner",
        says: &["A part of the audit"],
    },
    BySql {
        plant: "REVOKE SELECT ON aadauth.sign_ins FROM aadauth_auditor",
        undo: "GRANT SELECT ON aadauth.sign_ins TO aadauth_auditor",
        code: "own-role-without-privileges",
        says: &["Run GRANT SELECT ON aadauth.sign_ins TO aadauth_auditor."],
    },
    BySql {
        plant: "REVOKE EXECUTE ON FUNCTION aadauth.explain_sign_in(uuid) FROM aadauth_auditor",
        undo: "GRANT EXECUTE ON FUNCTION aadauth.explain_sign_in(uuid) TO aadauth_auditor",
        code: "own-role-without-privileges",
        says: &["Run GRANT EXECUTE ON FUNCTION aadauth.explain_sign_in(uuid) TO"],
    },
    BySql {
        plant: "REVOKE EXECUTE ON FUNCTION aadauth.why(text) FROM aadauth_auditor",
        undo: "GRANT EXECUTE ON FUNCTION aadauth.why(text) TO aadauth_auditor",
        code: "own-role-without-privileges",
        says: &["Run GRANT EXECUTE ON FUNCTION aadauth.why(text) TO"],
    },
    BySql {
        plant: "ALTER TABLE aadauth.audit_spool RENAME COLUMN read_to TO read_up_to",
        undo: "ALTER TABLE aadauth.audit_spool RENAME COLUMN read_up_to TO read_to",
        code: "audit-not-recorded",
        says: &["sign-ins are not recorded"],
    },
    BySql {
        plant: "ALTER TABLE aadauth.revoked_principals RENAME COLUMN until TO up_to",
        undo: "ALTER TABLE aadauth.revoked_principals RENAME COLUMN up_to TO until",
        code: "revocations-not-renewed",
        says: &["aadauth.database", "revocations are not read"],
    },
    BySql {
        plant: "CREATE TABLE public.notes ()",
        undo: "DROP TABLE public.notes",
        code: "audit-database-shared",
        says: &["aadauth.database", "has tables of others"],
    },
    BySql {
        plant: "CREATE PUBLICATION notes",
        undo: "DROP PUBLICATION notes",
        code: "audit-database-shared",
        says: &["has publications of others"],
    },
    BySql {
        plant:
            "CREATE FUNCTION public.nothing() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
                CREATE EVENT TRIGGER nothing ON sql_drop EXECUTE FUNCTION public.nothing()",
        undo: "DROP EVENT TRIGGER nothing; DROP FUNCTION public.nothing()",
        code: "audit-database-shared",
        says: &["has event triggers of others"],
    },
];

pub fn mistakes(rig: &Rig) -> Result<()> {
    let mut server = good_server(rig, "check-audit", |plan| plan)?;
    plant_by_sql(&server, MISTAKES)?;
    // As before the library was there, which refuses it.
    server.sql(
        "CREATE ROLE owner; SET allow_system_table_mods = on;
         UPDATE pg_database SET datdba = 'owner'::regrole WHERE datname = 'postgres'",
    )?;
    server.reload()?;
    let says: &[&str] = &["aadauth.database", "\"postgres\""];
    expect(
        &server,
        "another owner",
        &[
            ("audit-database-owner", says),
            ("revocations-not-renewed", says),
        ],
    )?;
    server.sql("ALTER DATABASE postgres OWNER TO postgres; DROP ROLE owner")?;
    server.reload()?;
    expect_silence(&server, "the owner is back")?;
    server.sql("CREATE DATABASE bare")?;
    server.configure(&[("aadauth.database", Some("bare"))])?;
    let says: &[&str] = &["aadauth.database", "\"bare\""];
    expect(&server, "bare", &[("audit-extension-missing", says)])?;
    server.configure(&[("aadauth.database", Some("nowhere"))])?;
    let says: &[&str] = &["aadauth.database", "\"nowhere\""];
    expect(
        &server,
        "nowhere",
        &[
            ("audit-database-missing", says),
            ("revocations-not-renewed", says),
        ],
    )?;
    server.configure(&[("aadauth.database", None)])?;
    expect_silence(&server, "with the database")
}

pub fn spool(rig: &Rig) -> Result<()> {
    let mut server = good_server(rig, "check-spool", |plan| {
        plan.set("aadauth.audit_spool_limit", "256kB")
            .set("aadauth.audit_local_sign_ins", "off")
    })?;
    server.sql("CREATE DATABASE bare")?;
    server.configure(&[("aadauth.database", Some("bare"))])?;
    let missing: (&str, &[&str]) = ("audit-extension-missing", &["\"bare\""]);
    expect(&server, "no room in the table", &[missing])?;
    // What waits since an earlier start.
    let name = format!("aadauth/spool/{}.jsonl", Uuid::new_v4());
    let waiting = server.data().join(name);
    std::fs::write(&waiting, vec![b'x'; 300 * 1024])?;
    give_to_server(&waiting)?;
    server.restart()?;
    rig.sign_in(&server, "someone", "no token")?;
    let not_written: (&str, &[&str]) = (
        "audit-events-not-written",
        &["1 events", "300 kB of 256 kB"],
    );
    expect(&server, "a spool that is full", &[missing, not_written])?;
    server.configure(&[("aadauth.database", None)])?;
    server.wait_for_log(0, "lines of the audit spool that are not events")?;
    rig.sign_in(&server, "someone", "no token")?;
    expect_silence(&server, "with the database")
}

pub fn workers(rig: &Rig) -> Result<()> {
    let server = rig.start_plan(good(rig, "check-workers")?.set("max_worker_processes", "0"))?;
    server.sql("CREATE EXTENSION aadauth")?;
    expect(
        &server,
        "no room for workers",
        &[
            ("network-worker-not-running", &["max_worker_processes"]),
            ("audit-not-recorded", &["max_worker_processes"]),
            ("revocations-not-loaded", &["max_worker_processes"]),
        ],
    )?;
    let library = installed_library()?.display().to_string();
    let plan = good(rig, "check-path")?.set("shared_preload_libraries", &library);
    let server = rig.start_plan(plan)?;
    server.sql("CREATE EXTENSION aadauth")?;
    expect(
        &server,
        "the library by its path",
        &[("preload-by-path", &["shared_preload_libraries", &library])],
    )
}

/// The worker has not looked yet, but the extension is there.
pub fn just_created(rig: &Rig) -> Result<()> {
    let server = rig.start_plan(good(rig, "check-created")?)?;
    server.wait_for_log(
        0,
        "extension aadauth is not installed in database \"postgres\"",
    )?;
    let codes = server.sql(
        "CREATE EXTENSION aadauth; SELECT string_agg(code, ' ') FROM aadauth.check_configuration()",
    )?;
    ensure(!codes.contains("audit-extension-missing"), || codes)
}

/// Privileges and policies of roles other than the objects' owners.
const GRANTED: &str = "
    SELECT string_agg(line, E'\n' ORDER BY line) FROM (
        SELECT format('%s %s %s %s', o.object, a.privilege_type, a.grantee::regrole, a.is_grantable)
        FROM (
            SELECT oid::regclass::text AS object, relacl AS acl, relowner AS owner FROM pg_class WHERE relnamespace = 'aadauth'::regnamespace
            UNION ALL
            SELECT oid::regprocedure::text, proacl, proowner FROM pg_proc
            WHERE pronamespace = 'aadauth'::regnamespace OR proname = 'azure_roles_authtype'
        ) AS o CROSS JOIN aclexplode(o.acl) AS a WHERE a.grantee NOT IN (0, o.owner)
        UNION ALL
        SELECT format('%s %s %s %s', polrelid::regclass, polname, pg_get_expr(polqual, polrelid),
            (SELECT array_agg(r::regrole ORDER BY r) FROM unnest(polroles) AS r)) FROM pg_policy
    ) AS lines (line)";

/// The finding has the statements that give back what DROP OWNED BY takes from the roles of the extension.
pub fn drop_owned(rig: &Rig) -> Result<()> {
    let server = good_server(rig, "check-drop-owned", |plan| plan)?;
    let before = server.sql(GRANTED)?;
    let code = "own-role-without-privileges";
    for (roles, says) in [
        (
            "aadauth_auditor",
            &[
                "role \"aadauth_auditor\"",
                "ALTER POLICY readers ON aadauth.revoked_principals TO aadauth_auditor, azure_pg_admin",
            ][..],
        ),
        (
            "azure_pg_admin",
            &["role \"azure_pg_admin\"", "azure_roles_authtype()"],
        ),
        (
            "aadauth_monitor",
            &[
                "role \"aadauth_monitor\"",
                "aadauth.configuration_findings()",
            ],
        ),
        (
            "aadauth_pooler",
            &["role \"aadauth_pooler\"", "aadauth.pooler_check("],
        ),
        (
            "aadauth_auditor, azure_pg_admin, aadauth_pooler",
            &[
                "roles \"aadauth_auditor\", \"aadauth_pooler\", \"azure_pg_admin\"",
                "CREATE POLICY readers ON aadauth.revoked_principals",
            ],
        ),
    ] {
        server.sql(&format!("DROP OWNED BY {roles}"))?;
        expect(&server, roles, &[(code, says)])?;
        restore(&server)?;
        expect_silence(&server, "after the statements that it says")?;
        let after = server.sql(GRANTED)?;
        ensure(before == after, || {
            format!("{before}\n\nafter {roles}:\n{after}")
        })?;
    }
    // Another database has no tables, and grants of its own.
    server.sql("CREATE DATABASE other")?;
    server.sql_in("other", "CREATE EXTENSION aadauth")?;
    let count = format!("SELECT count(*) FROM aadauth.check_configuration() WHERE code = '{code}'");
    let whole = server.sql_in("other", &count)?;
    server.sql_in("other", "DROP OWNED BY aadauth_auditor")?;
    let found = [whole, server.sql_in("other", &count)?, server.sql(&count)?];
    ensure(found == ["0", "1", "0"], || format!("{found:?}"))
}

fn restore(server: &Server) -> Result<()> {
    let found = findings(server)?;
    let text = found.first().map(|finding| finding.text.as_str());
    let statements = text
        .and_then(|text| text.split_once(" | Run "))
        .and_then(|(_, rest)| rest.strip_suffix('.'));
    server.sql(statements.ok_or("no statements")?).map(drop)
}
