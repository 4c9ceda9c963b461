//! `aadauth.check_configuration`: problems of the server's configuration, and how to correct them.
//!
//! It reads files with the permissions of the server process, and settings as this session has them. It
//! changes nothing, makes no network requests in this process, and shows no secrets.

mod audit;
mod compared;
mod comparison;
mod directory;
mod explain;
mod exposure;
mod files;
mod finding;
mod hba;
mod keys;
mod known;
mod nearest;
mod own_privileges;
mod pam;
mod poolers;
mod query;
mod reach;
mod recorded;
mod roles;
mod sessions;
mod settings;
mod statement;
mod unmapped;
mod why;

use std::error::Error;

use pgrx::prelude::*;

use crate::pg::text::SqlText;
use crate::pg::{log, privileges};
use finding::Finding;
use roles::Roles;

extension_sql!(
    r#"
COMMENT ON FUNCTION aadauth.check_configuration() IS
    'problems of the configuration, most serious first, and how to correct them; no rows if there are none';
REVOKE ALL ON FUNCTION aadauth.check_configuration() FROM PUBLIC;
-- With the rights of the extension's owner, a superuser. It returns numbers only; each call reads the server's files and asks
-- the directory.
CREATE FUNCTION aadauth.configuration_findings() RETURNS TABLE (severity text, findings bigint)
PARALLEL RESTRICTED ROWS 3 SECURITY DEFINER SET search_path TO pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT s.name, pg_catalog.count(f.code)
    FROM (VALUES ('error'), ('warning'), ('notice')) AS s (name)
    LEFT JOIN aadauth.check_configuration() AS f ON f.severity OPERATOR(pg_catalog.=) s.name
    GROUP BY s.name;
END;
COMMENT ON FUNCTION aadauth.configuration_findings() IS
    'how many problems check_configuration() finds, by severity';
REVOKE ALL ON FUNCTION aadauth.configuration_findings() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION aadauth.configuration_findings() TO aadauth_monitor, aadauth_auditor;
"#,
    name = "check_configuration_rights",
    requires = [check_configuration]
);

/// The findings, most serious first.
#[pg_extern(schema = "aadauth", parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
fn check_configuration() -> TableIterator<
    'static,
    (
        name!(severity, SqlText),
        name!(code, SqlText),
        name!(place, SqlText),
        name!(problem, SqlText),
        name!(remedy, SqlText),
    ),
> {
    // Even if EXECUTE was granted: it reads files, and whether roles have passwords.
    if !privileges::is_superuser(privileges::current_user()) {
        fail(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "must be superuser to check the configuration".into(),
        );
    }
    let mut findings = findings().unwrap_or_else(|error| {
        fail(
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            format!("could not check the configuration: {error}"),
        )
    });
    findings.sort_by_key(|finding| finding.code.severity());
    TableIterator::new(findings.into_iter().map(|finding| {
        let code = finding.code;
        let Finding {
            place,
            problem,
            remedy,
            ..
        } = finding;
        (
            code.severity().as_str().into(),
            code.as_str().into(),
            place.into(),
            problem.into(),
            remedy.into(),
        )
    }))
}

fn findings() -> Result<Vec<Finding>, Box<dyn Error>> {
    let roles = Roles::read()?;
    let mut findings = settings::check()?;
    findings.extend(hba::check(&roles)?);
    findings.extend(roles.check());
    findings.extend(reach::check()?);
    findings.extend(exposure::check()?);
    findings.extend(files::check()?);
    findings.extend(keys::check());
    findings.extend(directory::check());
    findings.extend(audit::check()?);
    findings.extend(own_privileges::check()?);
    findings.extend(sessions::check());
    findings.extend(poolers::check()?);
    Ok(findings)
}

fn fail(code: PgSqlErrorCode, message: String) -> ! {
    log::error(code, &message, None, None)
}
