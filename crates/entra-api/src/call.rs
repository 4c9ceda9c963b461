//! How the server's library calls `aadauth_network`, which speaks HTTPS: what it asks and what it is answered, as JSON.

use std::time::Duration;

use entra_token::{Authority, PrincipalKind, TokenVersion};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{DirectoryError, HttpSettings, Principal};

/// What is asked of a directory.
#[derive(Debug, Serialize, Deserialize)]
pub enum Question {
    /// The principal of this name.
    Name(String),
    /// The principal with this object id.
    ObjectId(Uuid),
    /// The service principal of this application.
    AppId(Uuid),
    /// Whether the principal is in the group, directly or through other groups.
    #[allow(missing_docs, reason = "the names say what they are")]
    Membership {
        kind: PrincipalKind,
        member: Uuid,
        group: Uuid,
    },
    /// Whether the directory answers all of these.
    Probe,
    /// The members of this group, which may take longer than the time that there is for other questions.
    Members(Uuid),
}

/// A question, and how long there is time for its answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Asked {
    /// The question.
    pub question: Question,
    /// From now on.
    pub time: Duration,
}

/// What the directory answers. There is one for each question; to [`Question::Members`], one for each page, and then one
/// of another kind.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The principal.
    Found(Principal),
    /// Whether it is a member.
    Member(bool),
    /// There is no more to say.
    Done,
    /// Some of the members.
    Page(Vec<Principal>),
    /// Why there is no answer.
    Failed(DirectoryError),
}

/// Whose signing keys are wanted.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeysAsked {
    /// Who publishes them.
    pub authority: Authority,
    /// Of which tenant.
    pub tenant: Uuid,
    /// How requests leave the machine.
    pub http: HttpSettings,
}

/// What came of a fetch of signing keys.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeysReply {
    /// The keys of each token version, or why there are none.
    pub sets: Vec<Result<Keys, KeysProblem>>,
    /// By the first response that had a time, of whatever status.
    pub clock: Option<AuthorityTime>,
}

/// The keys of one token version.
#[derive(Debug, Serialize, Deserialize)]
pub struct Keys {
    /// Of the tokens that they verify.
    pub version: TokenVersion,
    /// The issuer that they belong to.
    pub issuer: String,
    /// A JWK set (RFC 7517 section 5).
    pub jwks: Value,
}

/// Why there are no keys. Says nothing of what the authority sent.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeysProblem {
    /// One line without a period.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// Whether the cause is this machine, not the authority or the network.
    pub is_ours: bool,
}

/// What an authority's clock said.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct AuthorityTime {
    /// When its response came, in microseconds since 1970.
    pub received: i64,
    /// What its Date header said, in seconds since 1970.
    pub date: i64,
}
