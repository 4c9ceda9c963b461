//! Statements that change roles, and queries of catalogs that not every role may read.

use pgrx::prelude::*;
use pgrx::spi::SpiClient;

use super::error::PrincipalError;
use crate::pg::{privileges, query};

/// Runs a statement with the privileges of the current user.
///
/// # Errors
/// PostgreSQL's, unless it raises them.
pub(super) fn run(statement: &str) -> Result<(), PrincipalError> {
    Ok(query::run(statement, &[])?)
}

/// Runs a GRANT, REVOKE or ALTER ROLE as the bootstrap superuser, which is then the grantor: a role that has granted
/// something cannot be dropped.
///
/// # Errors
/// As [`run`].
pub(super) fn run_as_superuser(statement: &str) -> Result<(), PrincipalError> {
    privileges::as_bootstrap_superuser(|| run(statement))
}

/// Reads catalogs as the bootstrap superuser. The query sees what the statement has changed so far.
///
/// # Errors
/// As [`run`].
pub(super) fn read<T>(
    query: impl FnOnce(&mut SpiClient<'_>) -> spi::Result<T>,
) -> Result<T, PrincipalError> {
    Ok(privileges::as_bootstrap_superuser(|| {
        Spi::connect_mut(query)
    })?)
}
