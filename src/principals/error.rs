//! Errors about principals, as PostgreSQL reports them.

use entra_api::ErrorKind;
use entra_token::{InternalLabel, LabelError, PrincipalKind, PublicLabel};
use pgrx::prelude::*;
use pgrx::spi::SpiError;
use thiserror::Error;
use uuid::Uuid;

use crate::pg::label::Provider;
use crate::pg::lock_holder::LockHolder;
use crate::pg::privileges::CREATEROLE_IS_BROAD;
use crate::pg::{log, text};
use crate::shared::directory::lookup_error::LookupError;
use crate::text::is_hidden;

/// Display is the primary message.
#[derive(Debug, Error)]
pub enum PrincipalError {
    /// Azure's text.
    #[error("permission denied for function {function}")]
    FunctionDenied {
        function: &'static str,
        denied: Denied,
    },
    #[error("permission denied to change the Entra mapping of role \"{role}\"")]
    MappingDenied { role: String, denied: Denied },
    /// One of the roles that nobody may map.
    #[error("role \"{0}\" cannot be mapped to a principal")]
    Unmappable(String),
    #[error("must be superuser to change the Entra mapping of role \"{role}\"")]
    Privileged { role: String, reason: Privilege },
    /// The statement that lets all admins administer the role.
    #[error("must have ADMIN OPTION on role \"{role}\" to change its Entra mapping")]
    NotAdministered { role: String, grant: String },
    #[error("must be superuser to call grant_azure_rights()")]
    SuperuserOnly,
    #[error("must be superuser to change the Entra mapping of admin \"{0}\"")]
    AdminOnly(String),
    #[error("must be superuser to grant role \"{role}\"")]
    GrantDenied { role: String, reason: Privilege },
    #[error("must be superuser to alter role \"{role}\"")]
    AlterDenied { role: String, reason: Privilege },
    #[error("role name \"{0}\" is reserved for aadauth")]
    ReservedName(String),
    /// The role of a group, whose members share it.
    #[error("cannot alter role \"{0}\" in a session of this role")]
    SharedRole(String),
    #[error("aadauth security labels apply only to roles")]
    NotARole,
    #[error("invalid security label: {error}")]
    Label {
        provider: Provider,
        error: LabelError,
    },
    #[error("object id {object_id} is already mapped to role \"{role}\"")]
    Taken { object_id: Uuid, role: String },
    /// The setting that is missing, where a credential is set.
    #[error("cannot look up principals by name because no directory is configured")]
    NoDirectory(Option<&'static str>),
    /// Azure's text, as far as it is known.
    #[error("Could not validate AAD user \"{0}\" because its name is not found in the tenant")]
    NameNotFound(String),
    /// Azure's text, as far as it is known.
    #[error("Cannot validate Microsoft Entra ID user \"{name}\" because its name isn't unique")]
    NameAmbiguous { name: String, found: String },
    #[error("object id {0} is not found in the tenant")]
    ObjectNotFound(Uuid),
    /// Azure's text.
    #[error(
        "incorrect object type provided for principal, given object type: '{given}', actual object type: '{actual}'"
    )]
    WrongType {
        given: PrincipalKind,
        actual: PrincipalKind,
    },
    /// Azure's text, and why.
    #[error("An unexpected error occurred while trying to validate user \"{whom}\": {}", lookup_error.message())]
    Unanswered {
        whom: String,
        lookup_error: LookupError,
    },
    #[error("the directory returned \"{returned}\" for \"{requested}\"")]
    NameMismatch { requested: String, returned: String },
    #[error("\"{name}\" is not a user in the directory but a {kind}")]
    PassesForUser {
        name: String,
        kind: PrincipalKind,
        object_id: Uuid,
    },
    #[error("role \"{0}\" was renamed during the directory lookup")]
    Renamed(String),
    /// PostgreSQL's text; and the statement that maps the role.
    #[error("role \"{role}\" already exists")]
    RoleExists { role: String, statement: String },
    #[error("no Entra tenant is configured")]
    NoTenant,
    #[error("{0} must not be null")]
    NullArgument(&'static str),
    /// PostgreSQL's own text (utility.c, PreventCommandDuringRecovery).
    #[error("cannot execute {0}() during recovery")]
    Standby(&'static str),
    #[error("role name is blank")]
    EmptyName,
    #[error("role name \"{0}\" has a character that the database's encoding lacks")]
    NotInEncoding(String),
    #[error("role name is {0} bytes long, but the maximum is 63")]
    NameTooLong(usize),
    #[error("role \"{0}\" does not exist")]
    NoSuchRole(String),
    #[error("invalid object id")]
    ObjectId,
    #[error("invalid object type \"{0}\"")]
    ObjectType(String),
    #[error("cannot change security labels because another transaction is changing them")]
    Locked(LockHolder),
    #[error(
        "cannot change what role \"{0}\" may do because another transaction is changing its members"
    )]
    MembersLocked(String, LockHolder),
    #[error("could not revoke the membership of role \"{member}\" in role \"{role}\"")]
    NotRevoked {
        role: String,
        member: String,
        grantor: String,
    },
    #[error("statement failed: {0}")]
    Statement(#[from] SpiError),
}

