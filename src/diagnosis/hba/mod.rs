//! `pg_hba.conf`, or the file in its place: whether mapped roles get to the line that asks for their token, and nobody
//! in without one.

mod oauth;
mod rule;
mod without_library;

use std::collections::BTreeSet;
use std::error::Error;

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use serde::Deserialize;

use crate::diagnosis::finding::{Code, Finding, list};
use crate::diagnosis::pam;
use crate::diagnosis::roles::Roles;
use crate::hooks::client_authentication;
use crate::pg::sign_in_method::SignInMethod;
use crate::pg::{hba_file, pam as service};
use crate::settings;
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
    let ours: Vec<&Rule> = file.lines().filter(|rule| is_ours(rule)).collect();
    if ours.is_empty() {
        findings.push(file.missing());
        findings.extend(without_library.findings);
    } else {
        findings.extend(file.around(&ours, &logins, without_library.findings)?);
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

fn is_ours(rule: &Rule) -> bool {
    SignInMethod::of_record(rule.method(), rule.pam_service(), rule.oauth_validator()).is_some()
}

/// A line of ours, as it should be written.
fn our_line() -> String {
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
            "Another library has put its authentication hook in the place of this library's. Every session puts it back; \
             without that, nobody would be asked for a token.",
            "Name aadauth last, and restart.",
        )
    });
    finding.into_iter().collect()
}

/// The lines as they stand in the file, which the server may have to be told to read.
struct File {
    path: String,
    has_tls: bool,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Server {
    hba_file: String,
    ssl: bool,
}

impl File {
    fn read() -> Result<File, Box<dyn Error>> {
        let server = super::rows::<Server>(
            "SELECT current_setting('hba_file') AS hba_file, current_setting('ssl')::boolean AS ssl",
        )?;
        let server = server.into_iter().next().ok_or("no answer")?;
        Ok(File {
            path: server.hba_file,
            has_tls: server.ssl,
            rules: super::rows("SELECT * FROM pg_hba_file_rules")?,
        })
    }

    /// Those that can be read.
    fn lines(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| rule.auth_method.is_some())
    }

    /// Of the lines that ask this library by PAM: the service as it stands there, and where that is.
    fn pam_services(&self) -> impl Iterator<Item = (String, String)> {
        self.lines().filter_map(|rule| {
            let service = rule.pam_service()?;
            service::is_ours(service).then(|| (service.to_owned(), self.place(rule)))
        })
    }

    fn place(&self, rule: &Rule) -> String {
        let file = rule.file_name.as_ref().unwrap_or(&self.path);
        format!("{file} line {}", rule.line_number)
    }

    /// What is wrong with lines of ours and those around them; `open` are the lines that let somebody in on the day
    /// without the library.
    fn around(
        &self,
        ours: &[&Rule],
        roles: &[Login],
        open: Vec<Finding>,
    ) -> Result<Vec<Finding>, Box<dyn Error>> {
        let matches = self.matches(roles)?;
        let mut findings: Vec<Finding> = self.tls_off().into_iter().collect();
        let before = self.before_ours(roles, &matches);
        // That one says it already.
        let is_new = |finding: &Finding| !before.iter().any(|line| line.place == finding.place);
        findings.extend(open.into_iter().filter(is_new));
        findings.extend(before.iter().cloned());
        findings.extend(self.without_line(ours, roles, &matches));
        findings.extend(ours.iter().filter_map(|rule| self.without_tls(rule)));
        findings.extend(self.oauth_mistakes());
        findings.extend(self.other_validators(roles, &matches));
        Ok(findings)
    }

