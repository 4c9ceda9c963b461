//! The records of an HBA file.

use std::error::Error;

use super::rule::Rule;
use crate::diagnosis::query;
use crate::pg::pam as service;
use crate::pg::query as pg_query;
use crate::pg::sign_in_method::SignInMethod;
use crate::pg::text::SqlText;

/// Whether it is an aadauth record.
pub fn is_own(rule: &Rule) -> bool {
    sign_in_method(rule).is_some()
}

/// Whether it is an aadauth record that asks local roles for their passwords.
pub fn asks_for_passwords(rule: &Rule) -> bool {
    matches!(
        sign_in_method(rule),
        Some(SignInMethod::Pam | SignInMethod::HbaFile)
    )
}

fn sign_in_method(rule: &Rule) -> Option<SignInMethod> {
    SignInMethod::of_record(rule.method(), rule.pam_service(), rule.oauth_validator())
}

/// The records in the file, which the server may not have loaded yet.
pub struct File {
    pub path: String,
    pub rules: Vec<Rule>,
}

impl File {
    /// The file in force.
    pub fn read() -> Result<File, Box<dyn Error>> {
        let path = pg_query::one::<SqlText>("SELECT current_setting('hba_file')")?;
        File::of_view(path.ok_or("no answer")?.0)
    }

    /// The file that the view `pg_hba_file_rules` shows.
    pub fn of_view(path: String) -> Result<File, Box<dyn Error>> {
        let rules = query::rows("SELECT * FROM pg_hba_file_rules")?;
        Ok(File { path, rules })
    }

    /// The valid records.
    pub fn records(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| rule.auth_method.is_some())
    }

    /// The PAM services of aadauth records, as written there.
    pub fn pam_services(&self) -> impl Iterator<Item = &str> {
        let services = self.records().filter_map(Rule::pam_service);
        services.filter(|service| service::is_ours(service))
    }

    pub fn place(&self, rule: &Rule) -> String {
        let file = rule.file_name.as_ref().unwrap_or(&self.path);
        format!("{file} line {}", rule.line_number)
    }
}
