//! `pg_hba.conf` or the alternate HBA file: whether mapped roles match the aadauth record, which asks for their token, and
//! no role can sign in without one.

mod file;
mod oauth;
mod rule;
mod without_library;

use std::collections::BTreeSet;
use std::error::Error;

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;

use crate::diagnosis::finding::{Code, Finding, list};
use crate::diagnosis::pam;
use crate::diagnosis::roles::Roles;
use crate::hooks::client_authentication;
use crate::pg::{hba_file, pam as service};
use crate::settings;
use file::{File, is_own};
pub use rule::Login;
use rule::{Matches, Rule, transport};

pub fn check(roles: &Roles) -> Result<Vec<Finding>, Box<dyn Error>> {
    let mut findings = hook_displaced();
    let file = File::read()?;
    if hba_file::is_set() && !hba_file::is_in_force() {
        findings.push(file.not_in_force());
        return Ok(findings);
    }
    findings.extend(file.invalid());
    let logins = roles.logins();
    let without_library = without_library::check(&file, &logins)?;
    let own: Vec<&Rule> = file.records().filter(|rule| is_own(rule)).collect();
    if own.is_empty() {
        findings.push(file.missing());
        findings.extend(without_library.findings);
    } else {
        findings.extend(file.check_records(&own, &logins, without_library.findings)?);
    }
    let services: Vec<(String, String)> = file
        .pam_services()
        .chain(without_library.pam_services)
        .collect();
    if !services.is_empty() {
        findings.extend(pam::check(services.into_iter()));
    }
    Ok(findings)
}

/// The recommended aadauth record.
fn recommended_record() -> String {
    if hba_file::is_set() {
        "hostssl all all all trust".to_owned()
    } else {
        format!("hostssl all all all pam pamservice={}", service::service())
    }
}

fn hook_displaced() -> Vec<Finding> {
    let finding = client_authentication::is_displaced().then(|| {
        Finding::new(
            Code::HookDisplaced,
            "shared_preload_libraries",
            "Another library has replaced this library's authentication hook. Every session restores it; otherwise no client \
             would be asked for a token.",
            "Name aadauth last, and restart the server.",
        )
    });
    finding.into_iter().collect()
}

impl File {
    /// Problems of aadauth records and of those before and after them; `open` are the findings about records that let roles
    /// in without a token if the library is not loaded.
    fn check_records(
        &self,
        own: &[&Rule],
        roles: &[Login],
        open: Vec<Finding>,
    ) -> Result<Vec<Finding>, Box<dyn Error>> {
        let matches = self.matches(roles)?;
        let mut findings: Vec<Finding> = self.tls_off().into_iter().collect();
        let before = self.preceding_records(roles, &matches);
        // Such a record already has a finding.
        let is_new = |finding: &Finding| !before.iter().any(|other| other.place == finding.place);
        findings.extend(open.into_iter().filter(is_new));
        findings.extend(before.iter().cloned());
        findings.extend(self.roles_without_record(own, roles, &matches));
        findings.extend(own.iter().filter_map(|rule| self.without_tls(rule)));
        findings.extend(self.oauth_problems());
        findings.extend(self.other_validators(roles, &matches));
        Ok(findings)
    }

    fn invalid(&self) -> Vec<Finding> {
        let invalid = self.rules.iter().filter(|rule| rule.auth_method.is_none());
        invalid
            .map(|rule| {
                let error = rule.error.as_deref().unwrap_or("no reason is given");
                self.not_allowed(rule, error).unwrap_or_else(|| {
                    Finding::new(
                        Code::HbaLineInvalid,
                        self.place(rule),
                        format!("The server cannot read the record: {error}. A reload keeps the old records, and a restart fails."),
                        "Correct the record, and reload.",
                    )
                })
            })
            .collect()
    }

    fn not_in_force(&self) -> Finding {
        Finding::new(
            Code::HbaFileNotInForce,
            "aadauth.hba_file",
            format!(
                "The records in force are those of {}, which another library has set. Everyone is refused on its trust \
                 records.",
                self.path
            ),
            "Name aadauth last in shared_preload_libraries, and restart the server.",
        )
    }

    fn missing(&self) -> Finding {
        Finding::new(
            Code::HbaLineMissing,
            self.path.clone(),
            "There is no aadauth record, so mapped roles are refused on every record.",
            format!(
                "Add the record \"{}\" above the records that match all roles, and reload.",
                recommended_record()
            ),
        )
    }

    fn tls_off(&self) -> Option<Finding> {
        let rule = self
            .records()
            .find(|rule| rule.kind.as_deref() == Some("hostssl"))?;
        (!self.has_tls).then(|| {
            Finding::new(
                Code::TlsOff,
                "ssl",
                format!(
                    "TLS is off, so no connection matches the record in hostssl line {}.",
                    rule.line_number
                ),
                "Set ssl to on, with ssl_cert_file and ssl_key_file, and reload.",
            )
        })
    }

