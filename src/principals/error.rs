//! Why something about principals was refused, as PostgreSQL reports it.

use entra_token::{InternalLabel, LabelError, PublicLabel};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::SpiError;
use thiserror::Error;
use uuid::Uuid;

use crate::pg::label::Provider;

/// Display is the primary message.
#[derive(Debug, Error)]
pub enum PrincipalError {
    /// Azure's text.
    #[error("permission denied for function {0}")]
    FunctionDenied(&'static str),
    #[error("permission denied to change the Entra mapping of role \"{0}\"")]
    MappingDenied(String),
    /// One of the roles that stand for no principal, whoever asks.
    #[error("role \"{0}\" can't be mapped to a principal")]
    Unmappable(String),
    #[error("must be superuser to change the Entra mapping of role \"{role}\"")]
    Privileged { role: String, reason: Privilege },
    #[error("must be superuser to change the Entra mapping of admin \"{0}\"")]
    AdminOnly(String),
    #[error("must be superuser to grant role \"{role}\"")]
    GrantDenied { role: String, reason: Privilege },
    #[error("must be superuser to alter role \"{role}\"")]
    AlterDenied { role: String, reason: Privilege },
    #[error("aadauth's security labels are for roles only")]
    NotARole,
    #[error("invalid security label: {error}")]
    Label {
        provider: Provider,
        error: LabelError,
    },
    #[error("object id {object_id} is mapped to role \"{role}\" already")]
    Taken { object_id: Uuid, role: String },
    #[error("principals can't be looked up by name, since no directory is configured")]
    NoDirectory,
    #[error("no Entra tenant is configured")]
    NoTenant,
    #[error("{0} must not be null")]
    NullArgument(&'static str),
    #[error("role name is empty")]
    EmptyName,
    #[error("role name is {0} bytes long, PostgreSQL keeps 63")]
    NameTooLong(usize),
    #[error("role \"{0}\" does not exist")]
    NoSuchRole(String),
    #[error("invalid object id")]
    ObjectId,
    #[error("invalid object type")]
    ObjectType,
    #[error("a statement failed: {0}")]
    Statement(#[from] SpiError),
}

/// What makes a role one that only superusers hand out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// The role itself.
    Own,
    /// A role that it is a direct or indirect member of.
    Through(String),
    /// `azure_pg_admin`, which has no rights but is what admins administer.
    Admins,
    /// An Entra admin, whose rights to map are not to be had by acting as him.
    AdminPrincipal,
}

impl PrincipalError {
    /// Raises the error; the one place from which this module does so.
    pub fn raise(self) -> ! {
        let mut report = ErrorReport::new(self.code(), self.to_string(), "aadauth");
        if let Some(detail) = self.detail() {
            report = report.set_detail(detail);
        }
        if let Some(hint) = self.hint() {
            report = report.set_hint(hint);
        }
        report.report(PgLogLevel::ERROR);
        unreachable!("an ERROR unwinds")
    }

    fn code(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Self::FunctionDenied(_)
            | Self::MappingDenied(_)
            | Self::Unmappable(_)
            | Self::Privileged { .. }
            | Self::AdminOnly(_)
            | Self::GrantDenied { .. }
            | Self::AlterDenied { .. } => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::NotARole => ERRCODE_WRONG_OBJECT_TYPE,
            Self::Label { .. } | Self::ObjectId | Self::ObjectType => {
                ERRCODE_INVALID_PARAMETER_VALUE
            }
            Self::Taken { .. } => ERRCODE_UNIQUE_VIOLATION,
            Self::NoDirectory | Self::NoTenant => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::NullArgument(_) => ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::EmptyName => ERRCODE_INVALID_NAME,
            Self::NameTooLong(_) => ERRCODE_NAME_TOO_LONG,
            Self::NoSuchRole(_) => ERRCODE_UNDEFINED_OBJECT,
            Self::Statement(_) => ERRCODE_INTERNAL_ERROR,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Privileged { reason, .. }
            | Self::GrantDenied { reason, .. }
            | Self::AlterDenied { reason, .. } => Some(reason.to_string()),
            Self::Unmappable(_) => Some(
                "Roles of PostgreSQL and aadauth themselves and the bootstrap superuser stand for nobody."
                    .into(),
            ),
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::FunctionDenied(_) | Self::MappingDenied(_) => {
                "Sign in with an Entra token as a role whose label has \"admin\", and without SET ROLE, \
                 or as a superuser."
                    .into()
            }
            Self::AdminOnly(_) => "Admins don't change each other's mapping or their own.".into(),
            Self::GrantDenied { .. } | Self::AlterDenied { .. } => {
                "On this version of PostgreSQL CREATEROLE alone would allow it, so aadauth asks for more."
                    .into()
            }
            Self::Label { provider, .. } => {
                let accepted = match provider {
                    Provider::Public => PublicLabel::ACCEPTED,
                    Provider::Internal => InternalLabel::ACCEPTED,
                };
                format!("Accepted is {accepted}, or NULL.")
            }
            Self::Taken { .. } => "One principal has one role. To move the principal, clear the label \
                 of that role first; to share a role, map a group."
                .into(),
            Self::NoDirectory => "Use pgaadauth_create_principal_with_oid, or a label with oid and type: \
                 they take the principal's object id and ask nobody."
                .into(),
            Self::NoTenant => "Set aadauth.tenant_id to your tenant's GUID.".into(),
            Self::NameTooLong(_) => "Choose a shorter name: it need not be the principal's.".into(),
            Self::NoSuchRole(_) => {
                "pgaadauth_create_principal_with_oid creates a role and maps it.".into()
            }
            Self::ObjectId => "Accepted is a GUID such as 6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f5.".into(),
            Self::ObjectType => "Accepted are user, group and service.".into(),
            _ => return None,
        };
        Some(hint)
    }
}

impl std::fmt::Display for Privilege {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Privilege::Own => f.write_str(
                "Its rights reach beyond the databases, or it has SUPERUSER, REPLICATION or BYPASSRLS.",
            ),
            Privilege::Through(role) => write!(f, "It is a member of role \"{role}\"."),
            Privilege::Admins => f.write_str("Its members are the Entra admins."),
            Privilege::AdminPrincipal => f.write_str("It is an Entra admin."),
        }
    }
}
