//! What was decided about this backend's sign-in.

use std::time::Duration;

use entra_token::Mapping;
use pgrx::pg_sys;
use uuid::Uuid;

use super::refusal::Refusal;
use crate::audit::EventCheck;
use crate::identity::Identity;
use crate::pg::role::Role;

/// A decision and what it was based on.
pub struct Verdict {
    /// The role as it was when it was judged; a later reading must equal it.
    pub role: Option<Role>,
    pub outcome: Result<Accepted, Refusal>,
    /// What a token with a good signature says about its owner, accepted or not.
    pub identity: Option<Identity>,
    /// How the membership of an accepted sign-in to a group role is known.
    pub membership: Option<EventCheck>,
    /// Without the time that the client took.
    pub took: Duration,
}

/// How a role was let in.
pub enum Accepted {
    Token(Mapping),
    Password,
}

/// What the hook does with a sign-in.
pub enum Word {
    Accepted(Entrance),
    Refused(Refusal),
    /// The method itself has refused a local role; core says so to the client.
    RefusedByMethod,
    /// The client has gone; core ends the backend without a word.
    ClientGone,
    /// The client has asked where to get a token and sent none; core has told it, and ends the connection.
    Discovery,
}

/// How an accepted sign-in came about.
pub enum Entrance {
    Token,
    /// SCRAM by a line of ours.
    Password,
    /// A local role by a pg_hba.conf line that is none of our business.
    OtherLine,
}

impl Verdict {
    /// Who signs in, if they do, with a token.
    pub fn accepted_object_id(&self) -> Option<Uuid> {
        match &self.outcome {
            Ok(Accepted::Token(_)) => {
                let principal = self.identity.as_ref()?.principal.as_ref()?;
                Some(principal.object_id)
            }
            _ => None,
        }
    }

    pub fn admin_role(&self) -> Option<pg_sys::Oid> {
        match (&self.outcome, &self.role) {
            (Ok(Accepted::Token(mapping)), Some(role)) if mapping.admin => Some(role.oid),
            _ => None,
        }
    }
}