    fn invalid(&self) -> Vec<Finding> {
        let invalid = self.rules.iter().filter(|rule| rule.auth_method.is_none());
        invalid
            .map(|rule| {
                let error = rule.error.as_deref().unwrap_or("it can't be read");
                self.not_allowed(rule, error).unwrap_or_else(|| {
                    Finding::new(
                        Code::HbaLineInvalid,
                        self.place(rule),
                        format!("The server can't read the line: {error}. A reload keeps the old lines, a restart fails."),
                        "Mend the line, and reload.",
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
                "The lines in force are those of {}, which another library has set. Everybody is refused on its trust \
                 lines.",
                self.path
            ),
            "Name aadauth last in shared_preload_libraries, and restart.",
        )
    }

    fn missing(&self) -> Finding {
        Finding::new(
            Code::HbaLineMissing,
            self.path.clone(),
            "No line asks for a token, so mapped roles are refused on every line.",
            format!(
                "Add the line \"{}\" above the lines that take all roles, and reload.",
                our_line()
            ),
        )
    }

    fn tls_off(&self) -> Option<Finding> {
        let rule = self
            .lines()
            .find(|rule| rule.kind.as_deref() == Some("hostssl"))?;
        (!self.has_tls).then(|| {
            Finding::new(
                Code::TlsOff,
                "ssl",
                format!(
                    "TLS is switched off, so no connection matches the hostssl line {}.",
                    rule.line_number
                ),
                "Set ssl to on, with ssl_cert_file and ssl_key_file, and reload.",
            )
        })
    }

    /// Lines that take mapped roles before ours can. One that only refuses is meant to.
    fn before_ours(&self, roles: &[Login], matches: &Matches) -> Vec<Finding> {
        // By others no token comes anyway.
        let transports = match settings::require_tls() {
            true => transport::TLS | transport::LOCAL,
            false => u8::MAX,
        };
        let lines: Vec<&Rule> = self.lines().collect();
        let mut findings = Vec::new();
        for (index, rule) in lines.iter().enumerate() {
            // Of other validators' lines other_validators speaks.
            if is_ours(rule) || matches!(rule.method(), "reject" | "oauth") {
                continue;
            }
            let later = || lines.iter().skip(index).filter(|later| is_ours(later));
            let taken = |role: &Login| {
                let takes = |later: &&&Rule| {
                    later.takes(role, matches) && rule.overlaps(later, role, transports)
                };
                rule.takes(role, matches)
                    .then(|| later().find(takes))
                    .flatten()
            };
            let caught: Vec<(&Login, &&Rule)> = roles
                .iter()
                .filter_map(|role| taken(role).map(|later| (role, later)))
                .collect();
            let (whom, ours) = match caught.first() {
                Some((_, ours)) => {
                    let names: Vec<&str> =
                        caught.iter().map(|(role, _)| role.name.as_str()).collect();
                    (format!("mapped roles: {}", list(&names)), **ours)
                }
                // Nobody is mapped yet, and whoever will be, will be caught.
                None if roles.is_empty() && rule.takes_everybody() => {
                    match taken(&Login::default()) {
                        Some(ours) => ("all roles".to_owned(), *ours),
                        None => continue,
                    }
                }
                None => continue,
            };
            findings.push(self.before(rule, ours, &whom));
        }
        findings
    }

    fn before(&self, rule: &Rule, ours: &Rule, whom: &str) -> Finding {
        let (line, later) = (rule.line_number, ours.line_number);
        Finding::new(
            Code::HbaLineBefore,
            self.place(rule),
            format!(
                "Line {line} ({}) takes connections before line {later} can ask for a token, of {whom}. Mapped roles \
                 are refused on it.",
                rule.method()
            ),
            format!(
                "Move line {later} above line {line}, or let line {line} name the local roles that it is for; reload."
            ),
        )
    }

    fn without_line(&self, ours: &[&Rule], roles: &[Login], matches: &Matches) -> Option<Finding> {
        let names: Vec<&str> = roles
            .iter()
            .filter(|role| !ours.iter().any(|rule| rule.takes(role, matches)))
            .map(|role| role.name.as_str())
            .collect();
        (!names.is_empty()).then(|| {
            Finding::new(
                Code::HbaRoleWithoutLine,
                self.path.clone(),
                format!("No line asks for the token of the mapped roles {}.", list(&names)),
                format!(
                    "Let a line of this library's, such as \"{}\", take them (\"all\" in its third field does), and reload.",
                    our_line()
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
                    "The line is for {} connections: on those without TLS, mapped roles are refused, and clients are not \
                     made to use it.",
                    rule.kind.as_deref().unwrap_or_default()
                ),
                "Write hostssl in place of its first word, and reload.",
            )
        })
    }

    /// Which of the roles match the regular expressions in user fields, by the server's own engine.
    fn matches(&self, roles: &[Login]) -> Result<Matches, Box<dyn Error>> {
        let mut matches = Matches::new();
        // Before 16 a name may begin with a slash.
        if cfg!(feature = "pg15") {
            return Ok(matches);
        }
        let names: Vec<String> = roles.iter().map(|role| role.name.clone()).collect();
        for user in self
            .lines()
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
