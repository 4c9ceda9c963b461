//! By which ids a sign-in is revoked.

use uuid::Uuid;

use crate::claims::{Claims, TokenKind};
use crate::label::Mapping;

/// Name of the check whether the sign-in is revoked.
pub const REVOCATION_CHECK: &str = "not revoked";

/// The ids by any of which a sign-in, and the session that it opens, is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocableIds {
    /// The `oid` of the token: the person or the service principal who signs in.
    object_id: Uuid,
    /// The id in the role's label: a group's, or whichever of a service's two ids it was mapped by.
    mapped_id: Uuid,
    /// The application id of an app-only token. That of a delegated one is the client's, and to revoke a
    /// client program would deny access to all its users.
    application_id: Option<Uuid>,
}

impl RevocableIds {
    /// Those of a verified token at a role; `None` when the token has no `oid`, with which it is refused
    /// in any case.
    pub fn of(mapping: &Mapping, claims: &Claims) -> Option<RevocableIds> {
        let is_application = claims.kind() == Some(TokenKind::AppOnly);
        let application_id = claims.appid().filter(|_| is_application);
        Some(RevocableIds::new(mapping, claims.oid()?, application_id))
    }

    /// Those of a token's principal at a role. `application_id` is given only for an app-only token.
    pub fn new(mapping: &Mapping, object_id: Uuid, application_id: Option<Uuid>) -> RevocableIds {
        RevocableIds {
            object_id,
            mapped_id: mapping.object_id,
            application_id,
        }
    }

    /// Whether this id is one of them.
    pub fn contain(&self, id: Uuid) -> bool {
        self.any(|own| own == id)
    }

    /// Whether `is_revoked` says so of any of them.
    pub fn any(&self, is_revoked: impl Fn(Uuid) -> bool) -> bool {
        let ids = [
            Some(self.object_id),
            Some(self.mapped_id),
            self.application_id,
        ];
        ids.into_iter().flatten().any(is_revoked)
    }
}
