//! The PAM service files.

mod stack;

use std::collections::BTreeSet;
use std::fs;
use std::io;

use super::finding::{Code, Finding};
use crate::pg::pam as service;

const DIRECTORY: &str = "/etc/pam.d";

/// Checks the service files of the aadauth records of `pg_hba.conf`: of each, the service's name as written there, and
/// the place.
pub fn check(services: impl Iterator<Item = (String, String)>) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let mut findings: Vec<Finding> = services
        .filter_map(|(name, place)| {
            let name = service::file_name(&name);
            seen.insert(name.clone())
                .then(|| check_service(&name, &place))?
        })
        .collect();
    let other = stack::parse("other", &|name| read(name).ok());
    if stack::accepts_wrong_password(&other, "auth") {
        findings.push(Finding::new(
            Code::PamOtherAccepts,
            format!("{DIRECTORY}/other"),
            "It accepts every client of a service that has no file: without this library and its service file, all roles \
             could sign in without a password.",
            "End it with \"auth required pam_deny.so\" and \"account required pam_deny.so\", as Linux-PAM recommends.",
        ));
    }
    findings
}

fn check_service(name: &str, place: &str) -> Option<Finding> {
    let own = service::service();
    if name != own && name != "aadauth" && is_versioned(name) {
        return Some(Finding::new(
            Code::PamServiceOfAnotherVersion,
            place,
            format!("The service {name} belongs to another major version than this server."),
            format!("Write pamservice={own}, and reload."),
        ));
    }
    let path = format!("{DIRECTORY}/{name}");
    let library = service::library();
    let remedy = format!(
        "Run make install again, or install the package. The file must have two lines, \"auth required {library}\" and \
         \"account required {library}\"."
    );
    let text = match read(name) {
        Ok(text) => text,
        Err(error) => {
            return Some(Finding::new(
                Code::PamFileMissing,
                path,
                format!(
                    "The server cannot read it ({error}), so everyone is refused on records that name {name}."
                ),
                remedy,
            ));
        }
    };
    let lines = stack::parse(name, &|file| match file == name {
        true => Some(text.clone()),
        false => read(file).ok(),
    });
    let modules = |kind: &str| -> Vec<&str> {
        let of_kind = lines.iter().filter(|line| line.kind == kind);
        of_kind.map(|line| line.module.as_str()).collect()
    };
    for kind in ["auth", "account"] {
        let named = modules(kind);
        if !named.contains(&library.as_str()) {
            let instead = match named.as_slice() {
                [] => "no module".to_owned(),
                named => named.join(", "),
            };
            return Some(Finding::new(
                Code::PamFileOfAnotherLibrary,
                path,
                format!("For {kind} it names {instead}, not {library}, so everyone is refused."),
                remedy,
            ));
        }
    }
    let others: BTreeSet<&str> = ["auth", "account"]
        .into_iter()
        .flat_map(modules)
        .filter(|module| *module != library)
        .collect();
    let others: Vec<&str> = others.into_iter().collect();
    (!others.is_empty()).then(|| {
        Finding::new(
            Code::PamFileWithOtherModules,
            path,
            format!(
                "It also names {}, whose results count as well. This library must still accept each sign-in, but those \
                 modules may refuse some, and sign-ins are slower.",
                others.join(", ")
            ),
            remedy,
        )
    })
}

/// Whether the name has a version, as the names that `make install` writes.
fn is_versioned(name: &str) -> bool {
    name.strip_prefix("aadauth-").is_some_and(|version| {
        !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn read(name: &str) -> io::Result<String> {
    let bytes = fs::read(format!("{DIRECTORY}/{name}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