    /// Records that match mapped roles before an aadauth record does. Those with the method reject are intended.
    fn preceding_records(&self, roles: &[Login], matches: &Matches) -> Vec<Finding> {
        // Tokens are not accepted on other connections anyway.
        let transports = match settings::require_tls() {
            true => transport::TLS | transport::LOCAL,
            false => u8::MAX,
        };
        let records: Vec<&Rule> = self.records().collect();
        let mut findings = Vec::new();
        for (index, rule) in records.iter().enumerate() {
            // See other_validators for records of other validators.
            if is_own(rule) || matches!(rule.method(), "reject" | "oauth") {
                continue;
            }
            let later = || records.iter().skip(index).filter(|later| is_own(later));
            let shadowed = |role: &Login| {
                let is_shadowed = |later: &&&Rule| {
                    later.matches_role(role, matches) && rule.overlaps(later, role, transports)
                };
                rule.matches_role(role, matches)
                    .then(|| later().find(is_shadowed))
                    .flatten()
            };
            let affected: Vec<(&Login, &&Rule)> = roles
                .iter()
                .filter_map(|role| shadowed(role).map(|later| (role, later)))
                .collect();
            let (whom, own) = match affected.first() {
                Some((_, own)) => {
                    let names: Vec<&str> = affected
                        .iter()
                        .map(|(role, _)| role.name.as_str())
                        .collect();
                    (format!("the mapped roles {}", list(&names)), **own)
                }
                // No role is mapped yet; those that will be are affected.
                None if roles.is_empty() && rule.matches_all_roles() => {
                    match shadowed(&Login::default()) {
                        Some(own) => ("all roles".to_owned(), *own),
                        None => continue,
                    }
                }
                None => continue,
            };
            findings.push(self.preceding_record(rule, own, &whom));
        }
        findings
    }

    fn preceding_record(&self, rule: &Rule, own: &Rule, whom: &str) -> Finding {
        let (line, later) = (rule.line_number, own.line_number);
        Finding::new(
            Code::HbaLineBefore,
            self.place(rule),
            format!(
                "Line {line} ({}) matches connections of {whom} before line {later}, which asks for a token. Mapped roles \
                 are refused on line {line}.",
                rule.method()
            ),
            format!(
                "Move line {later} above line {line}, or restrict line {line} to the local roles that it is for, and reload."
            ),
        )
    }

    fn roles_without_record(
        &self,
        own: &[&Rule],
        roles: &[Login],
        matches: &Matches,
    ) -> Option<Finding> {
        let names: Vec<&str> = roles
            .iter()
            .filter(|role| !own.iter().any(|rule| rule.matches_role(role, matches)))
            .map(|role| role.name.as_str())
            .collect();
        (!names.is_empty()).then(|| {
            Finding::new(
                Code::HbaRoleWithoutLine,
                self.path.clone(),
                format!("No aadauth record matches the mapped roles {}.", list(&names)),
                format!(
                    "Let an aadauth record, such as \"{}\", match them (\"all\" in its third field does), and reload.",
                    recommended_record()
                ),
            )
        })
    }

    fn without_tls(&self, rule: &Rule) -> Option<Finding> {
        let insecure = transport::PLAIN | transport::GSS;
        (rule.transports() & insecure != 0).then(|| {
            Finding::new(
                Code::HbaLineWithoutTls,
                self.place(rule),
                format!(
                    "The record is for {} connections: mapped roles are refused on those without TLS, and clients are not \
                     required to use it.",
                    rule.kind.as_deref().unwrap_or_default()
                ),
                "Replace its first word with hostssl, and reload.",
            )
        })
    }

    /// Which of the roles match the regular expressions in user fields, as evaluated by the server.
    fn matches(&self, roles: &[Login]) -> Result<Matches, Box<dyn Error>> {
        let mut matches = Matches::new();
        // Before PostgreSQL 16, a slash is part of the name.
        if cfg!(feature = "pg15") {
            return Ok(matches);
        }
        let names: Vec<String> = roles.iter().map(|role| role.name.clone()).collect();
        for user in self
            .records()
            .flat_map(|rule| rule.user_name.iter().flatten())
        {
            let Some(pattern) = user.strip_prefix('/') else {
                continue;
            };
            let arguments: [DatumWithOid<'_>; 2] = [names.clone().into(), pattern.into()];
            let found = Spi::get_one_with_args::<Vec<String>>(
                "SELECT array_agg(name) FROM unnest($1::text[]) AS name WHERE name ~ $2 COLLATE \"C\"",
                &arguments,
            )?;
            let found: BTreeSet<String> = found.into_iter().flatten().collect();
            matches.insert(user.clone(), found);
        }
        Ok(matches)
    }
}
