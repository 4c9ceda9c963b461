//! What roles without superuser can run in this database with a superuser's privileges. Reported, never prevented.

use std::error::Error;

use serde::Deserialize;

use super::finding::{Code, Finding};
use super::query;

/// What is exposed to whom, and the statement that ends it.
#[derive(Deserialize)]
struct Exposed {
    problem: String,
    remedy: String,
}

/// Of the database, if that is no superuser.
#[derive(Deserialize)]
struct Owner {
    name: String,
}

/// Core's functions for files (catalog.c, `aad_reaches_files`) and parameters that everybody has; functions that run as a
/// superuser or in a language that is not trusted. Members of extensions are their authors' responsibility.
const EXPOSED: &str = "
SELECT format('Everybody can execute %s.', p.oid::regprocedure) AS problem,
    format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC;', p.oid::regprocedure) AS remedy
FROM pg_proc AS p
CROSS JOIN aclexplode(p.proacl) AS a
WHERE p.oid < 16384 AND a.grantee = 0
    AND p.proname IN ('pg_read_file', 'pg_read_binary_file', 'pg_ls_dir', 'pg_stat_file', 'lo_import', 'lo_export')
UNION ALL
SELECT format('Everybody has %s on parameter %s.', a.privilege_type, p.parname),
    format('REVOKE %s ON PARAMETER %s FROM PUBLIC;', a.privilege_type, p.parname)
FROM pg_parameter_acl AS p
CROSS JOIN aclexplode(p.paracl) AS a
WHERE a.grantee = 0
UNION ALL
SELECT format('%s can execute %s, which %s.', string_agg(coalesce('\"' || r.rolname || '\"', 'PUBLIC'), ', ' ORDER BY r.rolname),
        p.oid::regprocedure,
        CASE WHEN p.prosecdef THEN 'is a superuser''s and SECURITY DEFINER' ELSE 'is written in a language that is not trusted' END),
    format('REVOKE EXECUTE ON ROUTINE %s FROM %s;', p.oid::regprocedure,
        string_agg(coalesce(quote_ident(r.rolname), 'PUBLIC'), ', ' ORDER BY r.rolname))
FROM pg_proc AS p
JOIN pg_language AS l ON l.oid = p.prolang
JOIN pg_roles AS o ON o.oid = p.proowner
CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
LEFT JOIN pg_roles AS r ON r.oid = a.grantee
WHERE (p.prosecdef AND o.rolsuper OR l.lanispl AND NOT l.lanpltrusted)
    AND a.grantee <> p.proowner AND r.rolsuper IS NOT TRUE AND p.oid >= 16384
    AND NOT EXISTS (
        SELECT FROM pg_depend AS d
        WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
GROUP BY p.oid, p.prosecdef
ORDER BY problem";

/// In the database of the audit that is an error, `audit-database-owner`.
const OWNER: &str = "
SELECT r.rolname AS name
FROM pg_database AS d
JOIN pg_roles AS r ON r.oid = d.datdba AND NOT r.rolsuper
WHERE d.datname = current_database() AND d.datname <> current_setting('aadauth.database')";

/// One finding for all of them.
///
/// # Errors
/// The catalogs cannot be read.
pub fn check() -> Result<Option<Finding>, Box<dyn Error>> {
    // Keeps the texts short; for more, run the function again.
    const AT_ONCE: usize = 20;
    let exposed = query::rows::<Exposed>(EXPOSED)?;
    let owner = query::rows::<Owner>(OWNER)?;
    let (mut problems, mut remedies) = (Vec::new(), Vec::new());
    for Exposed { problem, remedy } in exposed.iter().take(AT_ONCE) {
        problems.push(problem.clone());
        remedies.push(remedy.as_str());
    }
    if exposed.len() > AT_ONCE {
        problems.push(format!("There are {} more.", exposed.len() - AT_ONCE));
    }
    let mut remedy = match remedies.as_slice() {
        [] => String::new(),
        remedies => format!("If this is not intended, run: {} ", remedies.join(" ")),
    };
    for Owner { name } in &owner {
        problems.push(format!(
            "The database's owner, \"{name}\", decides what superusers' sessions in it find first (search_path)."
        ));
        remedy += "Superusers should not work in it, or own it (ALTER DATABASE ... OWNER TO).";
    }
    Ok((!problems.is_empty()).then(|| {
        Finding::new(
            Code::DatabaseReachesPrivileges,
            "this database",
            problems.join(" "),
            remedy.trim_end(),
        )
    }))
}
