//! `entra-emulator token`.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::arguments::{FederatedTokenArguments, Output, TokenArguments};
use super::error::CommandError;
use super::io::{directory, print};
use crate::clock::now;
use crate::directory::SUBSCRIPTION;
use crate::federation::{ForeignIssuers, ForeignToken};
use crate::server::last_authority;
use crate::signing_keys::SigningKeys;
use crate::state::StateDirectory;
use crate::token::{TokenRequest, mint};

pub(super) fn run(arguments: &TokenArguments) -> Result<(), CommandError> {
    let directory = directory(arguments.directory.as_deref())?;
    let keys = SigningKeys::open(&arguments.state)?;
    let authority = match &arguments.authority {
        Some(authority) => authority.clone(),
        None => last_authority(&StateDirectory::open(&arguments.state)?)?,
    };
    let first = directory
        .resources
        .first()
        .and_then(|resource| resource.audiences.first());
    let audience = arguments.audience.as_ref().or(first).ok_or_else(|| {
        CommandError::Usage("the directory has no resource; name an --audience".to_owned())
    })?;
    let subject = arguments.whose.subject().ok_or_else(|| {
        CommandError::Usage("name a user, service principal or managed identity".to_owned())
    })?;
    let request = TokenRequest {
        version: arguments.token_version,
        expires_in: arguments.expires_in,
        deviations: arguments.deviations.clone(),
        claims: arguments.claims.clone(),
        without: arguments.without.clone(),
        header: arguments.header.clone(),
        size: arguments.size,
        ..TokenRequest::new(subject, audience, authority, now())
    };
    let token = mint(&directory, &keys, &request)?;
    match arguments.output {
        Output::Plain => print(&token.text),
        Output::Json => print(&format!(
            "{:#}",
            described(&token.text, token.expires_on, &token.tenant.to_string())
        )),
    }
}

/// As `az account get-access-token` describes a token.
pub(super) fn described(text: &str, expires_on: i64, tenant: &str) -> Value {
    json!({
        "accessToken": text,
        "expiresOn": local_time(expires_on),
        "expires_on": expires_on,
        "subscription": SUBSCRIPTION,
        "tenant": tenant,
        "tokenType": "Bearer",
    })
}

/// `entra-emulator federated-token`.
pub(super) fn foreign(arguments: &FederatedTokenArguments) -> Result<(), CommandError> {
    let state = StateDirectory::open(&arguments.state)?;
    let expires_on = now() + arguments.expires_in;
    let token = ForeignIssuers::open(&state)?.sign(&ForeignToken {
        issuer: &arguments.issuer,
        subject: &arguments.subject,
        audience: &arguments.audience,
        // One that has expired was good once.
        issued_at: now().min(expires_on - 3600),
        expires_on,
    })?;
    print(&token)
}

/// The form of the Azure CLI, which means local time; the emulator's is UTC.
fn local_time(unix_time: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(unix_time).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.000000",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}
