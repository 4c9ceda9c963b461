//! The sessions that tokens have opened, as they lie in shared memory.
//!
//! Plain values: the lock is taken in [`crate::shared::shmem`]. Each process of the server has one place, under
//! its number; it alone fills and clears it.

use entra_token::{PrincipalKind, RevocableIds};
use uuid::Uuid;

use crate::shared::bytes::Bytes;

/// Longer than any name that PostgreSQL keeps (`NAMEDATALEN`).
type Name = Bytes<64>;

/// Who is behind one backend.
#[derive(Clone, Copy)]
pub struct Session {
    /// The backend's process id. It is that process's for as long as the session is in the table.
    pub pid: i32,
    pub role: Name,
    pub kind: PrincipalKind,
    pub object_id: Uuid,
    pub tenant_id: Uuid,
    /// An application's own id; of a person, that of the client that the token was issued to.
    pub app_id: Option<Uuid>,
    /// The group whose role it is.
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
    /// As the client gave it when it connected.
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
    /// Who it is, for people to read: names never decide.
    pub fn principal(&self) -> String {
        let names = [self.upn.as_str(), self.display_name.as_str()];
        match names.into_iter().find(|name| !name.is_empty()) {
            Some(name) => name.to_owned(),
            None => self.app_id.unwrap_or(self.object_id).to_string(),
        }
    }

    /// Whether a sign-in with its token would be refused as expired. All in seconds.
    pub fn is_expired(&self, now: i64, clock_skew: i64) -> bool {
        now >= self.expires_at.saturating_add(clock_skew)
    }
}

impl Place {
    pub const EMPTY: Place = Place(None);
}
