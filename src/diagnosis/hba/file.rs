//! The records of the file in force.

use std::error::Error;

use serde::Deserialize;

use super::rule::Rule;
use crate::diagnosis::query;
use crate::pg::pam as service;
use crate::pg::sign_in_method::SignInMethod;

/// Whether it is an aadauth record.
pub fn is_own(rule: &Rule) -> bool {
    SignInMethod::of_record(rule.method(), rule.pam_service(), rule.oauth_validator()).is_some()
}

/// The records in the file, which the server may not have loaded yet.
pub struct File {
    pub path: String,
    pub has_tls: bool,
    pub rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Server {
    hba_file: String,
    ssl: bool,
}

impl File {
    pub fn read() -> Result<File, Box<dyn Error>> {
        let server = query::rows::<Server>(
            "SELECT current_setting('hba_file') AS hba_file, current_setting('ssl')::boolean AS ssl",
        )?;
        let server = server.into_iter().next().ok_or("no answer")?;
        Ok(File {
            path: server.hba_file,
            has_tls: server.ssl,
            rules: query::rows("SELECT * FROM pg_hba_file_rules")?,
        })
    }

    /// The valid records.
    pub fn records(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| rule.auth_method.is_some())
    }

    /// The PAM services of aadauth records, as written there, and the place of each.
    pub fn pam_services(&self) -> impl Iterator<Item = (String, String)> {
        self.records().filter_map(|rule| {
            let service = rule.pam_service()?;
            service::is_ours(service).then(|| (service.to_owned(), self.place(rule)))
        })
    }

    pub fn place(&self, rule: &Rule) -> String {
        let file = rule.file_name.as_ref().unwrap_or(&self.path);
        format!("{file} line {}", rule.line_number)
    }
}
