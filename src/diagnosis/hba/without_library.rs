//! The records that apply if the library is not loaded: those of the server's own `pg_hba.conf`.

use std::error::Error;

use super::file::File;
use super::rule::{Login, Rule};
use crate::diagnosis::finding::{Code, Finding, list};
use crate::diagnosis::query;
use crate::pg::{hba_file, oauth, pam};

/// Their problems.
pub struct WithoutLibrary {
    pub findings: Vec<Finding>,
    /// The PAM services that they name, and the place of each, unless their file is the one in force.
    pub pam_services: Vec<(String, String)>,
}

impl From<Vec<Finding>> for WithoutLibrary {
    fn from(findings: Vec<Finding>) -> WithoutLibrary {
        WithoutLibrary {
            findings,
            pam_services: Vec::new(),
        }
    }
}

/// `in_force` is the file in force, `roles` are the mapped roles that may log in.
pub fn check(in_force: &File, roles: &[Login]) -> Result<WithoutLibrary, Box<dyn Error>> {
    let Some(path) = hba_file::server_file() else {
        let open = in_force.open_records(roles, |rule| rule.method() == "trust")?;
        return Ok(open.into());
    };
    let unusable = |problem: String| {
        Finding::new(
            Code::OwnHbaFileUnusable,
            path.display().to_string(),
            format!("{problem}. The server does not start if the library is not loaded."),
            "Let it accept the administrator's local connection for emergencies, and reject everyone else.",
        )
    };
    // The view would raise an ERROR.
    if let Err(error) = std::fs::File::open(path) {
        return Ok(vec![unusable(format!("It cannot be read ({error})"))].into());
    }
    let own = File {
        path: path.display().to_string(),
        has_tls: in_force.has_tls,
        rules: hba_file::with_server_file(|| query::rows("SELECT * FROM pg_hba_file_rules"))?,
    };
    if let Some(rule) = own.rules.iter().find(|rule| rule.auth_method.is_none()) {
        let error = rule.error.as_deref().unwrap_or("no reason is given");
        return Ok(vec![unusable(format!(
            "Line {} is invalid ({error})",
            rule.line_number
        ))]
        .into());
    }
    Ok(WithoutLibrary {
        findings: own.open_records(roles, |_| true)?,
        pam_services: own.pam_services().collect(),
    })
}

impl File {
    /// The records that would let roles in without a token, although they need one now. `is_relevant` selects the records
    /// to check.
    fn open_records(
        &self,
        roles: &[Login],
        is_relevant: impl Fn(&Rule) -> bool,
    ) -> Result<Vec<Finding>, Box<dyn Error>> {
        let matches = self.matches(roles)?;
        let records: Vec<&Rule> = self.records().collect();
        let mut findings = Vec::new();
        for (index, rule) in records.iter().enumerate() {
            // Without the library, its PAM service and its validator refuse.
            let refuses = rule.method() == "reject"
                || rule.pam_service().is_some_and(pam::is_ours)
                || rule.oauth_validator().is_some_and(oauth::is_ours);
            let is_covered = records
                .iter()
                .take(index)
                .any(|earlier| earlier.covers(rule));
            if refuses || is_covered || !is_relevant(rule) {
                continue;
            }
            let names: Vec<&str> = roles
                .iter()
                .filter(|role| rule.matches_role(role, &matches))
                .map(|role| role.name.as_str())
                .collect();
            let has_alternate = hba_file::is_set();
            let whom = if !names.is_empty() {
                format!("the mapped roles {}", list(&names))
            } else if roles.is_empty() && rule.matches_all_roles() {
                "all roles".to_owned()
            } else if has_alternate && rule.method() == "trust" {
                "every client that names a matching role".to_owned()
            } else {
                continue;
            };
            findings.push(self.open_record(rule, &whom));
        }
        Ok(findings)
    }

    fn open_record(&self, rule: &Rule, whom: &str) -> Finding {
        let remedy = if hba_file::is_set() {
            "Let this file reject everyone but the administrator: after \"local all postgres peer\", add \
             \"local all,replication all reject\" and \"host all,replication all all reject\" above the other records."
        } else {
            "Restrict the record to the local roles that it is for, or use another method, and reload."
        };
        Finding::new(
            Code::HbaLineOpenWithoutLibrary,
            self.place(rule),
            format!(
                "If the library is not loaded, line {} ({}) lets in {whom} without a token.",
                rule.line_number,
                rule.method()
            ),
            remedy,
        )
    }
}
