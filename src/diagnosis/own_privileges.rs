//! What CREATE EXTENSION granted to the extension's own roles and was taken away, as by DROP OWNED BY.
//!
//! The install script is the only list of it. (`pg_init_privs` is none: DROP OWNED BY also deletes there since
//! PostgreSQL 17.)

use std::collections::BTreeSet;
use std::error::Error;

use pgrx::spi::quote_literal;
use serde::Deserialize;

use super::finding::{Code, Finding, list};
use super::query;
use crate::principals::OWN_ROLES;

const SCRIPT: &str = include_str!(concat!(
    "../../sql/aadauth--",
    env!("CARGO_PKG_VERSION_MAJOR"),
    ".",
    env!("CARGO_PKG_VERSION_MINOR"),
    ".sql"
));

/// What the role lacks in this database, and the statement that gives it back.
#[derive(Deserialize)]
struct Missing {
    role: String,
    statement: String,
}

/// One finding for all of them.
///
/// # Errors
/// The catalogs cannot be read.
pub fn check() -> Result<Option<Finding>, Box<dyn Error>> {
    let missing = query::rows::<Missing>(&query())?;
    let roles: BTreeSet<&str> = missing.iter().map(|one| one.role.as_str()).collect();
    let statements: BTreeSet<&str> = missing.iter().map(|one| one.statement.as_str()).collect();
    let roles: Vec<&str> = roles.into_iter().collect();
    let statements: Vec<&str> = statements.into_iter().collect();
    let noun = if roles.len() == 1 { "role" } else { "roles" };
    Ok((!statements.is_empty()).then(|| {
        Finding::new(
            Code::OwnRoleWithoutPrivileges,
            format!("{noun} {}", list(&roles)),
            "Members lack privileges in this database that CREATE EXTENSION granted to the role, as after DROP OWNED BY.",
            format!("Run {}.", statements.join("; ")),
        )
    }))
}

/// A privilege of one of the own roles.
#[derive(Debug, PartialEq, Eq)]
struct Grant {
    /// `SELECT` or `EXECUTE`.
    privilege: String,
    object: String,
    role: String,
}

fn grants() -> Vec<Grant> {
    let mut grants = Vec::new();
    for statement in statements("GRANT ") {
        let parts = statement
            .split_once(" TO ")
            .and_then(|(what, roles)| Some((what.split_once(" ON ")?, roles)));
        let Some(((privilege, objects), roles)) = parts else {
            continue;
        };
        let objects: Vec<&str> = match objects.strip_prefix("FUNCTION ") {
            Some(function) => vec![function],
            None => objects.split(", ").collect(),
        };
        for role in roles.split(", ").filter(|role| OWN_ROLES.contains(role)) {
            grants.extend(objects.iter().map(|object| Grant {
                privilege: privilege.to_owned(),
                object: (*object).to_owned(),
                role: role.to_owned(),
            }));
        }
    }
    grants
}

/// A policy by which the own roles see the rows of a table.
#[derive(Debug, PartialEq, Eq)]
struct Policy {
    name: String,
    table: String,
    roles: String,
    /// The statement that creates it.
    created: String,
}

fn policies() -> Vec<Policy> {
    let parsed = |statement: String| {
        let (name, rest) = statement.split_once(" ON ")?;
        let (table, rest) = rest.split_once(" FOR SELECT TO ")?;
        let (roles, _) = rest.split_once(" USING ")?;
        Some(Policy {
            name: name.to_owned(),
            table: table.to_owned(),
            roles: roles.to_owned(),
            created: format!("CREATE POLICY {statement}"),
        })
    };
    statements("CREATE POLICY ").filter_map(parsed).collect()
}

/// The script's statements that begin a line with these words: the rest of each, on one line.
fn statements(words: &str) -> impl Iterator<Item = String> {
    let begin = format!("\n{words}");
    let parts: Vec<&str> = SCRIPT.split(begin.as_str()).skip(1).collect();
    parts.into_iter().filter_map(|part| {
        let (statement, _) = part.split_once(';')?;
        let words: Vec<&str> = statement.split_whitespace().collect();
        Some(words.join(" "))
    })
}

/// What is not in this database, or not yet in an older version of the extension, is no row: `has_table_privilege` and
/// `has_function_privilege` are NULL for an object that is NULL.
fn query() -> String {
    let values = |row: &[&str]| {
        let row: Vec<String> = row.iter().map(|text| quote_literal(*text)).collect();
        format!("({})", row.join(", "))
    };
    let grants: Vec<String> = grants()
        .iter()
        .map(|g| values(&[&g.privilege, &g.object, &g.role]))
        .collect();
    let policies: Vec<String> = policies()
        .iter()
        .map(|p| values(&[&p.name, &p.table, &p.roles, &p.created]))
        .collect();
    format!(
        "SELECT g.role, format('GRANT %s ON %s TO %s', g.privilege,
             CASE g.privilege WHEN 'EXECUTE' THEN 'FUNCTION ' ELSE '' END || g.object, g.role) AS statement
         FROM (VALUES {}) AS g (privilege, object, role)
         JOIN pg_roles AS r ON r.rolname = g.role
         WHERE NOT CASE g.privilege
             WHEN 'EXECUTE' THEN has_function_privilege(r.oid, to_regprocedure(g.object), 'EXECUTE')
             ELSE has_table_privilege(r.oid, to_regclass(g.object), g.privilege)
         END
         UNION ALL
         SELECT r.rolname, CASE
             WHEN EXISTS (SELECT FROM pg_policy AS o WHERE o.polrelid = to_regclass(p.relation) AND o.polname = p.name)
             THEN format('ALTER POLICY %s ON %s TO %s', p.name, p.relation, p.roles)
             ELSE p.created
         END
         FROM (VALUES {}) AS p (name, relation, roles, created)
         JOIN pg_roles AS r ON r.rolname = ANY (string_to_array(p.roles, ', '))
         WHERE to_regclass(p.relation) IS NOT NULL AND NOT EXISTS (
             SELECT FROM pg_policy AS o WHERE o.polrelid = to_regclass(p.relation) AND r.oid = ANY (o.polroles))",
        grants.join(", "),
        policies.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_of_the_script_for_the_own_roles_is_read() {
        let lines = |begin: &str| {
            SCRIPT
                .lines()
                .filter(|line| line.starts_with(begin))
                .count()
        };
        assert_eq!(statements("GRANT ").count(), lines("GRANT "));
        // One for each own role and object that a statement names.
        let named: usize = statements("GRANT ")
            .map(|statement| {
                let (objects, roles) = statement.split_once(" TO ").unwrap();
                let objects = objects.split(", aadauth.").count();
                let own = |role: &&str| OWN_ROLES.contains(role);
                objects * roles.split(", ").filter(own).count()
            })
            .sum();
        assert_eq!(grants().len(), named);
        assert_eq!(policies().len(), lines("CREATE POLICY "));
        let granted = |privilege: &str, object: &str, role: &str| {
            grants().contains(&Grant {
                privilege: privilege.to_owned(),
                object: object.to_owned(),
                role: role.to_owned(),
            })
        };
        assert!(granted(
            "EXECUTE",
            "aadauth.pooler_check(bytea, bytea, text)",
            "aadauth_pooler"
        ));
        assert!(granted("SELECT", "aadauth.revocations", "azure_pg_admin"));
        assert!(!grants().iter().any(|grant| grant.role == "PUBLIC"));
        for grant in grants() {
            assert!(
                ["SELECT", "EXECUTE"].contains(&grant.privilege.as_str()),
                "{grant:?}"
            );
        }
    }
}
