//! A signed-in user's requests to a running emulator. As the Azure CLI does, it gets a token by an authorization code.

use std::path::Path;
use std::time::Duration;

use reqwest::blocking::{Client, Response};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Certificate, Url, redirect};
use serde_json::{Map, Value};

use super::super::error::CommandError;
use crate::jws::Parsed;
use crate::server::{Running, ServeError};
use crate::state::{CA_CERTIFICATE, StateDirectory};
use crate::token::AZURE_CLI;

const TIMEOUT: Duration = Duration::from_secs(30);
/// The Azure CLI's own, at a port of its choice. No browser goes there.
const REDIRECT_URI: &str = "http://localhost";
/// A user of whichever tenant.
const ANY_TENANT: &str = "organizations";

pub(super) struct Session<'a> {
    pub(super) running: Running,
    pub(super) user: &'a str,
    client: Client,
}

pub(super) struct UserToken {
    pub(super) text: String,
    pub(super) claims: Map<String, Value>,
}

impl UserToken {
    /// A claim's text; empty where it is none.
    pub(super) fn text(&self, claim: &str) -> &str {
        let value = self.claims.get(claim).and_then(Value::as_str);
        value.unwrap_or_default()
    }
}

impl Session<'_> {
    pub(super) fn open<'a>(state: &Path, user: &'a str) -> Result<Session<'a>, CommandError> {
        let not_running = || ServeError::NotRunning(state.display().to_string());
        let state = StateDirectory::open(state)?;
        let running = Running::read(&state)?.ok_or_else(not_running)?;
        // Not from the place that emulator.json names, which may be another container's.
        let authority = state.read(CA_CERTIFICATE)?.ok_or_else(not_running)?;
        let client = Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .tls_certs_only([Certificate::from_pem(authority.as_bytes())?])
            .build()?;
        Ok(Session {
            running,
            user,
            client,
        })
    }

    pub(super) fn token(
        &self,
        scope: &str,
        tenant: Option<&str>,
    ) -> Result<UserToken, CommandError> {
        let tenant = tenant.unwrap_or(ANY_TENANT);
        let client_id = AZURE_CLI.to_string();
        let asked = [
            ("client_id", client_id.as_str()),
            ("redirect_uri", REDIRECT_URI),
            ("scope", scope),
        ];
        let code = self.code(tenant, &asked)?;
        let mut form = address(REDIRECT_URI, &[])?;
        form.query_pairs_mut()
            .extend_pairs(asked)
            .extend_pairs([("grant_type", "authorization_code"), ("code", &code)]);
        let request = self
            .client
            .post(self.address(&[tenant, "oauth2", "v2.0", "token"])?)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.query().unwrap_or_default().to_owned());
        let answer = answer(request.send()?)?;
        let text = answer.get("access_token").and_then(Value::as_str);
        let parsed = text.and_then(|text| Some((text.to_owned(), Parsed::read(text)?.claims)));
        let (text, claims) =
            parsed.ok_or_else(|| CommandError::Refused("it sent no token".to_owned()))?;
        Ok(UserToken { text, claims })
    }

    fn code(&self, tenant: &str, asked: &[(&str, &str)]) -> Result<String, CommandError> {
        let mut place = self.address(&[tenant, "oauth2", "v2.0", "authorize"])?;
        place
            .query_pairs_mut()
            .extend_pairs(asked)
            .extend_pairs([("response_type", "code"), ("login_hint", self.user)]);
        let response = self.client.get(place).send()?;
        let location = response.headers().get(LOCATION);
        let back = location.and_then(|to| Url::parse(to.to_str().ok()?).ok());
        let Some(back) = back else {
            return Err(refusal(response));
        };
        let parameter = |name: &str| {
            let mut pairs = back.query_pairs();
            pairs.find_map(|(own, value)| (own == name).then(|| value.into_owned()))
        };
        let problem = || parameter("error_description").unwrap_or_default();
        parameter("code").ok_or_else(|| CommandError::Refused(problem()))
    }

    pub(super) fn graph(
        &self,
        token: &UserToken,
        path: &[&str],
        option: Option<(&str, &str)>,
    ) -> Result<Value, CommandError> {
        let mut place = self.address(&[&["v1.0"], path].concat())?;
        if let Some(option) = option {
            place.query_pairs_mut().extend_pairs([option]);
        }
        answer(self.client.get(place).bearer_auth(&token.text).send()?)
    }

    fn address(&self, path: &[&str]) -> Result<Url, CommandError> {
        address(&self.running.authority, path)
    }
}

fn address(root: &str, path: &[&str]) -> Result<Url, CommandError> {
    let wrong = || CommandError::Usage(format!("{root} is no address"));
    let mut place = Url::parse(root).map_err(|_| wrong())?;
    place
        .path_segments_mut()
        .map_err(|()| wrong())?
        .pop_if_empty()
        .extend(path);
    Ok(place)
}

fn answer(response: Response) -> Result<Value, CommandError> {
    if !response.status().is_success() {
        return Err(refusal(response));
    }
    let text = response.text()?;
    serde_json::from_str(&text).map_err(|error| CommandError::Refused(error.to_string()))
}

/// What the authority or Graph says is wrong.
fn refusal(response: Response) -> CommandError {
    let status = response.status();
    let text = response.text().unwrap_or_default();
    let told: Option<Value> = serde_json::from_str(&text).ok();
    let problem = told.as_ref().and_then(|told| {
        let authority = told.get("error_description");
        authority
            .or_else(|| told.pointer("/error/message"))?
            .as_str()
    });
    CommandError::Refused(problem.map_or_else(|| format!("{status} {text}"), str::to_owned))
}
