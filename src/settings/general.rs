//! The settings of sign-ins, signing keys and the database.

use std::path::PathBuf;
use std::time::Duration;

use entra_token::{Audience, Authority, Cloud, Policy, Reason, guid};
use pgrx::guc::{GucFlags, GucSetting, PostgresGucEnum};
use uuid::Uuid;

use crate::pg::guc::{Rule, Text, define_settings};

/// Which credentials are allowed (`aadauth.authentication`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum Authentication {
    /// Passwords only: mapped roles are refused.
    #[name = c"postgresql"]
    Postgresql,
    /// Tokens only: password methods are refused, local break-glass records stay.
    #[name = c"entra"]
    Entra,
    /// Tokens for mapped roles, passwords for local ones.
    #[name = c"both"]
    Both,
}

#[derive(Clone, Copy, PostgresGucEnum)]
enum CloudName {
    #[name = c"public"]
    Public,
    #[name = c"usgov"]
    UsGov,
    #[name = c"china"]
    China,
}

// Neither tenant nor audience has a default: only a configured value may let clients in.
define_settings! {
    AUTHENTICATION: Authentication = Authentication::Both, choice(
        c"aadauth.authentication",
        c"Which kinds of sign-in are allowed.",
        c"postgresql: passwords only. entra: tokens only. both: tokens for mapped roles, passwords for others.",
    );
    CLOUD: CloudName = CloudName::Public, choice(
        c"aadauth.cloud",
        c"The Microsoft cloud that the tenant is in.",
        c"public, usgov or china.",
    );
    TENANT_ID: Text = None, text::<Guid>(
        c"aadauth.tenant_id",
        c"The Entra tenant (directory) whose principals may sign in, a GUID.",
    );
    AUDIENCE: Text = None, text::<Audiences>(
        c"aadauth.audience",
        c"Comma-separated audiences (URIs or GUIDs) that a token may be for; \"ossrdbms\" means Azure's own.",
    );
    AUTHORITY_HOST: Text = None, text::<Origin>(
        c"aadauth.authority_host",
        c"An authority to use instead of the cloud's, such as https://localhost:8443.",
    );
    CA_FILE: Text = None, text::<AbsolutePath>(
        c"aadauth.ca_file",
        c"Certificates (PEM) to trust for HTTPS instead of the system's.",
    );
    JWKS_FILE: Text = None, text::<AbsolutePath>(
        c"aadauth.jwks_file",
        c"A file of signing keys (JWK set) to use instead of the network.",
    );
    DATABASE: Text = Some(c"postgres"), text::<DatabaseName>(
        c"aadauth.database",
        c"The database that holds the sign-in audit and the revocations; a superuser must own it.",
    );
    HBA_FILE: Text = None, text_at_start::<AnyPath>(
        c"aadauth.hba_file",
        c"An alternate HBA file to use instead of pg_hba.conf; its trust records ask every client for a token or password.",
    );
    REQUIRE_TLS: bool = true, switch(
        c"aadauth.require_tls",
        c"Refuse TCP connections without TLS before a token is requested.",
    );
    CLOCK_SKEW: i32 = Policy::DEFAULT_CLOCK_SKEW as i32, seconds(
        c"aadauth.clock_skew",
        c"How far the clocks of the authority and of this server may differ.",
        0..=Policy::MAX_CLOCK_SKEW as i32,
    );
    MAX_TOKEN_LIFETIME: i32 = Policy::DEFAULT_MAX_TOKEN_LIFETIME as i32, seconds(
        c"aadauth.max_token_lifetime",
        c"The longest time from a token's start to its end.",
        300..=30 * 24 * 3600,
    );
    SIGNING_KEY_MAX_AGE: i32 = 7 * 24 * 3600, seconds(
        c"aadauth.signing_key_max_age",
        c"How long signing keys are used while the authority cannot be reached.",
        3600..=90 * 24 * 3600,
    );
    SIGNING_KEY_REFRESH_INTERVAL: i32 = 3600, seconds(
        c"aadauth.signing_key_refresh_interval",
        c"How often signing keys are fetched.",
        60..=24 * 3600,
    );
    SIGNING_KEY_REFRESH_COOLDOWN: i32 = 30, seconds(
        c"aadauth.signing_key_refresh_cooldown",
        c"The shortest time between fetches that tokens with an unknown key cause.",
        1..=3600,
    );
    MAX_TOKEN_SIZE: i32 = Policy::DEFAULT_MAX_TOKEN_SIZE as i32, number(
        c"aadauth.max_token_size",
        c"The largest token that is accepted.",
        c"",
        1024..=Policy::LARGEST_TOKEN_SIZE as i32,
        GucFlags::UNIT_BYTE,
    );
}

