//! Settings that are invalid, missing or insecure.

use std::error::Error;

use entra_token::{Audience, Cloud};
use serde::Deserialize;

use super::finding::{Code, Finding};
use super::query;
use crate::pg::guc;
use crate::settings::{self, Authentication};

pub fn check() -> Result<Vec<Finding>, Box<dyn Error>> {
    let mut findings = invalid()?;
    findings.extend(preload()?);
    if settings::authentication() != Authentication::Postgresql {
        findings.extend(tenant());
        findings.extend(audience());
        findings.extend(authority());
        findings.extend(require_tls());
    }
    Ok(findings)
}

/// A setting in a file that the server does not accept (`pg_file_settings`). Those that wait for a restart are in
/// `pg_settings`.
#[derive(Deserialize)]
struct Invalid {
    file: Option<String>,
    line: Option<i32>,
    name: String,
    setting: Option<String>,
    error: String,
    exists: bool,
}

fn invalid() -> Result<Vec<Finding>, Box<dyn Error>> {
    let invalid = query::rows::<Invalid>(
        "SELECT sourcefile AS file, sourceline AS line, name, setting, error,
             lower(name) IN (SELECT lower(name) FROM pg_settings) AS exists
         FROM pg_file_settings
         WHERE error IS NOT NULL AND (name ILIKE 'aadauth.%' OR name ILIKE 'pgaadauth.%' OR lower(name) = 'aad_validate_oids_in_tenant')
             AND lower(name) NOT IN (SELECT name FROM pg_settings WHERE pending_restart)
         ORDER BY seqno",
    )?;
    Ok(invalid
        .into_iter()
        .map(|invalid| {
            let Invalid { file, line, name, setting, error, exists } = invalid;
            let place = match (file, line) {
                (Some(file), Some(line)) => format!("{file} line {line}"),
                _ => name.clone(),
            };
            let value = setting.unwrap_or_default();
            let objection = guc::check_error(&name, &value);
            // The value may be a secret that belongs in a file.
            let shown = match name.ends_with("_file") || name.ends_with("_proxy") {
                true => String::new(),
                false => format!(" '{value}'"),
            };
            let problem = match &objection {
                _ if !exists => format!("There is no setting {name}."),
                Some(_) => format!("The value{shown} of {name} is invalid."),
                None => format!("The value{shown} of {name} is not accepted: {error}."),
            };
            let remedy = objection.unwrap_or_else(|| {
                "Correct or remove the line; docs/configuration.md lists the settings and their values.".to_owned()
            });
            Finding::new(Code::SettingRefused, place, problem, remedy)
        })
        .collect())
}

#[derive(Deserialize)]
struct Preloaded {
    libraries: String,
}

/// The postmaster looks up background workers' functions in the library "aadauth", and treats a library that was loaded
/// by a path as another one (bgworker.c, `LookupBackgroundWorkerFunction`).
fn preload() -> Result<Option<Finding>, Box<dyn Error>> {
    let settings = query::rows::<Preloaded>(
        "SELECT current_setting('shared_preload_libraries') AS libraries",
    )?;
    let by_path = settings
        .iter()
        .flat_map(|settings| settings.libraries.split(','))
        .find(|library| {
            let library = library.trim().trim_matches('"');
            let name = library.rsplit('/').next().unwrap_or(library);
            library.contains('/') && matches!(name, "aadauth" | "aadauth.so")
        });
    Ok(by_path.map(|library| {
        Finding::new(
            Code::PreloadByPath,
            "shared_preload_libraries",
            format!("The library is named by the path {}.", library.trim()),
            "Name it aadauth, without directory and file extension, and restart the server.",
        )
    }))
}

fn tenant() -> Option<Finding> {
    settings::tenant().is_none().then(|| {
        Finding::new(
            Code::TenantNotSet,
            "aadauth.tenant_id",
            "No tenant is configured, so every token is refused.",
            "Set aadauth.tenant_id to the tenant's id (az account show --query tenantId), and reload.",
        )
    })
}

fn audience() -> Option<Finding> {
    const PLACE: &str = "aadauth.audience";
    let audiences = settings::audiences();
    if audiences.is_empty() {
        return Some(Finding::new(
            Code::AudienceNotSet,
            PLACE,
            "No audience is configured, so every token is refused.",
            "Set aadauth.audience to the application ID URI of this server's app registration, and reload.",
        ));
    }
    let authority = settings::authority();
    // An emulator's tokens are not valid elsewhere.
    if authority.host.is_some() {
        return None;
    }
    // With or without a trailing slash.
    let azure = authority.cloud.ossrdbms();
    let is_shared = |audience: &&Audience| {
        let text = audience.to_string();
        azure.contains(audience) || azure.iter().any(|resource| resource.matches(&text))
    };
    let shared = audiences.iter().find(is_shared)?;
    Some(Finding::new(
        Code::AudienceShared,
        PLACE,
        format!(
            "{shared} is Azure's own database resource: the operator of this server could use tokens that are sent to it \
             at every Azure database of the tenant."
        ),
        "Register an application for this server, and set aadauth.audience to its application ID URI \
         (docs/configuration.md, \"Why the audience has no default\").",
    ))
}

fn authority() -> Option<Finding> {
    const PLACE: &str = "aadauth.authority_host";
    let host = settings::authority().host?;
    let is_microsoft = Cloud::ALL.into_iter().any(|cloud| cloud.login() == host);
    (!is_microsoft).then(|| {
        Finding::new(
            Code::AuthorityNotMicrosoft,
            PLACE,
            format!(
                "{host} is not Microsoft: its operator can sign in as every mapped role, and its tokens are trusted for all \
                 principals. This is only right for tests with the emulator."
            ),
            "Remove aadauth.authority_host, and reload.",
        )
    })
}

fn require_tls() -> Option<Finding> {
    (!settings::require_tls()).then(|| {
        Finding::new(
            Code::TokensWithoutTls,
            "aadauth.require_tls",
            "Tokens can be sent over connections without TLS, where they can be intercepted and used.",
            "Set aadauth.require_tls to on, and reload.",
        )
    })
}
