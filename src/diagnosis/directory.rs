//! Whether the server can use the directory.

use entra_api::ErrorKind;

use super::finding::{Code, Finding};
use crate::shared::directory::lookup_error::LookupError;
use crate::{directory, settings};

pub fn check() -> Option<Finding> {
    if let Some((place, problem)) = settings::directory_problem() {
        let remedy = match place {
            settings::GROUP_SYNC => {
                "Set aadauth.credential and the settings that it requires, or set pgaadauth.enable_group_sync to off, and reload.".to_owned()
            }
            missing => format!("Set {missing}, or set aadauth.credential to none, and reload."),
        };
        // A missing tenant has a finding of its own.
        return (place != "aadauth.tenant_id")
            .then(|| Finding::new(Code::DirectoryIncomplete, place, problem, remedy));
    }
    let settings = settings::directory()?;
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
    match directory::probe() {
        Ok(()) | Err(LookupError::WorkerNotRunning | LookupError::NotConfigured) => None,
        Err(LookupError::Directory { kind, message }) => {
            let (code, place) = match kind {
                ErrorKind::CredentialUnusable | ErrorKind::CredentialRefused => {
                    (Code::DirectoryCredentialUnusable, "aadauth.credential")
                }
                ErrorKind::PermissionMissing => (
                    Code::DirectoryNotAnswering,
                    "the app registration's API permissions",
                ),
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
