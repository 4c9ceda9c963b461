//! What happens when a security label is set or cleared.

use std::cell::RefCell;

use entra_token::{InternalLabel, PrincipalKind, PublicLabel};
use pgrx::pg_sys;
use uuid::Uuid;

use super::appointment::{self, Status};
use super::error::PrincipalError;
use super::lookup::Found;
use super::mapped::MappedRoles;
use super::{admin, lookup};
use crate::pg::label::{self, Labels, Provider};
use crate::pg::log::{self, Level};
use crate::pg::privileges;
use crate::settings;

/// Checks that the role may get this label, and rewrites the other provider's label so that the two agree.
/// The caller then writes the label itself.
pub fn relabel(
    provider: Provider,
    role: Option<pg_sys::Oid>,
    label: Option<&str>,
) -> Result<(), PrincipalError> {
    let role = role.ok_or(PrincipalError::NotARole)?;
    // They cannot change meanwhile: ExecSecLabelStmt has locked the role.
    let labels = label::read(role);
    // Before the directory lookup, which a session that may not map roles must not cause.
    admin::check(role, &labels, label.is_some())?;
    if label.is_none() && labels == Labels::default() {
        // Nothing changes, and a transaction that has changed nothing may wait for group sync, which takes the lock below.
        return Ok(());
    }
    let other = match label {
        None => Other::Cleared,
        Some(label) => counterpart(provider, role, label, &labels)?,
    };
    // After the directory lookup: all sessions that set a label wait for this lock.
    label::lock().map_err(PrincipalError::Locked)?;
    // Lookup and lock may take long. The session's rights can have changed; the role's labels cannot.
    admin::check(role, &labels, label.is_some())?;
    let (text, is_mapping, other_id) = match &other {
        Other::Kept => return Ok(()),
        Other::Cleared => (None, None, None),
        Other::Public(text, internal) => (Some(text.clone()), Some(internal), None),
        Other::Internal(Found { internal, other_id }) => {
            (Some(internal.to_string()), Some(internal), *other_id)
        }
    };
    if let Some(internal) = is_mapping {
        ensure_unmapped(role, internal.tenant, [Some(internal.object_id), other_id])?;
    }
    let before = match &labels {
        labels if admin::says_admin(labels) => Status::Admin,
        labels if *labels == Labels::default() => Status::Unmapped,
        _ => Status::Mapped,
    };
    let current = match provider {
        Provider::Public => labels.internal,
        Provider::Internal => labels.public,
    };
    if text != current {
        label::set(role, provider.other(), text.as_deref());
    }
    // A dump has the attributes and memberships of its own.
    if lookup::is_replay() {
        return Ok(());
    }
    let public = label.filter(|_| provider == Provider::Public);
    let has_mfa =
        public.is_some_and(|label| label.parse().is_ok_and(|label: PublicLabel| label.mfa()));
    if has_mfa && is_mapping.is_some_and(|internal| internal.kind == PrincipalKind::Service) {
        log::line(
            Level::Warning,
            "a service cannot prove multi-factor authentication",
            Some("Nobody can sign in as the role."),
            Some("Omit mfa."),
        );
    }
    let after = match is_mapping {
        Some(internal) if internal.admin => Status::Admin,
        Some(_) => Status::Mapped,
        None => Status::Unmapped,
    };
    appointment::change(role, before, after)
}

thread_local! {
    // Set for the duration of one statement.
    static FOUND: RefCell<Option<Found>> = const { RefCell::new(None) };
}

/// Runs a `SECURITY LABEL FOR pgaadauth` for a principal that has been looked up already, so that its role
/// gets the internal label that was found.
pub fn with_found<T>(found: &Found, statement: impl FnOnce() -> T) -> T {
    struct Forget;
    /// Also while an ERROR unwinds.
    impl Drop for Forget {
        fn drop(&mut self) {
            FOUND.take();
        }
    }
    let _forget = Forget;
    FOUND.set(Some(found.clone()));
    statement()
}

/// The change to the other provider's label.
enum Other {
    Kept,
    Cleared,
    /// The public label that goes with the internal one.
    Public(String, InternalLabel),
    Internal(Found),
}

