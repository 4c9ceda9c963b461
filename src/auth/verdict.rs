//! The outcome of authentication, and the final decision about this backend's sign-in.

use std::time::{Duration, Instant};

use entra_token::{Mapping, PrincipalKind};
use pgrx::pg_sys;
use uuid::Uuid;

use super::refusal::Refusal;
use crate::audit::EventCheck;
use crate::identity::Identity;
use crate::pg::role::Role;
use crate::shared::poolers::accepted_tokens::Digest;

/// The outcome of authentication and what it was based on.
pub struct Verdict {
    /// The role as it was when it was judged; the final authorization check must read the same.
    pub role: Option<Role>,
    pub outcome: Result<Accepted, Refusal>,
    /// What a token with a valid signature says about its principal, accepted or not.
    pub identity: Option<Identity>,
    /// What the audit keeps of an accepted sign-in's checks: how a membership is known, and that an expiry was excused.
    pub noted: Vec<EventCheck>,
    /// The role of the trusted pooler that has opened the connection, or that asks.
    pub pooler: Option<String>,
    /// The token as it is remembered of that pooler.
    pub presented: Option<Digest>,
    /// The same, if the role is a group's, of any trusted pooler.
    pub of_member: Option<Digest>,
    /// The duration, without the client's time.
    pub took: Duration,
}

/// What the role was authenticated by.
pub enum Accepted {
    Token(Mapping),
    Password,
}

/// What the authentication hook does with a sign-in.
pub enum Decision {
    Accepted(AuthMethod),
    Refused(Refusal),
    /// The method itself has refused a local role; core says so to the client.
    RefusedByMethod,
    /// The client has closed the connection; core ends the backend silently.
    ClientGone,
    /// The client has asked where to get a token and sent none; core has told it, and ends the connection.
    Discovery,
}

/// How an accepted client authenticated.
pub enum AuthMethod {
    Token,
    /// SCRAM by an aadauth HBA record.
    Password,
    /// A local role by any other pg_hba.conf record.
    OtherRecord,
}

impl Verdict {
    /// About a password, which took since `start`.
    pub fn without_token(
        role: Option<Role>,
        outcome: Result<Accepted, Refusal>,
        start: Instant,
    ) -> Verdict {
        Verdict {
            role,
            outcome,
            identity: None,
            noted: Vec::new(),
            pooler: None,
            presented: None,
            of_member: None,
            took: start.elapsed(),
        }
    }

    /// Whether the connection is one that members of a group share, so that nobody knows whose statements it has.
    pub fn is_shared(&self) -> bool {
        let is_group_role = matches!(&self.outcome,
            Ok(Accepted::Token(mapping)) if mapping.kind == PrincipalKind::Group);
        is_group_role && self.pooler.is_some()
    }

    /// The object id of a principal that was accepted with a token.
    pub fn accepted_object_id(&self) -> Option<Uuid> {
        match &self.outcome {
            Ok(Accepted::Token(_)) => {
                let principal = self.identity.as_ref()?.principal.as_ref()?;
                Some(principal.object_id)
            }
            _ => None,
        }
    }

    /// The role of an Entra admin, if it is known who the admin is.
    pub fn admin_role(&self) -> Option<pg_sys::Oid> {
        match (&self.outcome, &self.role) {
            (Ok(Accepted::Token(mapping)), Some(role)) if mapping.admin && !self.is_shared() => {
                Some(role.oid)
            }
            _ => None,
        }
    }
}
