//! The PAM service files.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use super::finding::{Code, Finding};
use crate::pg::pam as service;

const DIRECTORY: &str = "/etc/pam.d";

/// Checks the service files of the aadauth records of `pg_hba.conf`, by the services' names as written there.
pub fn check(services: &[&str]) -> Vec<Finding> {
    let names: BTreeSet<String> = services
        .iter()
        .map(|name| service::file_name(name))
        .collect();
    let mut findings: Vec<Finding> = names
        .iter()
        .filter_map(|name| check_service(name))
        .collect();
    if read("other").is_ok_and(|file| permits_without_deny(&file)) {
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

fn check_service(name: &str) -> Option<Finding> {
    let (own, library) = (service::service(), service::library());
    let (code, problem) = match read(name) {
        Err(error) => (
            Code::PamFileMissing,
            format!(
                "The server cannot read it ({error}), so {DIRECTORY}/other decides on the records that name this service."
            ),
        ),
        Ok(file) if service::names_only(&file, &library) => return None,
        Ok(_) => (
            Code::PamFileOfAnotherLibrary,
            format!(
                "It does not consist of the two lines that name {library}, so everyone is refused on the records that name \
                 this service, or other modules take part in the decision."
            ),
        ),
    };
    Some(Finding::new(
        code,
        format!("{DIRECTORY}/{name}"),
        problem,
        format!(
            "Name the service of this version (pamservice={own}) in pg_hba.conf, and run make install again, or install the \
             package. Its file must have two lines, \"auth required {library}\" and \"account required {library}\"."
        ),
    ))
}

/// Whether a service file names the module that accepts everyone, and not the one that refuses.
fn permits_without_deny(file: &str) -> bool {
    let names = |module| {
        let lines = file.lines().filter_map(|line| line.split('#').next());
        lines.into_iter().any(|line| line.contains(module))
    };
    names("pam_permit") && !names("pam_deny")
}

fn read(name: &str) -> io::Result<String> {
    let bytes = fs::read(format!("{DIRECTORY}/{name}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_permits_has_no_deny() {
        for (file, expected) in [
            ("", false),
            ("auth required pam_permit.so", true),
            (
                "auth required pam_warn.so\nauth\trequired\t/lib/security/pam_permit.so",
                true,
            ),
            ("# auth required pam_permit.so", false),
            (
                "auth required pam_permit.so # not pam_deny.so\n#auth required pam_deny.so",
                true,
            ),
            (
                "auth required pam_permit.so\nauth required pam_deny.so",
                false,
            ),
            ("@include common-auth\n@include common-account", false),
        ] {
            assert_eq!(permits_without_deny(file), expected, "{file}");
        }
    }
}
