//! Device codes: a client shows a short code, the user enters it elsewhere, and the client asks
//! until that is done. In the emulator, the control interface answers for the user, or
//! `serve --approve-device-codes` names a user who always agrees.

use aws_lc_rs::rand;
use axum::Json;
use axum::extract::{Form, Path, State};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::emulator::{Emulator, Shared, locked};
use super::super::error::Refusal;
use super::device_codes::{INTERVAL, LIFETIME, Pending, Progress, approved};
use super::exchange::{ANYBODY, Exchange, Issued};
use super::scope::{UserScope, user_scope};
use crate::authority::TokenVersion;
use crate::clock::now;
use crate::directory::{Application, Directory};
use crate::token::{AZURE_CLI, opaque_value};

/// What user codes are made of: no vowels, and nothing that looks like something else.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const CODE_LENGTH: usize = 9;

impl Exchange<'_> {
    pub(super) fn device_code(&self) -> Result<Issued, Refusal> {
        let code = self
            .grant
            .device_code
            .as_deref()
            .or(self.grant.code.as_deref());
        let code = code.ok_or(Refusal::ParameterMissing("device_code"))?;
        let client = client(self.directory, self.place, self.grant.client_id.as_deref())?;
        let (signed_in, scope) = locked(&self.emulator.device_codes).redeem(code, client)?;
        self.issue_to(signed_in, &scope, None)
    }
}

#[derive(Deserialize)]
pub(in crate::server) struct Asked {
    client_id: Option<String>,
    scope: Option<String>,
    resource: Option<String>,
}

pub(in crate::server) async fn device_code_v1(
    State(emulator): State<Shared>,
    Path(tenant): Path<String>,
    Form(asked): Form<Asked>,
) -> Result<Json<Value>, Refusal> {
    hand_out(&emulator, TokenVersion::V1, &tenant, asked).map(Json)
}

pub(in crate::server) async fn device_code_v2(
    State(emulator): State<Shared>,
    Path(tenant): Path<String>,
    Form(asked): Form<Asked>,
) -> Result<Json<Value>, Refusal> {
    hand_out(&emulator, TokenVersion::V2, &tenant, asked).map(Json)
}

fn hand_out(
    emulator: &Emulator,
    version: TokenVersion,
    place: &str,
    asked: Asked,
) -> Result<Value, Refusal> {
    let internal = |error: String| Refusal::Internal(error);
    let directory = emulator.directory();
    let client = client(&directory, place, asked.client_id.as_deref())?;
    let scope = match version {
        TokenVersion::V1 => UserScope {
            resource: asked
                .resource
                .ok_or(Refusal::ParameterMissing("resource"))?,
            id_token: false,
            refresh_token: true,
        },
        TokenVersion::V2 => user_scope(&asked.scope.ok_or(Refusal::ParameterMissing("scope"))?)?,
    };
    let progress = match &emulator.device_user {
        None => Progress::Waiting,
        Some(user) => {
            let found = directory
                .find(user)
                .map_err(|error| internal(error.to_string()))?;
            approved(&found)
        }
    };
    let device_code = opaque_value().map_err(|error| internal(error.to_string()))?;
    let user_code = user_code().ok_or_else(|| internal("no random numbers".to_owned()))?;
    let pending = Pending {
        user_code: user_code.clone(),
        client,
        tenant: directory.tenant(place).map(|tenant| tenant.id),
        scope,
        expires_on: now() + LIFETIME,
        asked_last: None,
        progress,
    };
    locked(&emulator.device_codes).insert(device_code.clone(), pending);

    let page = format!("{}/common/oauth2/deviceauth", emulator.authority.address());
    let message = format!(
        "To sign in, use a web browser to open the page {page} and enter the code {user_code} to \
         authenticate."
    );
    Ok(match version {
        TokenVersion::V1 => json!({
            "user_code": user_code,
            "device_code": device_code,
            "verification_url": page,
            "expires_in": LIFETIME.to_string(),
            "interval": INTERVAL.to_string(),
            "message": message,
        }),
        TokenVersion::V2 => json!({
            "user_code": user_code,
            "device_code": device_code,
            "verification_uri": page,
            "expires_in": LIFETIME,
            "interval": INTERVAL,
            "message": message,
        }),
    })
}

/// What the page says that clients send users to.
pub(in crate::server) async fn device_page() -> &'static str {
    "The emulator asks for no password. Answer for a user with\n\
     entra-emulator control --state DIR device CODE --user USER\n"
}

/// A client that can keep no secret: the Azure CLI, or an application that says so.
fn client(directory: &Directory, place: &str, id: Option<&str>) -> Result<Uuid, Refusal> {
    match registered(directory, place, id)? {
        None => Ok(AZURE_CLI),
        Some(application) if application.public_client => Ok(application.client_id),
        Some(_) => Err(Refusal::CredentialMissing),
    }
}

/// The application that a user signs in to; `None` is the Azure CLI, which every tenant knows.
pub(in crate::server) fn registered<'a>(
    directory: &'a Directory,
    place: &str,
    id: Option<&str>,
) -> Result<Option<&'a Application>, Refusal> {
    let text = id.ok_or(Refusal::ParameterMissing("client_id"))?;
    let tenants: Vec<_> = if ANYBODY.contains(&place) {
        directory.tenants.iter().collect()
    } else {
        let found = directory.tenant(place);
        vec![found.ok_or_else(|| Refusal::TenantNotFound(place.to_owned()))?]
    };
    let id = Uuid::try_parse(text).ok();
    if id == Some(AZURE_CLI) {
        return Ok(None);
    }
    let mut applications = tenants.iter().flat_map(|tenant| &tenant.applications);
    let found = applications.find(|application| Some(application.client_id) == id);
    found.map(Some).ok_or_else(|| Refusal::ApplicationNotFound {
        client_id: text.to_owned(),
        tenant: place.to_owned(),
    })
}

fn user_code() -> Option<String> {
    let mut bytes = [0; 64];
    rand::fill(&mut bytes).ok()?;
    // Only multiples of the alphabet's size, so that no letter is likelier than another.
    let code: String = bytes
        .iter()
        .filter(|byte| usize::from(**byte) < 12 * LETTERS.len())
        .filter_map(|byte| LETTERS.get(usize::from(*byte) % LETTERS.len()))
        .map(|letter| char::from(*letter))
        .take(CODE_LENGTH)
        .collect();
    (code.len() == CODE_LENGTH).then_some(code)
}
