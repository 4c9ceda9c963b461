//! Who signs in with a token, and who has signed in to this backend.

use std::cell::Cell;

use entra_token::{Claims, PrincipalKind, TokenKind};
use pgrx::pg_sys;
use serde::Serialize;
use uuid::Uuid;

use crate::text::Shown;

/// What a token whose signature is verified says of its owner and of itself.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `None` when the token does not say.
    pub principal: Option<Principal>,
    pub token: Token,
}

/// Who a token belongs to.
#[derive(Clone, Debug, Serialize)]
pub struct Principal {
    pub kind: PrincipalKind,
    pub object_id: Uuid,
    pub tenant_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upn: Option<Shown>,
    /// An application's own id; of a person, that of the client that the token was issued to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<Shown>,
}

/// What is kept of a token. Never the token.
#[derive(Clone, Debug, Serialize)]
pub struct Token {
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

impl Identity {
    /// `key_id` names the key that has verified the token, `tenant` is the one that is configured.
    pub fn new(claims: &Claims, key_id: &str, tenant: Uuid) -> Identity {
        let kind = claims.kind().map(|kind| match kind {
            TokenKind::Delegated => PrincipalKind::User,
            TokenKind::AppOnly => PrincipalKind::Service,
        });
        let principal = kind.zip(claims.oid()).map(|(kind, object_id)| Principal {
            kind,
            object_id,
            tenant_id: tenant,
            upn: claims.upn().map(Shown::from),
            app_id: claims.appid(),
            display_name: claims.name().map(Shown::from),
        });
        let token = Token {
            token_id: claims.uti().map(Shown::from),
            issued_at: claims.iat().unwrap_or_default(),
            expires_at: claims.exp().unwrap_or_default(),
            amr: claims
                .amr()
                .iter()
                .map(|method| Shown::from(method.as_str()))
                .collect(),
            key_id: Shown::from(key_id),
        };
        Identity { principal, token }
    }
}

thread_local! {
    // Empty in the postmaster, and a backend is a process of one thread.
    static ADMIN_ROLE: Cell<Option<pg_sys::Oid>> = const { Cell::new(None) };
}

/// Notes the role of a sign-in with a token, if it was labelled `admin` when it was judged.
pub fn set_admin_role(role: Option<pg_sys::Oid>) {
    ADMIN_ROLE.set(role);
}

/// What [`set_admin_role`] was told. Whether the role is still labelled so is for the caller to look at.
pub fn admin_role() -> Option<pg_sys::Oid> {
    ADMIN_ROLE.get()
}
