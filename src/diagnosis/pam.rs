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
    if read("other").is_ok_and(|file| permits(&file, &read)) {
        findings.push(Finding::new(
            Code::PamOtherAccepts,
            format!("{DIRECTORY}/other"),
            "It names pam_permit.so before a pam_deny.so that refuses, and so accepts clients of a service that has no file: \
             without this library and its service file, all roles could sign in without a password.",
            "Begin it with \"auth required pam_deny.so\" and \"account required pam_deny.so\", as Linux-PAM recommends.",
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

/// Whether a service file accepts by `pam_permit`: its `auth` lines, with those of included files, name it before a
/// `pam_deny` that refuses.
fn permits(file: &str, read: &dyn Fn(&str) -> io::Result<String>) -> bool {
    let mut lines = Vec::new();
    auth_lines(file, read, MAX_INCLUDES, &mut lines);
    let decides = lines.iter().find_map(|(control, module)| {
        let module = module.rsplit('/').next().unwrap_or_default();
        let is_required = ["required", "requisite"].contains(&control.as_str());
        match module.strip_suffix(".so").unwrap_or(module) {
            "pam_permit" => Some(true),
            "pam_deny" if is_required => Some(false),
            _ => None,
        }
    });
    decides.unwrap_or_default()
}

/// How deeply service files may include each other; libpam has its own limit.
const MAX_INCLUDES: u32 = 8;

/// Adds the control and module of each `auth` line (pam.conf(5)).
fn auth_lines(
    file: &str,
    read: &dyn Fn(&str) -> io::Result<String>,
    depth: u32,
    found: &mut Vec<(String, String)>,
) {
    let include = |name: &str, found: &mut Vec<_>| {
        if let (Some(depth), Ok(file)) = (depth.checked_sub(1), read(name)) {
            auth_lines(&file, read, depth, found);
        }
    };
    for line in file.replace("\\\n", " ").lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let (kind, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim_start();
        if kind == "@include" {
            include(rest, found);
        }
        if !kind.trim_start_matches('-').eq_ignore_ascii_case("auth") {
            continue;
        }
        let (control, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']').unwrap_or_default(),
            None => rest.split_once(char::is_whitespace).unwrap_or_default(),
        };
        let module = rest.split_whitespace().next().unwrap_or_default();
        match control.to_ascii_lowercase() {
            control if control == "include" || control == "substack" => include(module, found),
            control => found.push((control, module.to_owned())),
        }
    }
}

fn read(name: &str) -> io::Result<String> {
    let bytes = fs::read(format!("{DIRECTORY}/{name}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_permit() {
        let read = |name: &str| match name {
            "permissive" => Ok("auth required pam_permit.so\n@include permissive".to_owned()),
            "common-auth" => Ok("auth [success=1 default=ignore] pam_unix.so nullok\n\
                                 auth requisite pam_deny.so\nauth required pam_permit.so"
                .to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        for (file, expected) in [
            ("", false),
            ("auth required pam_permit.so", true),
            (
                "auth required pam_warn.so\nauth\trequired\t/lib/security/pam_permit.so",
                true,
            ),
            ("auth required \\\n pam_permit.so", true),
            ("# auth required pam_permit.so", false),
            (
                "auth required pam_permit.so # not pam_deny.so\n#auth required pam_deny.so",
                true,
            ),
            // Of another kind, too late, or without effect.
            (
                "auth required pam_permit.so\npassword required pam_deny.so",
                true,
            ),
            (
                "auth sufficient pam_permit.so\nauth required pam_deny.so",
                true,
            ),
            (
                "auth optional pam_deny.so\nauth required pam_permit.so",
                true,
            ),
            (
                "auth required pam_deny.so\nauth required pam_permit.so",
                false,
            ),
            ("account required pam_permit.so", false),
            ("@include permissive", true),
            ("auth include permissive", true),
            ("-auth\tsubstack\tpermissive", true),
            ("account include permissive", false),
            ("@include nothing", false),
            // Debian's.
            ("@include common-auth\n@include common-account", false),
        ] {
            assert_eq!(permits(file, &read), expected, "{file}");
        }
    }
}
