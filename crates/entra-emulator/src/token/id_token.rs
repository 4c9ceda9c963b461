//! ID tokens: what a client learns about the user whom it signed in. They are for the client
//! itself, in the v2 form that Microsoft's libraries ask for.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::claims::{home_provider, opaque};
use super::error::MintError;
use super::mint::{header, unique_id, validity};
use crate::authority::{Authority, TokenVersion};
use crate::directory::{Tenant, User};
use crate::jws;
use crate::signing_keys::SigningKeys;

const LIFETIME: i64 = 3600;

/// Issues an ID token about `user` for the application `client`, which finds its `nonce` in it; `now` is Unix time.
///
/// # Errors
///
/// When the keys can't be used.
pub fn id_token(
    keys: &SigningKeys,
    authority: &Authority,
    (tenant, user): (&Tenant, &User),
    client: Uuid,
    nonce: Option<&str>,
    now: i64,
) -> Result<String, MintError> {
    let (not_before, expires_on) = validity(now, LIFETIME);
    let object_id = user.object_id.to_string();
    let mut claims = Map::new();
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("aud", json!(client));
    set(
        "iss",
        json!(authority.tenant_issuer(TokenVersion::V2, tenant.id)),
    );
    set("iat", json!(not_before));
    set("nbf", json!(not_before));
    set("exp", json!(expires_on));
    set("name", json!(user.name));
    set("oid", json!(object_id));
    set(
        "preferred_username",
        json!(user.guest.as_ref().map_or(&user.upn, |guest| &guest.mail)),
    );
    set(
        "sub",
        json!(opaque(&["sub", &object_id, &client.to_string()])),
    );
    set("tid", json!(tenant.id));
    set("uti", json!(unique_id()?));
    set("ver", json!("2.0"));
    if let Some(nonce) = nonce {
        set("nonce", json!(nonce));
    }
    if let Some(guest) = &user.guest {
        set("idp", json!(home_provider(guest.home)));
    }
    let key = keys.current()?;
    let header = Value::Object(header(TokenVersion::V2, key.key_id()));
    Ok(jws::signed(key, &header, &Value::Object(claims))?)
}