/// Why a session may not map roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Another role is set: it may after SET ROLE NONE.
    RoleIsSet,
    /// It is neither a superuser's nor an Entra admin's.
    NotAdmin,
}

/// Why only a superuser may grant a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// The role itself.
    Own,
    /// A role that it is a direct or indirect member of.
    Through(String),
    /// `azure_pg_admin`, which has no privileges of its own; its members are the Entra admins.
    Admins,
    /// An Entra admin; acting as one must not confer the right to map roles.
    AdminPrincipal,
}

impl PrincipalError {
    /// Raises the error.
    pub fn raise(self) -> ! {
        let (message, detail, hint) = (self.to_string(), self.detail(), self.hint());
        log::error(self.code(), &message, detail.as_deref(), hint.as_deref())
    }

    fn code(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Self::FunctionDenied { .. }
            | Self::MappingDenied { .. }
            | Self::Unmappable(_)
            | Self::Privileged { .. }
            | Self::NotAdministered { .. }
            | Self::AdminOnly(_)
            | Self::SuperuserOnly
            | Self::GrantDenied { .. }
            | Self::AlterDenied { .. }
            | Self::SharedRole(_) => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::ReservedName(_) => ERRCODE_RESERVED_NAME,
            Self::NotARole => ERRCODE_WRONG_OBJECT_TYPE,
            Self::Label { .. } | Self::ObjectId | Self::ObjectType(_) => {
                ERRCODE_INVALID_PARAMETER_VALUE
            }
            Self::Taken { .. } => ERRCODE_UNIQUE_VIOLATION,
            Self::NoDirectory(_) | Self::NoTenant | Self::Renamed(_) => {
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Self::NameNotFound(_) | Self::ObjectNotFound(_) => ERRCODE_UNDEFINED_OBJECT,
            Self::NameAmbiguous { .. } => ERRCODE_CARDINALITY_VIOLATION,
            Self::WrongType { .. } => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::Unanswered { lookup_error, .. } => unanswered(lookup_error),
            Self::NameMismatch { .. } => ERRCODE_PROTOCOL_VIOLATION,
            Self::PassesForUser { .. } => ERRCODE_WRONG_OBJECT_TYPE,
            Self::RoleExists { .. } => ERRCODE_DUPLICATE_OBJECT,
            Self::NullArgument(_) => ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::Standby(_) => ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::EmptyName => ERRCODE_INVALID_NAME,
            Self::NotInEncoding(_) => ERRCODE_UNTRANSLATABLE_CHARACTER,
            Self::NameTooLong(_) => ERRCODE_NAME_TOO_LONG,
            Self::NoSuchRole(_) => ERRCODE_UNDEFINED_OBJECT,
            Self::Locked(_) | Self::MembersLocked(..) => ERRCODE_LOCK_NOT_AVAILABLE,
            Self::NotRevoked { .. } | Self::Statement(_) => ERRCODE_INTERNAL_ERROR,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Privileged { reason, .. }
            | Self::GrantDenied { reason, .. }
            | Self::AlterDenied { reason, .. } => Some(reason.to_string()),
            Self::Locked(LockHolder::Gone) | Self::MembersLocked(_, LockHolder::Gone) => None,
            Self::Locked(holder) | Self::MembersLocked(_, holder) => Some(format!("It is {holder}.")),
            Self::NotRevoked { grantor, .. } => Some(format!(
                "It was granted by role \"{grantor}\", and REVOKE did not remove it."
            )),
            Self::NoDirectory(Some(missing)) => Some(format!("{missing} is not set.")),
            Self::NameAmbiguous { found, .. } => Some(format!("{found}.")),
            Self::SharedRole(_) => Some(
                "The members of a group share its role, and would set what applies to the others' sessions.".into(),
            ),
            Self::Unmappable(_) => Some(
                "System roles, aadauth's own roles and the bootstrap superuser cannot be mapped."
                    .into(),
            ),
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::FunctionDenied { denied: Denied::RoleIsSet, .. }
            | Self::MappingDenied { denied: Denied::RoleIsSet, .. } => {
                "Run SET ROLE NONE first: the current role is not the one that signed in. RESET ROLE is not enough where \
                 ALTER ROLE ... SET role or ALTER DATABASE ... SET role has chosen it."
                    .into()
            }
            Self::FunctionDenied { .. } | Self::MappingDenied { .. } => {
                "Sign in as a superuser, or with an Entra token as a role whose label has \"admin\", \
                 and do not use SET ROLE."
                    .into()
            }
            Self::NotAdministered { grant, .. } => with_statement(
                "A superuser, or a role that has ADMIN OPTION on it, can let all Entra admins administer it",
                grant,
            ),
            Self::AdminOnly(_) => "Admins cannot change their own mapping or that of another admin.".into(),
            Self::GrantDenied { .. } | Self::AlterDenied { .. } if CREATEROLE_IS_BROAD => {
                "In this version of PostgreSQL, CREATEROLE would be sufficient, so aadauth requires a superuser."
                    .into()
            }
            Self::GrantDenied { .. } | Self::AlterDenied { .. } => {
                "A superuser can grant you the role with ADMIN OPTION.".into()
            }
            Self::SharedRole(_) => "Entra admins can alter it.".into(),
            Self::ReservedName(_) => "CREATE EXTENSION aadauth creates the role.".into(),
            Self::Label { provider, .. } => {
                let accepted = match provider {
                    Provider::Public => PublicLabel::ACCEPTED,
                    Provider::Internal => InternalLabel::ACCEPTED,
                };
                format!("Use {accepted}, or NULL.")
            }
            Self::Taken { .. } => "A principal can have only one role. To move the principal, clear the label \
                 of that role first; to share a role, map a group."
                .into(),
            Self::NoDirectory(_) => "Use pgaadauth_create_principal_with_oid, or a label with oid and type. \
                 They accept the principal's object id and need no directory."
                .into(),
            Self::NoTenant => "Set aadauth.tenant_id to the GUID of the tenant.".into(),
            Self::NameTooLong(_) => {
                "Choose a shorter name; pgaadauth_create_principal_with_oid accepts one that is not the principal's."
                    .into()
            }
            Self::NameNotFound(_) => ErrorKind::NotFound.hint().into(),
            Self::NameAmbiguous { .. } => ErrorKind::Ambiguous.hint().into(),
            Self::ObjectNotFound(_) => "For an application, use the object id of its service principal (Enterprise \
                 applications) or its application (client) id, not the object id of its registration."
                .into(),
            Self::WrongType { actual, .. } => format!("Specify '{actual}' as the type if that principal is intended."),
            Self::Unanswered { lookup_error, .. } => format!(
                "{} pgaadauth_create_principal_with_oid and labels with oid and type need no directory.",
                lookup_error.hint()
            ),
            Self::NameMismatch { .. } => ErrorKind::BadAnswer.hint().into(),
            Self::PassesForUser { kind, object_id, .. } => format!(
                "An application's owner chooses its name. If the {kind} {object_id} is intended, \
                 use pgaadauth_create_principal_with_oid."
            ),
            Self::Locked(holder) | Self::MembersLocked(_, holder) => holder.hint(),
            Self::Renamed(_) => "Try again.".into(),
            Self::Standby(_) => "Call the function on the primary server.".into(),
            Self::NotInEncoding(_) => "Create the role in a database with the encoding UTF8.".into(),
            Self::NoSuchRole(_) => {
                "pgaadauth_create_principal_with_oid creates a role and maps it.".into()
            }
            Self::ObjectId => "Use a GUID such as 6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f5.".into(),
            Self::RoleExists { statement, .. } => with_statement(
                "pgaadauth_update_principal_with_oid or a label gives that role, with all that it owns and may do, to \
                 this principal",
                statement,
            ),
            Self::ObjectType(_) => {
                "Use user, group or service; applications (service principals) and managed identities are service."
                    .into()
            }
            _ => return None,
        };
        Some(hint)
    }
}

