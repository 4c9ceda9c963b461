//! Mapping roles to principals: security labels, the SQL functions that write them, and who may have which role.
//!
//! A role is mapped by two labels: the public one (provider `pgaadauth`), which stays as it was
//! typed, because Terraform compares it, and the internal one (`pgaadauth-int`), which decides.
//! Setting or clearing either rewrites the other ([`label`]), so that declarative tools and dumps need
//! only SECURITY LABEL, from any database.
//!
//! Only the label makes an Entra admin: `admin` in it lets the role's own Entra sessions map other roles, and gives the
//! role the attributes and memberships that this requires ([`appointment`]), whether a function or a statement sets it.

pub mod admin;
mod appointment;
mod azure_rights;
mod error;
mod functions;
pub mod guard;
mod label;
pub mod lookup;
pub mod mapped;
pub mod member;
mod statement;
mod withdrawal;

pub use admin::{AADAUTH_AUDITOR, AADAUTH_POOLER, AZURE_PG_ADMIN, OWN_ROLES};
use pgrx::pg_sys;

use crate::pg::label::Provider;
pub use error::PrincipalError;
pub use functions::{ensure_may_change, ensure_may_map};

/// Called by SECURITY LABEL before the label of this provider is written.
///
/// `role` is `None` for an object that is not a role, `label` for `IS NULL`.
///
/// # Panics
/// With PostgreSQL's ERROR, if the label must not be written.
pub fn relabel(provider: Provider, role: Option<pg_sys::Oid>, label: Option<&str>) {
    label::relabel(provider, role, label).unwrap_or_else(|error| error.raise());
}
