//! Who signs in with a token, and who has signed in to this backend.

use std::cell::Cell;

use entra_token::{Claims, PrincipalKind, TokenKind};
use pgrx::pg_sys;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::text::{SanitizedText, escapes};

/// What a token whose signature was verified says about its principal and about itself.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `None` when the token does not say.
    pub principal: Option<Principal>,
    pub token: Token,
}

/// Who a token belongs to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Principal {
    pub kind: PrincipalKind,
    pub object_id: Uuid,
    pub tenant_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upn: Option<SanitizedText>,
    /// An application's own id; for a user, that of the client that the token was issued to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<SanitizedText>,
}

/// What is kept of a token, never the token itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Token {
    /// The `uti` claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<SanitizedText>,
    /// Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<i64>,
    /// Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// The resource that it was issued for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<SanitizedText>,
    /// The `ver` claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<SanitizedText>,
    #[serde(default)]
    pub amr: Vec<SanitizedText>,
    pub key_id: SanitizedText,
}

impl Identity {
    /// `key_id` names the key that verified the token; `tenant` is the configured one.
    pub fn new(claims: &Claims, key_id: &str, tenant: Uuid) -> Identity {
        let kind = claims.kind().map(|kind| match kind {
            TokenKind::Delegated => PrincipalKind::User,
            TokenKind::AppOnly => PrincipalKind::Service,
        });
        let principal = kind.zip(claims.oid()).map(|(kind, object_id)| Principal {
            kind,
            object_id,
            tenant_id: tenant,
            upn: claims.upn().map(claimed),
            app_id: claims.appid(),
            display_name: claims.name().map(claimed),
        });
        let token = Token {
            token_id: claims.uti().map(claimed),
            issued_at: claims.iat(),
            expires_at: claims.exp(),
            audience: claims.audience().map(claimed),
            version: claims.version().map(|version| claimed(version.claim())),
            amr: claims.amr().iter().map(|method| claimed(method)).collect(),
            key_id: claimed(key_id),
        };
        Identity { principal, token }
    }
}

/// A text of JSON, in which no character stands for a byte.
fn claimed(text: &str) -> SanitizedText {
    SanitizedText::from(escapes::decode_utf8(text.as_bytes()))
}

thread_local! {
    // Empty in the postmaster, and a backend is a process of one thread.
    static ADMIN_ROLE: Cell<Option<pg_sys::Oid>> = const { Cell::new(None) };
}

/// Notes the role of a sign-in with a token, if its label said `admin` then.
pub fn set_admin_role(role: Option<pg_sys::Oid>) {
    ADMIN_ROLE.set(role);
}

/// The role that [`set_admin_role`] noted. The caller checks whether its label still says `admin`.
pub fn admin_role() -> Option<pg_sys::Oid> {
    ADMIN_ROLE.get()
}
