//! Lines with OAUTHBEARER: whether the token of a mapped role gets to this library, and its owner in.

use entra_token::TokenVersion;

use super::rule::{Login, Matches, Rule};
use super::{File, is_ours};
use crate::diagnosis::finding::{Code, Finding, list};
use crate::settings;

impl File {
    /// What is wrong with the lines that name this library as their validator.
    pub(super) fn oauth_mistakes(&self) -> Vec<Finding> {
        let ours = self
            .lines()
            .filter(|rule| is_ours(rule) && rule.oauth_validator().is_some());
        ours.flat_map(|rule| [self.without_delegation(rule), self.another_issuer(rule)])
            .flatten()
            .collect()
    }

    fn without_delegation(&self, rule: &Rule) -> Option<Finding> {
        // With a map, somebody means PostgreSQL to compare as well.
        let is_compared =
            rule.option("delegate_ident_mapping").is_none() && rule.option("map").is_none();
        is_compared.then(|| {
            Finding::new(
                Code::OauthWithoutDelegation,
                self.place(rule),
                "PostgreSQL compares the object id of whoever a good token belongs to with the role's name, and refuses.",
                "Add delegate_ident_mapping=1 to the line, and reload: then the role's label decides, as on other lines.",
            )
        })
    }

    /// Clients are told the issuer and get their tokens there.
    fn another_issuer(&self, rule: &Rule) -> Option<Finding> {
        let policy = settings::policy().ok()?;
        let issuer = rule.option("issuer")?;
        let base = issuer
            .find("/.well-known/")
            .map_or(issuer, |end| issuer.get(..end).unwrap_or(issuer));
        let served =
            [TokenVersion::V2, TokenVersion::V1].map(|v| policy.authority.issuer(v, policy.tenant));
        let is_served = served
            .iter()
            .any(|known| known.trim_end_matches('/') == base.trim_end_matches('/'));
        let [own, _] = served;
        (!is_served).then(|| {
            Finding::new(
                Code::OauthIssuerNotServed,
                self.place(rule),
                format!("The line sends clients to {issuer} for their tokens, which this server doesn't accept."),
                format!("Write issuer={own}, and reload."),
            )
        })
    }

    /// Lines by which another library judges the tokens of mapped roles.
    pub(super) fn other_validators(&self, roles: &[Login], matches: &Matches) -> Vec<Finding> {
        let lines: Vec<&Rule> = self.lines().collect();
        let mut findings = Vec::new();
        for (index, rule) in lines.iter().enumerate() {
            let Some(validator) = rule.oauth_validator().filter(|_| !is_ours(rule)) else {
                continue;
            };
            let is_covered = lines.iter().take(index).any(|earlier| earlier.covers(rule));
            let names: Vec<&str> = roles
                .iter()
                .filter(|role| rule.takes(role, matches))
                .map(|role| role.name.as_str())
                .collect();
            if is_covered || names.is_empty() {
                continue;
            }
            findings.push(Finding::new(
                Code::OauthOfAnotherValidator,
                self.place(rule),
                format!(
                    "The validator \"{validator}\" judges the tokens of mapped roles: {}. They are refused on the line, \
                     whatever it says.",
                    list(&names)
                ),
                "Write validator=aadauth delegate_ident_mapping=1 on the line, or let it name the local roles that it is \
                 for; reload.",
            ));
        }
        findings
    }

    /// The server does not know this library as a validator.
    pub(super) fn not_allowed(&self, rule: &Rule, error: &str) -> Option<Finding> {
        let names_us = error.starts_with("validator \"aadauth\" is not permitted")
            || error.starts_with("oauth_validator_libraries must be set");
        names_us.then(|| {
            Finding::new(
                Code::OauthValidatorNotAllowed,
                self.place(rule),
                format!("The server can't use the line: {error}. A reload keeps the old lines, a restart fails."),
                "Set oauth_validator_libraries = 'aadauth' in postgresql.conf (with others after a comma), and reload.",
            )
        })
    }
}
