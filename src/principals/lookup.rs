//! Looks up the principal that a role is to be mapped to in the directory.
//!
//! To be called before any lock is taken that others wait for. The wait is bounded, and canceling the query
//! ends it.

use entra_api::{ErrorKind, Principal};
use entra_token::{InternalLabel, PrincipalKind};
use uuid::Uuid;

use super::error::PrincipalError;
use crate::pg::log::{self, Level};
use crate::pg::{privileges, query};
use crate::shared::directory::lookup_error::LookupError;
use crate::{directory, settings};

/// A mapping, and what is known of the principal besides.
#[derive(Clone)]
pub struct Found {
    pub internal: InternalLabel,
    /// Of a service, the id by which it is not mapped: its application id or its object id.
    pub other_id: Option<Uuid>,
}

/// The mapping to the principal that the directory knows by this name.
///
/// # Errors
/// There is not exactly one, or the lookup fails.
pub fn by_name(name: &str, admin: bool) -> Result<Found, PrincipalError> {
    let tenant = settings::tenant().ok_or(PrincipalError::NoTenant)?;
    let principal = directory::find_by_name(name).map_err(|lookup_error| match lookup_error {
        LookupError::NotConfigured => {
            PrincipalError::NoDirectory(settings::missing_for_directory())
        }
        LookupError::Directory {
            kind: ErrorKind::NotFound,
            ..
        } => PrincipalError::NameNotFound(name.to_owned()),
        LookupError::Directory {
            kind: ErrorKind::Ambiguous,
            message,
        } => PrincipalError::NameAmbiguous {
            name: name.to_owned(),
            found: message,
        },
        lookup_error => PrincipalError::Unanswered {
            whom: name.to_owned(),
            lookup_error: without_secrets(lookup_error),
        },
    })?;
    ensure_name_matches(&principal, name)?;
    warn_if_disabled(&principal);
    log::line(
        Level::Notice,
        &format!(
            "\"{name}\" is the {} {}",
            principal.kind, principal.object_id
        ),
        None,
        None,
    );
    Ok(Found {
        internal: InternalLabel {
            kind: principal.kind,
            object_id: principal.object_id,
            tenant,
            admin,
        },
        other_id: principal.app_id,
    })
}

/// The mapping to a principal that the caller names by kind and object id (or, for a service, application
/// id). If a directory is configured, the principal must exist there and be of that kind.
///
/// A directory that does not respond is no reason to refuse: the kind is checked here only to report a
/// mistake now rather than at the first sign-in, which checks it by the token.
///
/// # Errors
/// There is no such principal, or it is of another kind.
pub fn by_object_id(
    kind: PrincipalKind,
    object_id: Uuid,
    admin: bool,
) -> Result<Found, PrincipalError> {
    let tenant = settings::tenant().ok_or(PrincipalError::NoTenant)?;
    let mut other_id = None;
    match find(kind, object_id) {
        Ok(principal) if principal.kind == kind => {
            warn_if_disabled(&principal);
            other_id = if principal.object_id == object_id {
                principal.app_id
            } else {
                Some(principal.object_id)
            };
        }
        Ok(principal) => {
            return Err(PrincipalError::WrongType {
                given: kind,
                actual: principal.kind,
            });
        }
        Err(LookupError::NotConfigured) => {}
        Err(LookupError::Directory {
            kind: ErrorKind::NotFound,
            ..
        }) => {
            return Err(PrincipalError::ObjectNotFound(object_id));
        }
        Err(lookup_error) => {
            let lookup_error = without_secrets(lookup_error);
            log::line(
                Level::Warning,
                &format!(
                    "could not check that object id {object_id} is that of a {kind}: {}",
                    lookup_error.message()
                ),
                Some("The role is mapped without this check."),
                Some(lookup_error.hint()),
            );
        }
    }
    Ok(Found {
        internal: InternalLabel {
            kind,
            object_id,
            tenant,
            admin,
        },
        other_id,
    })
}

/// Settings that name files are for superusers to read, and so are messages with their values.
fn without_secrets(lookup_error: LookupError) -> LookupError {
    match lookup_error {
        LookupError::Directory {
            kind: kind @ (ErrorKind::CredentialUnusable | ErrorKind::Unreachable),
            ..
        } if !privileges::is_superuser(privileges::current_user()) => LookupError::Directory {
            kind,
            message: match kind {
                ErrorKind::CredentialUnusable => "the server's credential cannot be used",
                _ => "the directory cannot be reached",
            }
            .to_owned(),
        },
        lookup_error => lookup_error,
    }
}

