//! The authorization endpoint: a client sends a browser here, a user signs in, and the browser takes a code back to
//! the client, which redeems it at the token endpoint.
//!
//! The emulator asks nobody for a password. `login_hint` names the user; without it, the one of
//! `serve --approve-device-codes` signs in, and otherwise a page lets somebody choose.
//!
//! Microsoft: "Microsoft identity platform and OAuth 2.0 authorization code flow".

mod back;
mod challenge;
mod codes;
mod objection;
mod page;

use axum::extract::{Path, Query, State};
use axum::http::Uri;
use axum::response::Response;
use reqwest::Url;
use serde::Deserialize;

use super::emulator::{Emulator, Shared, locked};
use super::error::Refusal;
use super::token_endpoint::registered;
use super::unproven::Unproven;
use crate::clock::now;
use crate::directory::{
    Application, Directory, Identity, LookupError, Principal, RedirectUri, Subject, Tenant, User,
};
use crate::token::{AZURE_CLI, opaque_value};

use back::{Back, Mode};
use challenge::Challenge;

pub(super) use codes::{Authorization, AuthorizationCodes, Presented};
pub(super) use objection::Objection;

/// Where the Azure CLI listens, at a port of its choice.
const AZURE_CLI_REDIRECT_URI: &str = "http://localhost";
/// As many users are on the page.
const CHOICES: usize = 100;

/// What clients send browsers with.
#[derive(Deserialize)]
pub(super) struct Asked {
    client_id: Option<String>,
    response_type: Option<String>,
    redirect_uri: Option<String>,
    response_mode: Option<String>,
    scope: Option<String>,
    state: Option<String>,
    nonce: Option<String>,
    prompt: Option<String>,
    login_hint: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
}

/// Until the redirect URI is known to be the client's, and for what only the user can change, the browser is told
/// what is wrong; of everything else, the client is.
pub(super) async fn authorize(
    State(emulator): State<Shared>,
    Path(place): Path<String>,
    uri: Uri,
    Query(asked): Query<Asked>,
) -> Result<Response, Refusal> {
    let directory = emulator.directory();
    let application = registered(&directory, &place, asked.client_id.as_deref())?;
    let back = way_back(application, &asked)?;
    let (scope, challenge) = match checked(&asked) {
        Ok(checked) => checked,
        Err(refusal) => return Ok(back.refuse(&refusal)),
    };
    let tenant = directory.tenant(&place);
    let Some(user) = who(&emulator, &directory, tenant, &asked)? else {
        if asked.prompt.as_deref() == Some("none") {
            return Ok(back.refuse(&Objection::LoginRequired.into()));
        }
        return choice(&emulator, &directory, tenant, &uri);
    };
    let code = opaque_value().map_err(|error| Refusal::Internal(error.to_string()))?;
    let answer = back.accept(&code);
    let authorization = Authorization {
        client: application.map_or(AZURE_CLI, |application| application.client_id),
        asked: tenant.map(|tenant| tenant.id),
        tenant: user.tenant.id,
        user: user.identity.object_id(),
        redirect_uri: back.asked,
        challenge,
        scope,
        nonce: asked.nonce,
    };
    locked(&emulator.authorization_codes).insert(code, authorization, now());
    Ok(answer)
}

fn way_back(application: Option<&Application>, asked: &Asked) -> Result<Back, Refusal> {
    let text = asked.redirect_uri.as_deref();
    let text = text.ok_or(Refusal::ParameterMissing("redirect_uri"))?;
    let uri = Url::parse(text).ok().filter(|uri| match application {
        None => RedirectUri::parse(AZURE_CLI_REDIRECT_URI).is_ok_and(|own| own.is(uri)),
        Some(application) => application.redirect_uris.iter().any(|own| own.is(uri)),
    });
    let unregistered = || Objection::RedirectUri {
        asked: text.to_owned(),
        client: asked.client_id.clone().unwrap_or_default(),
    };
    Ok(Back {
        uri: uri.ok_or_else(unregistered)?,
        mode: Mode::read(asked.response_mode.as_deref())?,
        state: asked.state.clone(),
        asked: text.to_owned(),
    })
}

fn checked(asked: &Asked) -> Result<(String, Option<Challenge>), Refusal> {
    match asked.response_type.as_deref() {
        None => return Err(Refusal::ParameterMissing("response_type")),
        Some("code") => {}
        Some(other) => return Err(Objection::ResponseType(other.to_owned()).into()),
    }
    let scope = asked.scope.clone();
    let challenge = Challenge::read(
        asked.code_challenge.as_deref(),
        asked.code_challenge_method.as_deref(),
    )?;
    Ok((scope.ok_or(Refusal::ParameterMissing("scope"))?, challenge))
}

/// The user who signs in, if it is known without a question.
fn who<'a>(
    emulator: &Emulator,
    directory: &'a Directory,
    tenant: Option<&Tenant>,
    asked: &Asked,
) -> Result<Option<Principal<'a>>, Refusal> {
    let hint = asked.login_hint.clone().map(Subject::User);
    let Some(Subject::User(name)) = hint.or_else(|| emulator.device_user.clone()) else {
        return Ok(None);
    };
    let found = match directory.find(&Subject::User(name.clone())) {
        Ok(found) => Some(found),
        Err(LookupError::NotFound { .. }) => None,
        Err(error) => return Err(Refusal::Internal(error.to_string())),
    };
    let of_tenant = found.filter(|user| tenant.is_none_or(|tenant| tenant.id == user.tenant.id));
    let user = of_tenant.ok_or_else(|| Unproven::UserNotFound {
        name,
        tenant: tenant
            .map_or("emulator's", |tenant| &tenant.name)
            .to_owned(),
    })?;
    match user.identity {
        Identity::User(User { enabled: false, .. }) => Err(Unproven::UserDisabled.into()),
        _ => Ok(Some(user)),
    }
}

fn choice(
    emulator: &Emulator,
    directory: &Directory,
    tenant: Option<&Tenant>,
    uri: &Uri,
) -> Result<Response, Refusal> {
    let address = format!("{}{uri}", emulator.authority.address());
    let address = Url::parse(&address).map_err(|error| Refusal::Internal(error.to_string()))?;
    let tenants = directory.tenants.iter();
    let users = tenants
        .filter(|own| tenant.is_none_or(|tenant| tenant.id == own.id))
        .flat_map(|own| &own.users)
        .map(|user| user.upn.as_str());
    Ok(page::choice(&address, users.take(CHOICES)))
}