pub fn authentication() -> Authentication {
    AUTHENTICATION.get()
}

/// The tenant; if it is unset, every Entra sign-in is refused.
pub fn tenant() -> Option<Uuid> {
    value(&TENANT_ID).and_then(|text| guid::parse(&text))
}

/// The audiences a token may be for; empty when unset.
pub fn audiences() -> Vec<Audience> {
    value(&AUDIENCE)
        .and_then(|list| Audience::parse_list(&list, cloud()).ok())
        .unwrap_or_default()
}

/// The audiences as they are written.
pub fn audience_setting() -> String {
    value(&AUDIENCE).unwrap_or_default()
}

pub fn authority() -> Authority {
    Authority {
        cloud: cloud(),
        host: value(&AUTHORITY_HOST),
    }
}

/// The policy that tokens are judged by.
///
/// # Errors
/// `tenant-not-configured` or `audience-not-configured`.
pub fn policy() -> Result<Policy, Reason> {
    let tenant = tenant().ok_or(Reason::TenantNotConfigured)?;
    let audiences = audiences();
    if audiences.is_empty() {
        return Err(Reason::AudienceNotConfigured);
    }
    Ok(Policy {
        tenant,
        authority: authority(),
        audiences,
        clock_skew: clock_skew(),
        max_token_size: max_token_size(),
        max_token_lifetime: MAX_TOKEN_LIFETIME.get().into(),
    })
}

/// In seconds.
pub fn clock_skew() -> i64 {
    CLOCK_SKEW.get().into()
}

/// In bytes.
fn max_token_size() -> usize {
    usize::try_from(MAX_TOKEN_SIZE.get()).unwrap_or_default()
}

pub fn require_tls() -> bool {
    REQUIRE_TLS.get()
}

pub fn ca_file() -> Option<PathBuf> {
    value(&CA_FILE).map(PathBuf::from)
}

pub fn jwks_file() -> Option<PathBuf> {
    value(&JWKS_FILE).map(PathBuf::from)
}

pub fn signing_key_max_age() -> Duration {
    duration(&SIGNING_KEY_MAX_AGE)
}

pub fn signing_key_refresh_interval() -> Duration {
    duration(&SIGNING_KEY_REFRESH_INTERVAL)
}

pub fn signing_key_refresh_cooldown() -> Duration {
    duration(&SIGNING_KEY_REFRESH_COOLDOWN)
}

/// The database that holds the audit and the revocations.
pub fn database() -> String {
    value(&DATABASE).unwrap_or_else(|| "postgres".to_owned())
}

/// The alternate HBA file, absolute or relative to the data directory.
pub fn hba_file() -> Option<PathBuf> {
    value(&HBA_FILE).map(PathBuf::from)
}

fn cloud() -> Cloud {
    match CLOUD.get() {
        CloudName::Public => Cloud::Public,
        CloudName::UsGov => Cloud::UsGov,
        CloudName::China => Cloud::China,
    }
}

pub fn value(setting: &GucSetting<Text>) -> Option<String> {
    setting
        .get()
        .and_then(|text| text.into_string().ok())
        .filter(|text| !text.is_empty())
}

pub fn duration(setting: &GucSetting<i32>) -> Duration {
    Duration::from_secs(u64::try_from(setting.get()).unwrap_or_default())
}

struct Guid;

impl Rule for Guid {
    fn check(value: &str) -> Result<(), String> {
        let refused = "The value must be a tenant id, a GUID such as 72f988bf-86f1-41af-91ab-2d7cd011db47. Domain names, and \
                       words such as \"common\", are not accepted.";
        guid::parse(value)
            .map(drop)
            .ok_or_else(|| refused.to_owned())
    }
}

struct Audiences;

impl Rule for Audiences {
    fn check(value: &str) -> Result<(), String> {
        Audience::parse_list(value, Cloud::Public)
            .map(drop)
            .map_err(|error| error.to_string())
    }
}

struct Origin;

impl Rule for Origin {
    fn check(value: &str) -> Result<(), String> {
        Authority::check_host(value).map_err(|error| error.to_string())
    }
}

pub struct AbsolutePath;

impl Rule for AbsolutePath {
    fn check(value: &str) -> Result<(), String> {
        if value.starts_with('/') {
            Ok(())
        } else {
            Err("The path must be absolute.".to_owned())
        }
    }
}

struct AnyPath;

impl Rule for AnyPath {
    fn check(_: &str) -> Result<(), String> {
        Ok(())
    }
}

struct DatabaseName;

impl Rule for DatabaseName {
    fn check(value: &str) -> Result<(), String> {
        if value.len() < 64 {
            Ok(())
        } else {
            Err("A database name has at most 63 bytes.".to_owned())
        }
    }
}
