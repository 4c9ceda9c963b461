//! What the administrators of Azure Database for PostgreSQL have beyond ours, on a superuser's request.

use pgrx::iter::SetOfIterator;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use super::admin::{self, AZURE_PG_ADMIN, OWN_ROLES};
use super::appointment::administration;
use super::error::PrincipalError;
use super::statement::{self, run};
use crate::pg::lock_holder::{self, Lock};
use crate::pg::privileges::{self, CREATEROLE_IS_BROAD};
use crate::pg::text::SqlText;
use crate::pg::{query, server};

/// Predefined roles that confer no right which makes a role privileged.
const PREDEFINED: [&str; 2] = ["pg_monitor", "pg_signal_backend"];

/// Grants `azure_pg_admin` what Azure's server administrator has (Microsoft, *Create users in Azure Database for PostgreSQL*)
/// and no privileged role needs: monitoring, ending others' sessions, the schema public of this database and, since
/// PostgreSQL 16, administration of each role that is not privileged. Returns the statements that were run: none if nothing
/// was missing. Other databases, and roles that are created later, need another call.
#[pg_extern(schema = "aadauth", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn grant_azure_rights() -> SetOfIterator<'static, SqlText> {
    let grant = || {
        if !privileges::is_superuser(privileges::current_user()) {
            return Err(PrincipalError::SuperuserOnly);
        }
        if server::is_in_recovery() {
            return Err(PrincipalError::Standby("grant_azure_rights"));
        }
        let admins =
            admin::admins().ok_or_else(|| PrincipalError::NoSuchRole(AZURE_PG_ADMIN.into()))?;
        let statements = missing(admins)?;
        for statement in &statements {
            run(statement)?;
        }
        Ok(statements)
    };
    let statements = grant().unwrap_or_else(|error: PrincipalError| error.raise());
    SetOfIterator::new(statements.into_iter().map(SqlText::from))
}

fn missing(admins: pg_sys::Oid) -> Result<Vec<String>, PrincipalError> {
    let lacks = |name| {
        privileges::role_named(name)
            // A superuser may have granted it a privileged role.
            .is_some_and(|role| {
                !privileges::has_privileges_of(admins, role) && admin::privilege(role).is_none()
            })
    };
    let mut statements: Vec<String> = PREDEFINED
        .into_iter()
        .filter(|name| lacks(name))
        .map(|name| format!("GRANT {name} TO {AZURE_PG_ADMIN}"))
        .collect();
    let has_schema: Option<bool> = query::one(&format!(
        "SELECT has_schema_privilege('{AZURE_PG_ADMIN}', to_regnamespace('public'), 'CREATE WITH GRANT OPTION')"
    ))?;
    if has_schema == Some(false) {
        statements.push(format!(
            "GRANT ALL ON SCHEMA public TO {AZURE_PG_ADMIN} WITH GRANT OPTION"
        ));
    }
    // On 15, CREATEROLE is enough.
    if !CREATEROLE_IS_BROAD {
        let unadministered = ordinary_roles()?
            .into_iter()
            .filter(|(role, _)| !privileges::is_admin_of(admins, *role));
        statements.extend(
            unadministered
                .map(|(role, name)| administration(role, &quote_identifier(name), admins)),
        );
    }
    Ok(statements)
}

/// The roles that are neither privileged nor reserved, by name.
fn ordinary_roles() -> Result<Vec<(pg_sys::Oid, String)>, PrincipalError> {
    let roles: Vec<(pg_sys::Oid, String)> = statement::read(|client| {
        let rows = query::select(
            client,
            "SELECT oid, rolname::text FROM pg_authid WHERE rolname !~ '^pg_' ORDER BY rolname",
            None,
            &[],
        )?;
        rows.map(|row| {
            let role = row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::InvalidOid);
            Ok((role, row.get::<SqlText>(2)?.unwrap_or_default().0))
        })
        .collect()
    })?;
    Ok(roles
        .into_iter()
        .filter(|(role, name)| {
            // Nobody makes it privileged until the transaction ends.
            lock_holder::lock(Lock::Members(*role));
            !OWN_ROLES.contains(&name.as_str()) && admin::privilege(*role).is_none()
        })
        .collect())
}
