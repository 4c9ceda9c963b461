//! `pg_hba.conf` or the alternate HBA file: whether mapped roles meet an aadauth record, which asks for their token, and no
//! role can sign in without one.

mod file;
mod rule;
mod without_library;
mod without_scram;

use std::error::Error;
use std::ptr;

use crate::diagnosis::finding::{Code, Finding, list};
use crate::diagnosis::pam;
use crate::diagnosis::roles::Roles;
use crate::hooks::client_authentication;
use crate::pg::{hba_file, pam as service};
use crate::settings::{self, Authentication};
use file::{File, is_own};
pub use rule::Login;
use rule::{Rule, Transport};
pub use without_scram::WithoutScram;

pub fn check(roles: &Roles) -> Result<Vec<Finding>, Box<dyn Error>> {
    let mut findings = Vec::new();
    if client_authentication::is_displaced() {
        findings.push(displaced(
            "Another library has replaced this library's authentication hook. Every session restores it; otherwise no client \
             would be asked for a token.",
        ));
    }
    let file = File::read()?;
    let logins = roles.logins();
    let mut services: Vec<&str> = Vec::new();
    if hba_file::is_set() && !hba_file::is_in_force() {
        findings.push(displaced(
            "Another library has put another file in force than aadauth.hba_file names. Everyone is refused on its trust \
             records.",
        ));
    } else {
        findings.extend(file.check(&logins));
        // With tokens only, it refuses every local role, as is meant.
        if settings::authentication() != Authentication::Entra {
            findings.extend(file.without_scram(&roles.without_scram()));
        }
        services.extend(file.pam_services());
    }
    let own = without_library::own_file()?;
    match &own {
        None => findings.extend(file.open_records(&logins)),
        Some(Err(unreadable)) => findings.push(unreadable.clone()),
        Some(Ok(own)) => {
            findings.extend(own.invalid(
                "If the record is invalid, the server does not start without the library.",
            ));
            findings.extend(own.open_records(&logins));
            services.extend(own.pam_services());
        }
    }
    if !services.is_empty() {
        findings.extend(pam::check(&services));
    }
    Ok(findings)
}

fn displaced(problem: &str) -> Finding {
    Finding::new(
        Code::HookDisplaced,
        "shared_preload_libraries",
        problem,
        "Name aadauth last, and restart the server.",
    )
}

impl File {
    /// Checks the file in force.
    fn check(&self, logins: &[Login]) -> Vec<Finding> {
        let mut findings = Vec::new();
        findings.extend(self.invalid(
            "If the record is invalid, a reload keeps the old records, and a restart fails.",
        ));
        findings.extend(self.missing());
        findings.extend(self.preceding_records(logins));
        findings.extend(self.roles_without_record(logins));
        findings.extend(self.records().filter_map(|rule| self.without_tls(rule)));
        findings.extend(self.without_delegation());
        findings
    }

    /// What the server logs about records when it reads them.
    fn invalid(&self, consequence: &str) -> impl Iterator<Item = Finding> {
        self.rules.iter().filter_map(move |rule| {
            let error = rule.error.as_deref()?;
            Some(Finding::new(
                Code::HbaLineInvalid,
                self.place(rule),
                format!("PostgreSQL reports an error: {error}. {consequence}"),
                "Correct the record, or the setting that it requires, and reload.",
            ))
        })
    }

    fn missing(&self) -> Option<Finding> {
        let record = match hba_file::is_set() {
            true => "hostssl all all all trust".to_owned(),
            false => format!("hostssl all all all pam pamservice={}", service::service()),
        };
        (!self.records().any(is_own)).then(|| {
            Finding::new(
                Code::HbaLineMissing,
                self.path.clone(),
                "There is no aadauth record, so mapped roles are refused on every record.",
                format!(
                    "Add the record \"{record}\" above the records that match all roles, and reload."
                ),
            )
        })
    }

    /// Records for mapped roles before an aadauth record for the same transport. After an aadauth record that matches all
    /// connections, there are none that could be refused. Records with the method reject are intended, and `all` does
    /// not include replication connections.
    fn preceding_records(&self, roles: &[Login]) -> Vec<Finding> {
        let mut findings = Vec::new();
        for transport in [Transport::Local, Transport::Tls, Transport::WithoutTls] {
            let records = || {
                self.records()
                    .filter(move |rule| rule.transport() == transport)
            };
            let own = || records().filter(|rule| is_own(rule) && !rule.is_for_replication());
            let Some(last) = own().find(|rule| rule.matches_all()).or(own().last()) else {
                continue;
            };
            let is_harmless = |rule: &&Rule| {
                is_own(rule) || rule.method() == "reject" || rule.is_for_replication()
            };
            let before = records().take_while(|rule| !ptr::eq(*rule, last));
            for rule in before.filter(|rule| !is_harmless(rule)) {
                let whom = rule.affected(roles);
                findings.extend(whom.map(|whom| self.preceding_record(rule, last, &whom)));
            }
        }
        findings
    }

    fn roles_without_record(&self, roles: &[Login]) -> Option<Finding> {
        let is_matched = |role: &&Login| {
            self.records()
                .any(|rule| is_own(rule) && rule.may_match(role))
        };
        let left = roles.iter().filter(|role| !is_matched(role));
        let names: Vec<&str> = left.map(|role| role.name.as_str()).collect();
        (self.records().any(is_own) && !names.is_empty()).then(|| {
            Finding::new(
                Code::HbaRoleWithoutLine,
                self.path.clone(),
                format!(
                    "No aadauth record is for the mapped roles {}.",
                    list(&names)
                ),
                "Name them, or \"all\", in the third field of an aadauth record, and reload.",
            )
        })
    }

    fn preceding_record(&self, rule: &Rule, own: &Rule, whom: &str) -> Finding {
        let (line, later) = (rule.line_number, own.line_number);
        Finding::new(
            Code::HbaLineBefore,
            self.place(rule),
            format!(
                "Line {line} ({}) is for {whom}, and precedes line {later}, which asks for a token. Mapped roles are refused \
                 on line {line}.",
                rule.method()
            ),
            format!(
                "Move line {later} above line {line}, or restrict line {line} to the local roles that it is for, and reload."
            ),
        )
    }

    fn without_tls(&self, rule: &Rule) -> Option<Finding> {
        (is_own(rule) && !rule.requires_tls()).then(|| {
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

    /// Records with this library as the validator by which PostgreSQL compares as well. With a map, it is meant to.
    fn without_delegation(&self) -> impl Iterator<Item = Finding> {
        let has = |rule: &Rule, option| rule.option(option).is_some();
        let compared = self.records().filter(move |rule| {
            let is_delegated = has(rule, "delegate_ident_mapping") || has(rule, "map");
            is_own(rule) && rule.oauth_validator().is_some() && !is_delegated
        });
        compared.map(|rule| {
            Finding::new(
                Code::OauthWithoutDelegation,
                self.place(rule),
                "PostgreSQL compares the object id in a valid token with the role's name, and refuses.",
                "Add delegate_ident_mapping=1 to the record, and reload. Then the role's label decides, as with other methods.",
            )
        })
    }
}
