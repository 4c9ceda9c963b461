//! The table of sessions that were opened with tokens, in shared memory.
//!
//! Plain values: the lock is taken in [`crate::shared::shmem`]. Each process of the server has one place, under
//! its number; only that process fills and clears it.

use entra_token::{PrincipalKind, RevocableIds};
use uuid::Uuid;

use crate::shared::bytes::Bytes;

/// Longer than any name that PostgreSQL keeps (`NAMEDATALEN`).
type Name = Bytes<64>;

/// The identity behind one backend.
#[derive(Clone, Copy)]
pub struct Session {
    /// The backend's process id, valid for as long as the session is in the table.
    pub pid: i32,
    pub role: Name,
    /// The role's object id.
    pub role_oid: u32,
    pub kind: PrincipalKind,
    pub object_id: Uuid,
    pub tenant_id: Uuid,
    /// An application's own id; for a user, that of the client that the token was issued to.
    pub app_id: Option<Uuid>,
    /// The group that the role is mapped to.
    pub group_id: Option<Uuid>,
    pub ids: RevocableIds,
    /// The user principal name; empty when the token has none.
    pub upn: Bytes<256>,
    /// Empty when the token has none.
    pub display_name: Bytes<256>,
    pub token_id: Bytes<64>,
    /// Empty for replication.
    pub database: Name,
    /// A numeric address, or `local`.
    pub client: Name,
    /// The role of the trusted pooler that has opened it; empty for others.
    pub pooler: Name,
    /// The application_name of the startup packet.
    pub application: Name,
    /// Microseconds since the Unix epoch.
    pub signed_in_at: i64,
    /// The token's `exp`, in seconds since the Unix epoch.
    pub expires_at: i64,
}

/// A process's place in the table.
#[derive(Clone, Copy)]
pub struct Place(pub Option<Session>);

impl Session {
    /// A readable name of the principal. Names are never used for decisions.
    pub fn principal(&self) -> String {
        let names = [self.upn.as_str(), self.display_name.as_str()];
        match names.into_iter().find(|name| !name.is_empty()) {
            Some(name) => name.to_owned(),
            None => self.app_id.unwrap_or(self.object_id).to_string(),
        }
    }

    /// Whether members of the role's group share it, so that nobody knows whose statements it has.
    pub fn is_shared(&self) -> bool {
        self.group_id.is_some() && self.is_pooled()
    }

    /// Whether a trusted pooler has opened it.
    pub fn is_pooled(&self) -> bool {
        !self.pooler.as_slice().is_empty()
    }

    /// Whether a sign-in with its token would be refused as expired. All in seconds.
    pub fn is_expired(&self, now: i64, clock_skew: i64) -> bool {
        now >= self.expires_at.saturating_add(clock_skew)
    }
}

impl Place {
    pub const EMPTY: Place = Place(None);
}
