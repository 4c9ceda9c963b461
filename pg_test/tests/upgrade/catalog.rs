//! What an extension has put into a database, as text that can be compared.

use pg_test::Result;
use pg_test::process::checked;
use pg_test::server::Server;

/// What `pg_dump` doesn't say: what belongs to the extension, whose rows are dumped, which rights it came with,
/// and how the roles are that it shares with other databases.
const BESIDE_THE_DUMP: &str = "
    SELECT 'member', pg_describe_object(d.classid, d.objid, d.objsubid)
    FROM pg_depend AS d JOIN pg_extension AS e ON d.refobjid = e.oid AND d.refclassid = 'pg_extension'::regclass
    WHERE e.extname = 'aadauth' AND d.deptype = 'e' ORDER BY 2;
    SELECT 'version', extversion, extnamespace::regnamespace, extrelocatable,
        array(SELECT t::regclass || ' ' || c FROM unnest(extconfig, extcondition) AS u (t, c) ORDER BY 1)
    FROM pg_extension WHERE extname = 'aadauth';
    SELECT 'first rights', pg_describe_object(i.classoid, i.objoid, i.objsubid), i.initprivs
    FROM pg_init_privs AS i WHERE i.privtype = 'e' ORDER BY 2;
    SELECT 'role', rolname, rolcanlogin, rolsuper, rolcreaterole, shobj_description(oid, 'pg_authid'),
        array(SELECT roleid::regrole || ' ' || admin_option FROM pg_auth_members WHERE member = r.oid ORDER BY 1)
    FROM pg_roles AS r WHERE rolname IN ('azure_pg_admin', 'aadauth_auditor', 'aadauth_monitor', 'aadauth_pooler') ORDER BY 2";

/// Everything of the extension in the database `postgres` but for the audit's weeks, which are not its members.
///
/// For `pg_upgrade`, `pg_dump` writes each member out, with the columns in their order, constraints, indexes,
/// policies, comments and rights; only the numbers that it gives them are each server's own.
pub fn describe(server: &Server) -> Result<String> {
    let mut dump = server.client("pg_dump")?;
    dump.args([
        "--schema-only",
        "--binary-upgrade",
        "--exclude-table=aadauth.sign_in_audit_*",
        "postgres",
    ]);
    let dump = checked(&mut dump)?;
    let dump: String = dump
        .lines()
        .filter(|line| !line.contains("binary_upgrade_set_"))
        // Has the extension's number in it, and the random key of a dump.
        .filter(|line| !line.contains("binary_upgrade_create_empty_extension"))
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .map(|line| format!("{line}\n"))
        .collect();
    Ok(dump + &server.sql(BESIDE_THE_DUMP)?)
}

/// The lines that one has and the other hasn't.
pub fn difference(one: &str, other: &str) -> String {
    let lacking = |from: &str, sign: char, than: &str| -> String {
        let than: std::collections::HashSet<&str> = than.lines().collect();
        from.lines()
            .filter(|line| !than.contains(line))
            .map(|line| format!("{sign} {line}\n"))
            .collect()
    };
    lacking(one, '-', other) + &lacking(other, '+', one)
}
