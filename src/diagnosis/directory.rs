//! Whether the server can use the directory.

use std::error::Error;

use entra_api::{ErrorKind, read_ca_file};
use serde::Deserialize;

use super::finding::{Code, Finding};
use super::query;
use crate::shared::directory::lookup_error::LookupError;
use crate::{directory, settings};

pub fn check() -> Result<Vec<Finding>, Box<dyn Error>> {
    let mut findings: Vec<Finding> = access().into_iter().collect();
    findings.extend(group_names()?);
    Ok(findings)
}

fn access() -> Option<Finding> {
    if let Some(missing) = settings::missing_for_directory() {
        // A missing tenant has a finding of its own.
        return (missing != "aadauth.tenant_id").then(|| {
            Finding::new(
                Code::DirectoryIncomplete,
                missing,
                format!(
                    "aadauth.credential is set, but {missing} is not, so the directory is not used."
                ),
                format!("Set {missing}, or set aadauth.credential to none, and reload."),
            )
        });
    }
    let Some(settings) = settings::directory() else {
        return settings::group_sync_is_enabled().then(|| {
            Finding::new(
                Code::GroupSyncWithoutDirectory,
                "pgaadauth.enable_group_sync",
                "Group sync is enabled, but no directory is configured that lists the members of groups.",
                "Set aadauth.credential and the settings that it requires, or set pgaadauth.enable_group_sync to off, and reload.",
            )
        });
    };
    if let Err(error) = settings.credential.check() {
        let place = match settings::credential_file() {
            Some((setting, _)) => setting,
            None => "aadauth.credential",
        };
        return Some(finding(
            Code::DirectoryCredentialUnusable,
            place,
            &error.message,
            error.kind,
        ));
    }
    // A consequence of the file, which has a finding of its own.
    if settings::ca_file().is_some_and(|file| read_ca_file(&file).is_err()) {
        return None;
    }
    match directory::probe() {
        Ok(()) | Err(LookupError::WorkerNotRunning | LookupError::NotConfigured) => None,
        Err(LookupError::Directory { kind, message }) => {
            let (code, place) = match kind {
                ErrorKind::PermissionMissing => (
                    Code::DirectoryPermissionMissing,
                    "the app registration's API permissions",
                ),
                ErrorKind::CredentialUnusable => {
                    (Code::DirectoryCredentialUnusable, "aadauth.credential")
                }
                ErrorKind::CredentialRefused => {
                    (Code::DirectoryCredentialRefused, "aadauth.credential")
                }
                _ => (Code::DirectoryNotAnswering, "aadauth.graph_endpoint"),
            };
            Some(finding(code, place, &message, kind))
        }
        Err(lookup_error) => Some(Finding::new(
            Code::DirectoryNotAnswering,
            "aadauth.graph_endpoint",
            sentence(&lookup_error.message()),
            lookup_error.hint(),
        )),
    }
}

fn finding(code: Code, place: &str, message: &str, kind: ErrorKind) -> Finding {
    Finding::new(code, place, sentence(message), kind.hint())
}

fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}

#[derive(Deserialize)]
struct Counted {
    events: i64,
}

/// From the audit, if this is the database that holds it.
fn group_names() -> Result<Option<Finding>, Box<dyn Error>> {
    let counted = query::rows::<Counted>(
        "SELECT count(*) AS events FROM aadauth.sign_in_audit
         WHERE occurred_at > now() - interval '1 day' AND outcome = 'refused'
             AND checks @> '[{\"source\": \"names\"}]'",
    )?;
    let events = counted.first().map_or(0, |counted| counted.events);
    Ok((events > 0).then(|| {
        Finding::new(
            Code::GroupNamesInTokens,
            "the app registration's token configuration",
            format!(
                "{events} sign-ins of the last day were refused because their tokens had group names instead of object ids: \
                 only object ids are compared."
            ),
            "Configure the groups claim to be emitted as Group ID (Token configuration, groups claim), or configure the \
             directory (aadauth.credential).",
        )
    }))
}
