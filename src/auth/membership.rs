//! Whether a principal is in the role's group, where the token does not say.

use entra_api::ErrorKind;
use entra_token::{Claims, Membership, PrincipalKind, Reason, TokenKind};
use uuid::Uuid;

use crate::audit::MembershipSource;
use crate::directory;
use crate::shared::directory::lookup_error::Answerless;

/// What the cache or the directory says.
pub struct Known {
    pub membership: Membership,
    pub source: MembershipSource,
    /// For the server log: why it says nothing, and what to do about it.
    pub problem: Option<String>,
}

/// Looks the token's principal up; `None` when there is no directory to ask.
///
/// The address that an overflowed token gives in `_claim_sources` is not where: whoever chose it would
/// choose the answer.
pub fn look_up(claims: &Claims, group: Uuid) -> Option<Known> {
    let kind = match claims.kind()? {
        TokenKind::Delegated => PrincipalKind::User,
        TokenKind::AppOnly => PrincipalKind::Service,
    };
    match directory::membership(kind, claims.oid()?, group) {
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
        Err(Answerless::NotConfigured) => None,
        Err(answerless) => Some(Known {
            membership: Membership::Unanswered(reason(&answerless)),
            source: MembershipSource::Directory,
            problem: Some(format!(
                "Cause: {}. {}",
                answerless.message(),
                answerless.hint()
            )),
        }),
    }
}

fn reason(answerless: &Answerless) -> Reason {
    match answerless {
        Answerless::Busy => Reason::DirectoryBusy,
        Answerless::TimedOut
        | Answerless::Directory {
            kind: ErrorKind::TimedOut,
            ..
        } => Reason::DirectoryTimedOut,
        Answerless::NotConfigured
        | Answerless::WorkerNotRunning
        | Answerless::SettingsChanged
        | Answerless::Directory { .. } => Reason::DirectoryUnavailable,
    }
}
