//! Who asks: what the bearer token says, once it has proved to be one of ours for Graph.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::super::emulator::Emulator;
use super::error::GraphError;
use crate::authority::TokenVersion;
use crate::clock::now;
use crate::directory::{Directory, Tenant};
use crate::jws::Parsed;
use crate::token::signed_header;

/// Lets a signed-in user read what members of a tenant may read.
const AS_USER: &str = "Directory.AccessAsUser.All";

pub(super) struct Caller<'a> {
    pub tenant: &'a Tenant,
    permissions: Vec<String>,
}

impl<'a> Caller<'a> {
    /// # Errors
    /// 401, where the token is missing, damaged, expired, or of another issuer or audience.
    pub(super) fn of(
        emulator: &Emulator,
        directory: &'a Directory,
        headers: &HeaderMap,
    ) -> Result<Caller<'a>, GraphError> {
        let refused = GraphError::unauthenticated;
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .filter(|token| !token.is_empty())
            .ok_or_else(|| refused("Access token is empty."))?;
        let claims = verified(emulator, token)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
        if claims
            .get("exp")
            .and_then(Value::as_i64)
            .is_none_or(|end| end <= now())
        {
            return Err(refused("Lifetime validation failed, the token is expired."));
        }
        if claims
            .get("nbf")
            .and_then(Value::as_i64)
            .is_none_or(|begin| begin > now())
        {
            return Err(refused(
                "Lifetime validation failed, the token is not yet valid.",
            ));
        }
        let audience = text("aud");
        let is_graph = directory
            .resource(audience)
            .is_some_and(|one| one.is_graph())
            || audience.trim_end_matches('/') == emulator.authority.address();
        if !is_graph {
            return Err(refused(
                "Access token validation failure. Invalid audience.",
            ));
        }
        let tenant = directory
            .tenant(text("tid"))
            .filter(|tenant| {
                text("iss")
                    == emulator
                        .authority
                        .tenant_issuer(TokenVersion::V1, tenant.id)
            })
            .ok_or_else(|| refused("Access token validation failure. Invalid issuer."))?;
        let roles = claims.get("roles").and_then(Value::as_array);
        let roles = roles.into_iter().flatten().filter_map(Value::as_str);
        let scopes = text("scp").split(' ').filter(|scope| !scope.is_empty());
        Ok(Caller {
            tenant,
            permissions: roles.chain(scopes).map(str::to_owned).collect(),
        })
    }

    /// Whether one of `permissions` was granted, or the caller acts as a user.
    pub(super) fn may(&self, permissions: &[&str]) -> bool {
        self.permissions
            .iter()
            .any(|own| own == AS_USER || permissions.contains(&own.as_str()))
    }

    /// # Errors
    /// 403, where none of `permissions` was granted.
    pub(super) fn must(&self, permissions: &[&str]) -> Result<(), GraphError> {
        if self.may(permissions) {
            Ok(())
        } else {
            Err(GraphError::denied())
        }
    }
}

/// The claims of a token that one of the published keys signed. Graph's own tokens are signed over
/// another header than they show.
fn verified(emulator: &Emulator, token: &str) -> Result<Map<String, Value>, GraphError> {
    let token = Parsed::read(token)
        .ok_or_else(|| GraphError::unauthenticated("Access token is not well formed."))?;
    let header = signed_header(&token.header);
    let claims = token
        .message
        .split_once('.')
        .map_or("", |(_, claims)| claims);
    let signed = URL_SAFE_NO_PAD.encode(Value::Object(header).to_string());
    let message = format!("{signed}.{claims}");
    let keys = emulator.keys();
    let header = |name: &str| token.header.get(name).and_then(Value::as_str);
    let genuine = header("alg") == Some("RS256")
        && keys
            .published()
            .iter()
            .filter(|key| header("kid") == Some(key.key_id()))
            .any(|key| key.has_signed(message.as_bytes(), &token.signature));
    if !genuine {
        return Err(GraphError::unauthenticated(
            "Access token validation failure. Invalid signature.",
        ));
    }
    Ok(token.claims)
}
