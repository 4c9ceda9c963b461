//! One attempt to sign in, as the spool records it.

use entra_token::Reason;
use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use crate::clock;
use crate::identity::{Principal, Token};
use crate::pg::server;
use crate::shared::outcome::Outcome;
use crate::text::SanitizedText;

/// One attempt to sign in. `O` and `R` are the types of its outcome and reasons, which [`super::record`] reads as text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event<O = Outcome, R = Reason> {
    /// UUIDv7. The table's primary key, so that no event is recorded twice.
    pub id: Uuid,
    /// When the attempt was decided, in microseconds since the Unix epoch.
    pub at: i64,
    pub role: SanitizedText,
    /// Whether a role of that name may log in, as far as is known; not recorded.
    #[serde(skip)]
    pub role_can_login: bool,
    pub outcome: O,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<R>,
    /// `entra-token`, `password`, `pooler`, or the method of the `pg_hba.conf` record.
    pub method: SanitizedText,
    /// The role of the pooler: that asked, and says the client's address, or that has opened the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooler: Option<SanitizedText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
    /// Object id of the group that the principal signed in through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<Uuid>,
    /// `None` for a local socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_address: Option<SanitizedText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<SanitizedText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_name: Option<SanitizedText>,
    pub tls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    pub backend_pid: i32,
    pub decision_micros: i64,
    /// For a refusal after the signature was verified: its checks. For an accepted sign-in: the source of a membership,
    /// and that the token had expired.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<EventCheck<R>>,
    /// The number of attempts that the event represents.
    pub count: i64,
}

/// One check of the decision.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventCheck<R = Reason> {
    pub name: SanitizedText,
    /// Why it failed; `None` when it passed.
    pub reason: Option<R>,
    /// For a membership: the group's object id, and the source that was asked.
    #[serde(flatten)]
    pub membership: Option<EventMembership>,
}

/// The source that was asked about a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MembershipSource {
    /// The token's `groups`.
    Claim,
    /// The same, but it contains names instead of object ids, so it proves nothing.
    Names,
    /// What the directory said within `aadauth.group_cache_ttl`.
    Cache,
    Directory,
}

/// A check of a membership.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct EventMembership {
    pub group: Uuid,
    pub source: MembershipSource,
}

impl Event {
    /// An event at the current time, with an id of its own.
    pub fn new(outcome: Outcome, role: &str, method: &str) -> Event {
        Event {
            id: new_id(),
            at: clock::micros(),
            role: SanitizedText::new(role),
            role_can_login: false,
            outcome,
            reason: None,
            method: SanitizedText::new(method),
            pooler: None,
            principal: None,
            group_id: None,
            client_address: None,
            client_port: None,
            database: None,
            application_name: None,
            tls: false,
            token: None,
            backend_pid: std::process::id().cast_signed(),
            decision_micros: 0,
            checks: Vec::new(),
            count: 1,
        }
    }
}

/// A UUIDv7 (RFC 9562 section 5.7) of now.
///
/// The random part is read for each id: a generator with state in memory would give the same ids to all processes
/// forked from one postmaster.
pub(super) fn new_id() -> Uuid {
    let millis = u64::try_from(clock::micros() / 1000).unwrap_or_default();
    // Without random bytes (PostgreSQL itself would not start then) the process id distinguishes them.
    let random = server::random().unwrap_or_else(|_| {
        let mut bytes = [0; 10];
        for (byte, part) in bytes.iter_mut().zip(std::process::id().to_be_bytes()) {
            *byte = part;
        }
        bytes
    });
    Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}
