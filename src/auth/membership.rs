//! Whether a principal is in the role's group, when the token does not say.

use entra_api::ErrorKind;
use entra_token::{Claims, Membership, PrincipalKind, Reason, TokenKind};
use uuid::Uuid;

use crate::audit::MembershipSource;
use crate::directory;
use crate::shared::directory::lookup_error::LookupError;

/// What the cache or the directory says.
pub struct Known {
    pub membership: Membership,
    pub source: MembershipSource,
    /// For the server log: why the membership is unknown, and what to do about it.
    pub problem: Option<String>,
}

/// Looks the token's principal up; `None` when there is no directory to ask.
///
/// The address that an overflowed token gives in `_claim_sources` is not used: those who control that address
/// would choose the answer.
///
/// If it is not to wait for the directory, its answer is there at a later look-up by this process.
pub fn look_up(claims: &Claims, group: Uuid, waits: bool) -> Option<Known> {
    let kind = match claims.kind()? {
        TokenKind::Delegated => PrincipalKind::User,
        TokenKind::AppOnly => PrincipalKind::Service,
    };
    match directory::membership(kind, claims.oid()?, group, waits) {
        Ok(known) => Some(Known {
            membership: if known.is_member {
                Membership::Member
            } else {
                Membership::NotMember
            },
            source: if known.is_cached {
                MembershipSource::Cache
            } else {
                MembershipSource::Directory
            },
            problem: None,
        }),
        Err(LookupError::NotConfigured) => None,
        Err(lookup_error) => Some(Known {
            membership: Membership::Unanswered(reason(&lookup_error)),
            source: MembershipSource::Directory,
            problem: Some(format!(
                "Cause: {}. {}",
                lookup_error.message(),
                lookup_error.hint()
            )),
        }),
    }
}

fn reason(lookup_error: &LookupError) -> Reason {
    match lookup_error {
        LookupError::Busy => Reason::DirectoryBusy,
        LookupError::TimedOut
        | LookupError::Directory {
            kind: ErrorKind::TimedOut,
            ..
        } => Reason::DirectoryTimedOut,
        LookupError::NotConfigured
        | LookupError::WorkerNotRunning
        | LookupError::SettingsChanged
        | LookupError::Directory { .. } => Reason::DirectoryUnavailable,
    }
}
