//! The module's configuration file, read by the module's own code.

use std::path::Path;

use pam_aadauth::{conninfo, settings};

use super::files;
use super::finding::{Code, Finding, Place};

/// `own` is the user that PgBouncer runs as.
pub fn check(file: &Path, own: u32) -> Vec<Finding> {
    let place = Place::file(file);
    let server = match settings::read(file, own) {
        Ok(settings) => settings.server,
        Err(problem) => return vec![Finding::new(Code::ConfRefused, &place, problem)],
    };
    let mut findings = Vec::new();
    for name in ["sslrootcert", "sslcert", "sslkey"] {
        let file = conninfo::value_of(&server, name);
        findings.extend(file.and_then(|file| files::of_tls(&file, name == "sslkey", &place, own)));
    }
    findings
}

#[cfg(test)]
mod tests;
