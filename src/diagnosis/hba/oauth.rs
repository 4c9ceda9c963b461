//! Records with OAUTHBEARER: whether they pass the tokens of mapped roles to this library, and whether it can accept them.

use entra_token::TokenVersion;

use super::file::{File, is_own};
use super::rule::{Login, Matches, Rule};
use crate::diagnosis::finding::{Code, Finding, list};
use crate::settings;

impl File {
    /// Problems of the records that name this library as their validator.
    pub(super) fn oauth_problems(&self) -> Vec<Finding> {
        let own = self
            .records()
            .filter(|rule| is_own(rule) && rule.oauth_validator().is_some());
        own.flat_map(|rule| [self.without_delegation(rule), self.another_issuer(rule)])
            .flatten()
            .collect()
    }

    fn without_delegation(&self, rule: &Rule) -> Option<Finding> {
        // With a map, PostgreSQL is meant to compare as well.
        let is_compared =
            rule.option("delegate_ident_mapping").is_none() && rule.option("map").is_none();
        is_compared.then(|| {
            Finding::new(
                Code::OauthWithoutDelegation,
                self.place(rule),
                "PostgreSQL compares the object id in a valid token with the role's name, and refuses.",
                "Add delegate_ident_mapping=1 to the record, and reload. Then the role's label decides, as with other methods.",
            )
        })
    }

    /// Clients request their tokens from the issuer in the record.
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
        let [recommended, _] = served;
        (!is_served).then(|| {
            Finding::new(
                Code::OauthIssuerNotServed,
                self.place(rule),
                format!("The record sends clients to {issuer} for their tokens, which this server does not accept."),
                format!("Write issuer={recommended}, and reload."),
            )
        })
    }

    /// Records by which another library validates the tokens of mapped roles.
    pub(super) fn other_validators(&self, roles: &[Login], matches: &Matches) -> Vec<Finding> {
        let records: Vec<&Rule> = self.records().collect();
        let mut findings = Vec::new();
        for (index, rule) in records.iter().enumerate() {
            let Some(validator) = rule.oauth_validator().filter(|_| !is_own(rule)) else {
                continue;
            };
            let is_covered = records
                .iter()
                .take(index)
                .any(|earlier| earlier.covers(rule));
            let names: Vec<&str> = roles
                .iter()
                .filter(|role| rule.matches_role(role, matches))
                .map(|role| role.name.as_str())
                .collect();
            if is_covered || names.is_empty() {
                continue;
            }
            findings.push(Finding::new(
                Code::OauthOfAnotherValidator,
                self.place(rule),
                format!(
                    "The validator \"{validator}\" validates the tokens of the mapped roles {}. They are refused on the record, \
                     regardless of its result.",
                    list(&names)
                ),
                "Write validator=aadauth delegate_ident_mapping=1 in the record, or restrict it to the local roles that it is \
                 for, and reload.",
            ));
        }
        findings
    }

    /// The server is not configured to use this library as a validator.
    pub(super) fn not_allowed(&self, rule: &Rule, error: &str) -> Option<Finding> {
        let is_own = error.starts_with("validator \"aadauth\" is not permitted")
            || error.starts_with("oauth_validator_libraries must be set");
        is_own.then(|| {
            Finding::new(
                Code::OauthValidatorNotAllowed,
                self.place(rule),
                format!("The server cannot use the record: {error}. A reload keeps the old records, and a restart fails."),
                "Set oauth_validator_libraries = 'aadauth' in postgresql.conf (separate others with commas), and reload.",
            )
        })
    }
}
