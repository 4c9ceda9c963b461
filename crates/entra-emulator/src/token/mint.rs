//! Issues access tokens.

use aws_lc_rs::rand;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::claims;
use super::draft::{Draft, NONCE};
use super::error::MintError;
use super::request::{AZURE_CLI, TokenRequest};
use crate::authority::TokenVersion;
use crate::directory::{Directory, Identity, Principal};
use crate::signing_keys::SigningKeys;

/// Entra dates tokens five minutes back, for verifiers whose clocks are slow.
const BACKDATED: i64 = 300;
/// A token, and what its issuer tells beside it. Not `Debug`: the text is a credential.
#[derive(Clone)]
pub struct Token {
    pub text: String,
    pub tenant: Uuid,
    /// Unix times, as a good token has them.
    pub not_before: i64,
    pub expires_on: i64,
    pub key_id: String,
}

/// Issues a token.
///
/// # Errors
///
/// When the directory knows no such principal or resource, when the keys can't be used, and when
/// the wanted size is less than what the token has anyway.
pub fn mint(
    directory: &Directory,
    keys: &SigningKeys,
    request: &TokenRequest,
) -> Result<Token, MintError> {
    let principal = directory.find(&request.subject)?;
    // The emulator's own address means Graph, which it serves there.
    let graph = (request.audience.trim_end_matches('/') == request.authority.address())
        .then(|| {
            directory
                .resources
                .iter()
                .find(|resource| resource.is_graph())
        })
        .flatten();
    let resource = graph
        .or_else(|| directory.resource(&request.audience))
        .ok_or_else(|| MintError::Resource {
            name: request.audience.clone(),
            known: directory
                .resources
                .iter()
                .flat_map(|resource| resource.audiences.iter().map(String::as_str))
                .collect::<Vec<_>>()
                .join(", "),
        })?;
    let version = request.version.unwrap_or(resource.version);
    let lifetime = match (request.expires_in, resource.token_lifetime) {
        (Some(seconds), _) => seconds,
        (None, Some(seconds)) => seconds.get().into(),
        (None, None) => lifetime(&principal)?,
    };
    let (not_before, expires_on) = validity(request.now, lifetime);
    let current = keys.current()?;

    let claims = claims::good(&claims::Ingredients {
        principal,
        resource,
        audience: &request.audience,
        version,
        client: request.client.unwrap_or(AZURE_CLI),
        proof: request.proof,
        authority: &request.authority,
        not_before,
        expires_on,
        unique_id: unique_id()?,
    });
    let mut draft = Draft::new(keys, header(version, current.key_id()), claims);
    if resource.is_graph() {
        draft.set_header(NONCE, unique_id()?);
    }
    for deviation in &request.deviations {
        deviation.apply(&mut draft);
    }
    for (name, value) in &request.claims {
        draft.claims.insert(name.clone(), value.clone());
    }
    for name in &request.without {
        draft.claims.remove(name);
    }
    for (name, value) in &request.header {
        draft.header.insert(name.clone(), value.clone());
    }
    if let Some(size) = request.size {
        draft.fill(size)?;
    }
    Ok(Token {
        text: draft.finish()?,
        tenant: principal.tenant.id,
        not_before,
        expires_on,
        key_id: current.key_id().to_owned(),
    })
}

/// `x5t` repeats the key's id in v1 tokens only.
pub(super) fn header(version: TokenVersion, key_id: &str) -> Map<String, Value> {
    let mut header = Map::new();
    header.insert("typ".to_owned(), "JWT".into());
    header.insert("alg".to_owned(), "RS256".into());
    header.insert("kid".to_owned(), key_id.into());
    if version == TokenVersion::V1 {
        header.insert("x5t".to_owned(), key_id.into());
    }
    header
}

/// Users get 60 to 90 minutes at random, applications an hour, managed identities a day.
fn lifetime(principal: &Principal<'_>) -> Result<i64, MintError> {
    Ok(match principal.identity {
        Identity::User(_) => {
            let mut bytes = [0; 2];
            rand::fill(&mut bytes).map_err(|_| MintError::Random)?;
            3600 + i64::from(u16::from_be_bytes(bytes) % 1800)
        }
        Identity::Application(_) => 3599,
        Identity::ManagedIdentity(_) => 86_400,
    })
}

/// `nbf` (and `iat`) and `exp`. A token that has expired was good once: it is as old as it must be.
pub(super) fn validity(now: i64, lifetime: i64) -> (i64, i64) {
    let issued = if lifetime > 0 {
        now
    } else {
        now + lifetime - 3599
    };
    (issued - BACKDATED, now + lifetime)
}

/// The token's own id, 16 random bytes, as `uti` carries it.
pub(super) fn unique_id() -> Result<String, MintError> {
    use base64::Engine as _;
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| MintError::Random)?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

/// A random value that proves nothing but that its holder was given it.
pub(crate) fn opaque_value() -> Result<String, MintError> {
    use base64::Engine as _;
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| MintError::Random)?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}
