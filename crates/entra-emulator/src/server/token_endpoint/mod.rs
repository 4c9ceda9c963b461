//! The token endpoints, v1 (`resource`) and v2 (`scope`), and the grants that Microsoft's client
//! libraries use there.
//!
//! Microsoft: "OAuth 2.0 client credentials flow", "OAuth 2.0 Resource Owner Password Credentials",
//! "OAuth 2.0 device authorization grant flow", "OAuth 2.0 authorization code flow" and "Refresh tokens", all on the
//! Microsoft identity platform.

mod application;
mod assertion;
mod authorization_code;
mod device_code;
mod device_codes;
mod exchange;
mod refresh_tokens;
mod scope;
mod user;

use axum::Json;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::emulator::{Emulator, Shared};
use super::error::Refusal;
use crate::authority::TokenVersion;

use exchange::{Exchange, Grant};

pub(super) use device_code::{device_code_v1, device_code_v2, device_page, registered};
pub(super) use device_codes::DeviceCodes;
pub use device_codes::{DeviceAnswer, DeviceOrder};
pub(super) use refresh_tokens::RefreshTokens;

const DEVICE_CODE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
pub(super) async fn v1(
    State(emulator): State<Shared>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    Form(grant): Form<Grant>,
) -> Result<Response, Refusal> {
    exchange(&emulator, TokenVersion::V1, &tenant, &headers, &grant)
}

pub(super) async fn v2(
    State(emulator): State<Shared>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    Form(grant): Form<Grant>,
) -> Result<Response, Refusal> {
    exchange(&emulator, TokenVersion::V2, &tenant, &headers, &grant)
}

fn exchange(
    emulator: &Emulator,
    version: TokenVersion,
    place: &str,
    headers: &HeaderMap,
    grant: &Grant,
) -> Result<Response, Refusal> {
    let exchange = Exchange {
        emulator,
        directory: &emulator.directory(),
        version,
        place,
        headers,
        grant,
    };
    let issued = match grant.grant_type.as_deref() {
        None => return Err(Refusal::ParameterMissing("grant_type")),
        Some("client_credentials") => exchange.client_credentials()?,
        Some("password") => exchange.password()?,
        Some("authorization_code") => exchange.authorization_code()?,
        Some("device_code" | DEVICE_CODE_GRANT) => exchange.device_code()?,
        Some("refresh_token") => exchange.refresh()?,
        Some(other) => return Err(Refusal::UnsupportedGrant(other.to_owned())),
    };
    let headers = [
        (header::CACHE_CONTROL, "no-store, no-cache"),
        (header::PRAGMA, "no-cache"),
    ];
    Ok((headers, Json(issued.answer(version))).into_response())
}
