//! What counts on the day that the library is not loaded: the lines of the server's own pg_hba.conf.

use std::error::Error;

use super::{File, Login, Rule};
use crate::diagnosis::finding::{Code, Finding, list};
use crate::pg::{hba_file, oauth, pam};

/// What is wrong with them.
pub struct WithoutLibrary {
    pub findings: Vec<Finding>,
    /// The PAM services that they name, and where, unless they are those of the file in force.
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

/// `in_force` are the lines of the file in force, `roles` the mapped roles that may log in.
pub fn check(in_force: &File, roles: &[Login]) -> Result<WithoutLibrary, Box<dyn Error>> {
    let Some(path) = hba_file::server_file() else {
        let open = in_force.open_lines(roles, |rule| rule.method() == "trust")?;
        return Ok(open.into());
    };
    let unusable = |problem: String| {
        Finding::new(
            Code::OwnHbaFileUnusable,
            path.display().to_string(),
            format!("{problem}: without the library, the server does not start."),
            "Let it have the line that you get in by when all else fails, and reject everybody else.",
        )
    };
    // The view would end with an ERROR.
    if let Err(error) = std::fs::File::open(path) {
        return Ok(vec![unusable(format!("It can't be read ({error})"))].into());
    }
    let own = File {
        path: path.display().to_string(),
        has_tls: in_force.has_tls,
        rules: hba_file::with_server_file(|| {
            crate::diagnosis::rows("SELECT * FROM pg_hba_file_rules")
        })?,
    };
    if let Some(rule) = own.rules.iter().find(|rule| rule.auth_method.is_none()) {
        let error = rule.error.as_deref().unwrap_or("no reason is given");
        return Ok(vec![unusable(format!(
            "Line {} can't be read ({error})",
            rule.line_number
        ))]
        .into());
    }
    Ok(WithoutLibrary {
        findings: own.open_lines(roles, |_| true)?,
        pam_services: own.pam_services().collect(),
    })
}

impl File {
    /// The lines by which somebody would get in without a token who gets none now. `is_meant` are those to look at.
    fn open_lines(
        &self,
        roles: &[Login],
        is_meant: impl Fn(&Rule) -> bool,
    ) -> Result<Vec<Finding>, Box<dyn Error>> {
        let matches = self.matches(roles)?;
        let lines: Vec<&Rule> = self.lines().collect();
        let mut findings = Vec::new();
        for (index, rule) in lines.iter().enumerate() {
            // Without the library its PAM module refuses, and so does its validator.
            let is_shut = rule.method() == "reject"
                || rule.pam_service().is_some_and(pam::is_ours)
                || rule.oauth_validator().is_some_and(oauth::is_ours);
            let is_covered = lines.iter().take(index).any(|earlier| earlier.covers(rule));
            if is_shut || is_covered || !is_meant(rule) {
                continue;
            }
            let names: Vec<&str> = roles
                .iter()
                .filter(|role| rule.takes(role, &matches))
                .map(|role| role.name.as_str())
                .collect();
            let is_second = hba_file::is_set();
            let whom = if !names.is_empty() {
                format!("mapped roles: {}", list(&names))
            } else if roles.is_empty() && rule.takes_everybody() {
                "all roles".to_owned()
            } else if is_second && rule.method() == "trust" {
                "whoever names a role that it is for".to_owned()
            } else {
                continue;
            };
            findings.push(self.open_line(rule, &whom));
        }
        Ok(findings)
    }

    fn open_line(&self, rule: &Rule, whom: &str) -> Finding {
        let remedy = if hba_file::is_set() {
            "Let this file reject everybody but you when all else fails: after \"local all postgres peer\", \
             \"local all,replication all reject\" and \"host all,replication all all reject\" above the other lines."
        } else {
            "Let the line name the local roles that it is for, or another method; reload."
        };
        Finding::new(
            Code::HbaLineOpenWithoutLibrary,
            self.place(rule),
            format!(
                "On the day that the library is not loaded, line {} ({}) lets in, without a token, {whom}.",
                rule.line_number,
                rule.method()
            ),
            remedy,
        )
    }
}
