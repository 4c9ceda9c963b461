//! One attempt to sign in, as the spool records it.

use std::fmt;

use entra_token::{PrincipalKind, Reason};
use serde::Serialize;
use uuid::{Builder, Uuid};

use crate::clock;
use crate::pg::server;

/// A text from outside that is fit to be shown: at most 255 characters, none of them control
/// characters or invisible ones that reorder or hide others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Shown(String);

impl Shown {
    pub const MAX: usize = 255;

    pub fn new(text: &str) -> Shown {
        Shown::up_to(Self::MAX, text)
    }

    /// With that many characters at most.
    pub fn up_to(most: usize, text: &str) -> Shown {
        Shown(text.chars().filter(|c| !is_hidden(*c)).take(most).collect())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for Shown {
    fn from(text: &str) -> Shown {
        Shown::new(text)
    }
}

/// Control characters (Unicode category Cc), line and paragraph separators, and the format characters
/// that change the direction or the visibility of their neighbours (UTS #55, section 2); and those that
/// show nothing (Default_Ignorable_Code_Point of UAX #44, and the empty Braille pattern).
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
                | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}'
                | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}'
        )
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// We let it pass; PostgreSQL may still have refused it (no such database, CONNECTION LIMIT).
    Authenticated,
    Refused,
    /// It ended before it was decided.
    Interrupted,
}

impl Outcome {
    pub const COUNT: usize = 3;
    pub const ALL: [Outcome; Outcome::COUNT] = [
        Outcome::Authenticated,
        Outcome::Refused,
        Outcome::Interrupted,
    ];

    /// Its place in [`Outcome::ALL`].
    pub fn number(self) -> usize {
        self as usize
    }
}

/// One attempt to sign in.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// UUIDv7. The table's primary key, so that no event is recorded twice.
    pub id: Uuid,
    /// When the attempt was decided, in microseconds since the Unix epoch.
    pub at: i64,
    pub role: Shown,
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// `entra-token`, `password`, or the method of the pg_hba.conf line.
    pub method: Shown,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<EventPrincipal>,
    /// Object id of the group that the principal came through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<Uuid>,
    /// `None` for a local socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_address: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_name: Option<Shown>,
    pub tls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<EventToken>,
    pub backend_pid: i32,
    pub decision_micros: i64,
    /// The checks of a refusal after the signature was verified; of an accepted sign-in to a group
    /// role, how the membership is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<EventCheck>,
    /// For how many attempts the event stands.
    pub count: i64,
}

/// Who signed in, by a token whose signature is verified.
#[derive(Clone, Debug, Serialize)]
pub struct EventPrincipal {
    pub kind: PrincipalKind,
    pub object_id: Uuid,
    pub tenant_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upn: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<Shown>,
}

/// What is recorded of a verified token. Never the token.
#[derive(Clone, Debug, Serialize)]
pub struct EventToken {
    /// The `uti` claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<Shown>,
    /// Unix seconds.
    pub issued_at: i64,
    /// Unix seconds.
    pub expires_at: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<Shown>,
    pub key_id: Shown,
}

/// One check of the decision.
#[derive(Clone, Debug, Serialize)]
pub struct EventCheck {
    pub name: Shown,
    /// Why it failed; `None` when it passed.
    pub reason: Option<Reason>,
    /// For a membership: the group's object id, and who was asked about it.
    #[serde(flatten)]
    pub membership: Option<EventMembership>,
}

/// Who was asked about a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MembershipSource {
    /// The token's `groups`.
    Claim,
    /// The same, which has names in place of object ids and says nothing for that reason.
    Names,
    /// What the directory said within `aadauth.group_cache_ttl`.
    Cache,
    Directory,
}

/// A question about a membership.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EventMembership {
    pub group: Uuid,
    pub source: MembershipSource,
}

impl Event {
    /// An event of now, with an id of its own.
    pub fn new(outcome: Outcome, role: &str, method: &str) -> Event {
        Event {
            id: new_id(),
            at: clock::micros(),
            role: Shown::new(role),
            outcome,
            reason: None,
            method: Shown::new(method),
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

    /// Whether anybody could have caused it, without a token of our tenant or a right password.
    pub fn is_anybodys(&self) -> bool {
        self.outcome != Outcome::Authenticated && self.token.is_none()
    }
}

/// A UUIDv7 (RFC 9562 section 5.7) of now.
///
/// The random part is fresh each time: a generator with a state in memory would hand the same ids to all
/// processes forked from one postmaster.
pub(super) fn new_id() -> Uuid {
    let millis = u64::try_from(clock::micros() / 1000).unwrap_or_default();
    // Without random bytes (which PostgreSQL itself would not start without) the process tells apart.
    let random = server::random().unwrap_or_else(|_| {
        let mut bytes = [0; 10];
        for (byte, part) in bytes.iter_mut().zip(std::process::id().to_be_bytes()) {
            *byte = part;
        }
        bytes
    });
    Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}
