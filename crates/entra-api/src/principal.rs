//! What the directory answers about.

use entra_token::PrincipalKind;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A principal as the directory knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// User, group or service principal.
    pub kind: PrincipalKind,
    /// What identifies it.
    pub object_id: Uuid,
    /// For people to read, never to decide by: a user's principal name, the display name of others.
    pub name: String,
    /// The application of a service principal.
    pub app_id: Option<Uuid>,
    /// False for an account that may not sign in. Groups are always enabled.
    pub enabled: bool,
}