/// A statement to paste, unless names in it cannot be shown as they are: what is copied could be another statement.
fn with_statement(advice: &str, statement: &str) -> String {
    if text::escape_error(statement) == statement && !statement.contains(is_hidden) {
        format!("{advice}:\n{statement};")
    } else {
        format!("{advice}.")
    }
}

/// Different codes, so that scripts can distinguish the failures.
fn unanswered(lookup_error: &LookupError) -> PgSqlErrorCode {
    use PgSqlErrorCode::*;
    match lookup_error {
        LookupError::NotConfigured
        | LookupError::WorkerNotRunning
        | LookupError::SettingsChanged => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        LookupError::Busy => ERRCODE_INSUFFICIENT_RESOURCES,
        LookupError::TimedOut => ERRCODE_CONNECTION_FAILURE,
        LookupError::Directory { kind, .. } => match kind {
            ErrorKind::PermissionMissing => ERRCODE_INSUFFICIENT_PRIVILEGE,
            ErrorKind::CredentialUnusable => ERRCODE_CONFIG_FILE_ERROR,
            ErrorKind::CredentialRefused => ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            ErrorKind::Unreachable => ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
            ErrorKind::TimedOut => ERRCODE_CONNECTION_FAILURE,
            ErrorKind::Throttled => ERRCODE_INSUFFICIENT_RESOURCES,
            ErrorKind::BadAnswer => ERRCODE_PROTOCOL_VIOLATION,
            ErrorKind::LibraryUnusable => ERRCODE_UNDEFINED_FILE,
            ErrorKind::NotFound | ErrorKind::Ambiguous => ERRCODE_UNDEFINED_OBJECT,
        },
    }
}

impl std::fmt::Display for Privilege {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Privilege::Own => f.write_str(
                "It has SUPERUSER, REPLICATION or BYPASSRLS, or privileges outside the databases.",
            ),
            Privilege::Through(role) => write!(f, "It is a member of role \"{role}\"."),
            Privilege::Admins => f.write_str("Its members are the Entra admins."),
            Privilege::AdminPrincipal => f.write_str("It is an Entra admin."),
        }
    }
}