/// Labels may have either id of an application.
fn find(kind: PrincipalKind, id: Uuid) -> Result<Principal, LookupError> {
    match directory::find_by_object_id(id) {
        Err(LookupError::Directory {
            kind: ErrorKind::NotFound,
            ..
        }) if kind == PrincipalKind::Service => directory::find_by_app_id(id),
        found => found,
    }
}

/// Refuses a response about a principal with another name. Entra's names are case-insensitive.
///
/// Also refuses an application or a group that is named like a user: in most tenants every user may
/// register an application under any name, and the mistaken mapping would not be noticed.
fn ensure_name_matches(principal: &Principal, name: &str) -> Result<(), PrincipalError> {
    if principal.name.to_lowercase() != name.to_lowercase() {
        return Err(PrincipalError::NameMismatch {
            requested: name.to_owned(),
            returned: principal.name.clone(),
        });
    }
    if principal.kind != PrincipalKind::User && has_at_sign(name) {
        return Err(PrincipalError::PassesForUser {
            name: name.to_owned(),
            kind: principal.kind,
            object_id: principal.object_id,
        });
    }
    Ok(())
}

/// Whether a name looks like a user's: it has an @, or a character that looks like one.
pub fn has_at_sign(name: &str) -> bool {
    name.contains(['@', '\u{FE6B}', '\u{FF20}'])
}

fn warn_if_disabled(principal: &Principal) {
    if !principal.enabled {
        log::line(
            Level::Warning,
            &format!(
                "the account of \"{}\" is disabled in the directory",
                principal.name
            ),
            None,
            Some("It gets no tokens, so nobody can sign in as the role until it is enabled."),
        );
    }
}

/// Whether this session replays a dump, by the settings with which the scripts of pg_dumpall begin (main in
/// pg_dumpall.c). Drivers set one or the other, but not all three.
///
/// A dump has both labels of a role, in either order, and its principals were looked up when the labels
/// were set: another lookup for each role would take long, and fail for principals deleted since. Skipping
/// it only means that less is checked early: a session that may set labels may set the internal one, which
/// never needs a lookup. But it also leaves out what a label gives and takes, so that only superusers restore dumps.
pub fn is_replay() -> bool {
    if !privileges::is_superuser(privileges::current_user()) {
        return false;
    }
    query::one(
        "SELECT pg_catalog.count(*) OPERATOR(pg_catalog.=) 3 FROM pg_catalog.pg_settings
         WHERE source OPERATOR(pg_catalog.=) 'session' AND (
             name OPERATOR(pg_catalog.=) 'default_transaction_read_only' AND setting OPERATOR(pg_catalog.=) 'off'
             OR name OPERATOR(pg_catalog.=) 'standard_conforming_strings' AND setting OPERATOR(pg_catalog.=) 'on'
             OR name OPERATOR(pg_catalog.=) 'client_encoding')",
    )
    .ok()
    .flatten()
        == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_about_another_principal_is_refused() {
        let principal = Principal {
            kind: PrincipalKind::User,
            object_id: Uuid::nil(),
            name: "Zo\u{eb}@contoso.com".into(),
            app_id: None,
            enabled: true,
        };
        for (requested, is_fine) in [
            ("Zo\u{eb}@contoso.com", true),
            ("ZO\u{cb}@CONTOSO.COM", true),
            ("zoe@contoso.com", false),
            ("zo\u{eb}@contoso.co", false),
            ("", false),
        ] {
            assert_eq!(
                ensure_name_matches(&principal, requested).is_ok(),
                is_fine,
                "{requested}"
            );
        }
    }

    #[test]
    fn an_application_does_not_pass_for_a_user() {
        for (kind, name, is_fine) in [
            (PrincipalKind::User, "bob@fabrikam.com", true),
            (PrincipalKind::Service, "reporting", true),
            (PrincipalKind::Group, "analysts", true),
            (PrincipalKind::Service, "bob@fabrikam.com", false),
            (PrincipalKind::Group, "bob@fabrikam.com", false),
            (PrincipalKind::Service, "bob\u{FF20}fabrikam.com", false),
            (PrincipalKind::Service, "bob\u{FE6B}fabrikam.com", false),
        ] {
            let principal = Principal {
                kind,
                object_id: Uuid::nil(),
                name: name.to_owned(),
                app_id: None,
                enabled: true,
            };
            assert_eq!(
                ensure_name_matches(&principal, name).is_ok(),
                is_fine,
                "{name}"
            );
        }
    }
}