/// The other provider's label that goes with `label`: the current one if it agrees, so that a dump can be
/// replayed in either order and a public label stays as it was typed.
fn counterpart(
    provider: Provider,
    role: pg_sys::Oid,
    label: &str,
    current: &Labels,
) -> Result<Other, PrincipalError> {
    let refuse = |error| PrincipalError::Label { provider, error };
    match provider {
        Provider::Public => {
            let label: PublicLabel = label.parse().map_err(refuse)?;
            let current = parsed(&current.internal).map(|internal| Found {
                internal,
                other_id: None,
            });
            let known = [FOUND.with_borrow(Clone::clone), current];
            let mut known = known.into_iter().flatten();
            match known.find(|found| label.agrees_with(&found.internal)) {
                Some(found) => Ok(Other::Internal(found)),
                None => resolve(role, &label),
            }
        }
        Provider::Internal => {
            let label: InternalLabel = label.parse().map_err(refuse)?;
            let public = parsed::<PublicLabel>(&current.public);
            let text = match (public, &current.public) {
                (Some(public), Some(text)) if public.agrees_with(&label) => text.clone(),
                (public, _) => {
                    // The internal label does not have the MFA requirement, so it does not remove it.
                    let mfa = public.is_some_and(|public| public.mfa());
                    PublicLabel::Principal {
                        kind: label.kind,
                        object_id: label.object_id,
                        admin: label.admin,
                        mfa,
                    }
                    .to_string()
                }
            };
            Ok(Other::Public(text, label))
        }
    }
}

/// An invalid label counts as none: it is about to be replaced.
fn parsed<L: std::str::FromStr>(label: &Option<String>) -> Option<L> {
    label.as_deref().and_then(|label| label.parse().ok())
}

/// The principal that a public label names, in the configured tenant; looked up in the directory when the
/// label has only the role's name.
fn resolve(role: pg_sys::Oid, label: &PublicLabel) -> Result<Other, PrincipalError> {
    let is_replay = lookup::is_replay();
    let found = match *label {
        // The internal label follows; until then, nobody can sign in.
        PublicLabel::ByName { .. } if is_replay => return Ok(Other::Kept),
        PublicLabel::ByName { admin, .. } => {
            let name = || privileges::name_of(role).unwrap_or_else(|| role.to_string());
            let requested = name();
            let found = lookup::by_name(&requested, admin)?;
            privileges::accept_invalidations();
            if name() != requested {
                return Err(PrincipalError::Renamed(requested));
            }
            found
        }
        PublicLabel::Principal {
            kind,
            object_id,
            admin,
            ..
        } if is_replay => Found {
            internal: InternalLabel {
                kind,
                object_id,
                tenant: settings::tenant().ok_or(PrincipalError::NoTenant)?,
                admin,
            },
            other_id: None,
        },
        PublicLabel::Principal {
            kind,
            object_id,
            admin,
            ..
        } => lookup::by_object_id(kind, object_id, admin)?,
    };
    Ok(Other::Internal(found))
}

/// Labels a role that this transaction has created, as `SECURITY LABEL FOR pgaadauth` would, with both
/// labels given. `mapped` was read under the lock on labels, once for many roles.
///
/// # Errors
/// The session may not label the role, or the principal has a role already.
pub fn map_new(
    role: pg_sys::Oid,
    public: &PublicLabel,
    internal: &InternalLabel,
    mapped: &MappedRoles,
) -> Result<(), PrincipalError> {
    admin::check(role, &Labels::default(), true)?;
    ensure_unmapped_in(role, internal.tenant, internal.object_id, mapped)?;
    label::set(role, Provider::Internal, Some(&internal.to_string()));
    label::set(role, Provider::Public, Some(&public.to_string()));
    Ok(())
}

fn ensure_unmapped(
    role: pg_sys::Oid,
    tenant: Uuid,
    ids: [Option<Uuid>; 2],
) -> Result<(), PrincipalError> {
    let mapped = MappedRoles::read();
    let mut ids = ids.into_iter().flatten();
    ids.try_for_each(|id| ensure_unmapped_in(role, tenant, id, &mapped))
}

/// Refuses a principal that has a role already: a principal must always sign in as the same role, and a
/// forgotten mapping must not outlive the one that replaced it.
fn ensure_unmapped_in(
    role: pg_sys::Oid,
    tenant: Uuid,
    object_id: Uuid,
    mapped: &MappedRoles,
) -> Result<(), PrincipalError> {
    let mut holders = mapped.of(tenant, object_id).iter();
    match holders.find(|holder| holder.role != role) {
        Some(holder) => Err(PrincipalError::Taken {
            object_id,
            role: privileges::name_of(holder.role).unwrap_or_else(|| holder.role.to_string()),
        }),
        None => Ok(()),
    }
}
