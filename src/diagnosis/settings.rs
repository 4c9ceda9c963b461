//! The settings: refused, missing, or not what they should be.

use std::error::Error;

use entra_api::read_ca_file;
use entra_token::{Audience, Cloud};
use serde::Deserialize;

use super::finding::{Code, Finding};
use crate::pg::guc;
use crate::settings::{self, Authentication};

pub fn check() -> Result<Vec<Finding>, Box<dyn Error>> {
    let mut findings = refused()?;
    findings.extend(preload()?);
    if settings::authentication() != Authentication::Postgresql {
        findings.extend(tenant());
        findings.extend(audience());
        findings.extend(authority());
        findings.extend(ca_file());
        findings.extend(require_tls());
    }
    Ok(findings)
}

/// A setting in a file that the server does not take over (`pg_file_settings`).
#[derive(Deserialize)]
struct Refused {
    file: Option<String>,
    line: Option<i32>,
    name: String,
    setting: Option<String>,
    error: String,
}

/// The one setting of ours that no reload changes.
const HBA_FILE: &str = "aadauth.hba_file";

fn refused() -> Result<Vec<Finding>, Box<dyn Error>> {
    let refused = super::rows::<Refused>(
        "SELECT sourcefile AS file, sourceline AS line, name, setting, error FROM pg_file_settings
         WHERE error IS NOT NULL AND (name ILIKE 'aadauth.%' OR name ILIKE 'pgaadauth.%') ORDER BY seqno",
    )?;
    Ok(refused
        .into_iter()
        .map(|refused| {
            let Refused { file, line, name, setting, error } = refused;
            let place = match (file, line) {
                (Some(file), Some(line)) => format!("{file} line {line}"),
                _ => name.clone(),
            };
            let value = setting.unwrap_or_default();
            let objection = guc::check_error(&name, &value);
            if name.eq_ignore_ascii_case(HBA_FILE) && objection.is_none() {
                return Finding::new(
                    Code::RestartPending,
                    place,
                    format!("The server runs with another value of {name}, which it reads when it starts."),
                    "Restart the server.",
                );
            }
            // It may be a secret that somebody has put in the wrong place.
            let shown = match name.ends_with("_file") || name.ends_with("_proxy") {
                true => String::new(),
                false => format!(" '{value}'"),
            };
            let (problem, remedy) = match objection {
                Some(objection) => (format!("The value{shown} of {name} is refused."), objection),
                None => (
                    format!("The setting {name} with the value{shown} is refused: {error}."),
                    "Mend or remove the line; docs/configuration.md lists the settings and what they take."
                        .to_owned(),
                ),
            };
            Finding::new(Code::SettingRefused, place, problem, remedy)
        })
        .collect())
}

#[derive(Deserialize)]
struct Preloaded {
    libraries: String,
}

/// The postmaster looks background workers' functions up in the library "aadauth", and a library that was
/// loaded by a path is another one to it (bgworker.c, `LookupBackgroundWorkerFunction`).
fn preload() -> Result<Option<Finding>, Box<dyn Error>> {
    let settings = super::rows::<Preloaded>(
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
            format!("The library is named {}, by a path.", library.trim()),
            "Name it aadauth, without directory and ending, and restart.",
        )
    }))
}

fn tenant() -> Option<Finding> {
    settings::tenant().is_none().then(|| {
        Finding::new(
            Code::TenantNotSet,
            "aadauth.tenant_id",
            "No tenant is configured, so every token is refused.",
            "Set aadauth.tenant_id to your tenant's id (az account show --query tenantId), and reload.",
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
    let of = |cloud: Cloud| {
        let own = cloud.ossrdbms();
        audiences
            .iter()
            .find(|audience| own.contains(audience) || is_same(audience, &own))
    };
    let other = Cloud::ALL
        .into_iter()
        .filter(|cloud| *cloud != authority.cloud)
        .find_map(|cloud| of(cloud).map(|audience| (cloud, audience)));
    if let Some((cloud, audience)) = other {
        return Some(Finding::new(
            Code::AudienceOfAnotherCloud,
            PLACE,
            format!(
                "{audience} is Azure's database resource of the cloud {cloud}, and aadauth.cloud is {}.",
                authority.cloud
            ),
            "Set aadauth.cloud to the tenant's cloud, or name this server's own app registration.",
        ));
    }
    // An emulator's tokens are of no use elsewhere.
    let shared = of(authority.cloud).filter(|_| authority.host.is_none())?;
    Some(Finding::new(
        Code::AudienceShared,
        PLACE,
        format!(
            "{shared} is Azure's own database resource: whoever runs this server could use the tokens that are \
             sent to it at every Azure database of the tenant."
        ),
        "Register an application for this server, and set aadauth.audience to its application ID URI \
         (docs/configuration.md, \"Why the audience has no default\").",
    ))
}

/// With the one trailing slash that makes no difference.
fn is_same(audience: &Audience, known: &[Audience]) -> bool {
    known
        .iter()
        .any(|known| known.matches(&audience.to_string()))
}

fn authority() -> Option<Finding> {
    const PLACE: &str = "aadauth.authority_host";
    let host = settings::authority().host?;
    let is_microsoft = Cloud::ALL.into_iter().any(|cloud| cloud.login() == host);
    Some(if is_microsoft {
        Finding::new(
            Code::AuthorityHostOfMicrosoft,
            PLACE,
            format!(
                "With {host} as authority_host, tokens of version 1 are refused, whose issuer is another host."
            ),
            "Remove aadauth.authority_host, set aadauth.cloud to the tenant's cloud, and reload.",
        )
    } else {
        Finding::new(
            Code::AuthorityNotMicrosoft,
            PLACE,
            format!(
                "{host} IS NOT MICROSOFT: whoever runs it can sign in as every mapped role, and is believed \
                 about everybody. That is right for the emulator in tests, and for nothing else."
            ),
            "Remove aadauth.authority_host, and reload.",
        )
    })
}

fn ca_file() -> Option<Finding> {
    let error = read_ca_file(&settings::ca_file()?).err()?;
    Some(Finding::new(
        Code::CaFileUnusable,
        "aadauth.ca_file",
        format!("{error}, so nobody can be asked for signing keys."),
        "Name a PEM file of CA certificates that the server may read, or unset aadauth.ca_file to use the system's, and \
         reload.",
    ))
}

fn require_tls() -> Option<Finding> {
    (!settings::require_tls()).then(|| {
        Finding::new(
            Code::TokensWithoutTls,
            "aadauth.require_tls",
            "Tokens may be sent over connections without TLS, where whoever listens can use them.",
            "Set aadauth.require_tls to on, and reload.",
        )
    })
}
