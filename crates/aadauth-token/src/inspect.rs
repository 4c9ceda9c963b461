//! Judges an access token without a server, as the server would, and says which check it fails.
//!
//! Reads the token from standard input and the signing keys from a file. Shows no part of the
//! token, so that what it prints can go into a support ticket.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use entra_token::{
    Audience, Authority, Check, Claims, Cloud, Envelope, Jws, KeySet, KeySetError, Mapping, Policy,
    PrincipalKind, Reason, SigningKey, judge, judge_token,
};
use uuid::Uuid;
use zeroize::Zeroizing;

pub const AFTER_HELP: &str = "\
The last line is `accepted`, or `refused: ` and a reason code, and the exit status 0 or 1. Wrong
usage and unreadable files end with status 2.

One line feed behind the token is ignored. Get the keys with the jwks_uri of
https://login.microsoftonline.com/TENANT/.well-known/openid-configuration (v1 tokens) or
https://login.microsoftonline.com/TENANT/v2.0/.well-known/openid-configuration (v2 tokens).";

#[derive(Debug, Args)]
pub struct Options {
    /// JWK set with the signing keys of the token's issuer
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,

    /// The tenant that the server trusts
    #[arg(long, value_name = "GUID", env = "AZURE_TENANT_ID", value_parser = guid,
        required_unless_present = "signature_only")]
    tenant: Option<Uuid>,

    /// Resource that the token must be meant for: application id URI, application id, or `ossrdbms`
    /// for Azure's database resource; may be repeated
    #[arg(
        long,
        value_name = "URI",
        env = "AADAUTH_AUDIENCE",
        required_unless_present = "signature_only"
    )]
    audience: Vec<String>,

    /// Judge as of this moment instead of now, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "RFC3339", value_parser = moment)]
    at: Option<i64>,

    /// Judge for a role that is mapped to this sort of principal: user, group or service
    #[arg(long = "type", value_name = "TYPE", requires = "oid")]
    kind: Option<PrincipalKind>,

    /// The object id in the role's label; for a service, its application id will do
    #[arg(long, value_name = "GUID", value_parser = guid, requires = "kind")]
    oid: Option<Uuid>,

    /// Judge for a role whose label has the member `mfa`
    #[arg(long, requires = "oid")]
    mfa: bool,

    /// Cloud of the tenant: public, usgov or china
    #[arg(long, default_value = "public")]
    cloud: Cloud,

    /// Issuer of one's own instead of Microsoft's, https://host[:port]
    #[arg(long, value_name = "URL")]
    authority_host: Option<String>,

    /// Seconds by which clocks may differ, as the server's setting
    #[arg(long, value_name = "SECONDS", default_value_t = Policy::DEFAULT_CLOCK_SKEW,
        value_parser = clap::value_parser!(i64).range(0..=Policy::MAX_CLOCK_SKEW))]
    clock_skew: i64,

    /// Size of the longest token that is looked at, as the server's setting
    #[arg(long, value_name = "BYTES", default_value_t = Policy::DEFAULT_MAX_TOKEN_SIZE as u32,
        value_parser = clap::value_parser!(u32).range(1..=Policy::LARGEST_TOKEN_SIZE as i64))]
    max_token_size: u32,

    /// Seconds that a token may live, as the server's setting
    #[arg(long, value_name = "SECONDS", default_value_t = Policy::DEFAULT_MAX_TOKEN_LIFETIME,
        value_parser = clap::value_parser!(i64).range(1..))]
    max_token_lifetime: i64,

    /// Judge only header and signature and leave the payload unread
    ///
    /// For test vectors that are no access tokens: any payload will do, an empty one too, the
    /// header need not have a `typ`, and the `issuer` of keys does not count. The header still
    /// needs a `kid` that the key set has.
    #[arg(long, conflicts_with_all = ["kind", "oid", "mfa"])]
    signature_only: bool,
}

/// Judges the token on `input` and reports on `output`; gives the reason of a refusal.
///
/// # Errors
///
/// A file or standard input cannot be read, or standard output not written.
pub fn run(
    options: &Options,
    input: &mut impl Read,
    output: &mut impl Write,
) -> Result<Option<Reason>, String> {
    let jwks = std::fs::read(&options.keys).map_err(|error| named(&options.keys, error))?;
    let keys = SigningKey::read_all(&jwks);
    if let Err(error @ KeySetError::Malformed) = keys {
        return Err(named(&options.keys, error));
    }
    let token = read_token(input).map_err(|error| format!("standard input: {error}"))?;
    let mut report = Report::default();
    let refusal = if options.signature_only {
        report.signature_only(&token, keys, options.max_token_size as usize)
    } else {
        let (policy, now) = (options.policy()?, options.at.map_or_else(now, Ok)?);
        report.whole_token(&token, &policy, &jwks, options.mapping().as_ref(), now)
    };
    report
        .write(refusal, output)
        .map_err(|error| format!("standard output: {error}"))?;
    Ok(refusal)
}

impl Options {
    fn policy(&self) -> Result<Policy, String> {
        let authority = Authority::new(self.cloud, self.authority_host.as_deref())
            .map_err(|error| format!("--authority-host: {error}"))?;
        let audiences = Audience::parse_list(&self.audience.join(","), self.cloud)
            .map_err(|error| format!("--audience: {error}"))?;
        let tenant = self.tenant.ok_or("--tenant is missing")?;
        Ok(Policy {
            clock_skew: self.clock_skew,
            max_token_size: self.max_token_size as usize,
            max_token_lifetime: self.max_token_lifetime,
            ..Policy::new(tenant, authority, audiences)
        })
    }

    fn mapping(&self) -> Option<Mapping> {
        Some(Mapping {
            kind: self.kind?,
            object_id: self.oid?,
            tenant: self.tenant?,
            admin: false,
            mfa: self.mfa,
        })
    }
}

/// The checks made so far.
#[derive(Default)]
struct Report {
    lines: Vec<(&'static str, String)>,
    /// Why the key file holds no keys for the token.
    key_problem: Option<KeySetError>,
}

impl Report {
    /// Steps 2 and 3 of a sign-in without what needs the payload.
    fn signature_only(
        &mut self,
        token: &[u8],
        keys: Result<Vec<SigningKey>, KeySetError>,
        max_size: usize,
    ) -> Option<Reason> {
        let verify = || {
            let jws = Jws::parse(token, max_size)?;
            let keys = self.usable(keys)?;
            let key = keys.iter().find(|key| key.key_id == jws.key_id());
            jws.verify(key.ok_or(Reason::KeyUnknown)?)
        };
        let refusal = verify().err();
        self.form_and_signature(&["form", "header", "signing key", "signature"], refusal);
        self.lines.push(("payload", "not read".to_owned()));
        refusal
    }

    /// All of a sign-in that can be judged offline.
    fn whole_token(
        &mut self,
        token: &[u8],
        policy: &Policy,
        jwks: &[u8],
        mapping: Option<&Mapping>,
        now: i64,
    ) -> Option<Reason> {
        let verified = self.verify(token, policy, jwks);
        self.form_and_signature(
            &[
                "form",
                "header",
                "claims well-formed",
                "issuer served",
                "signing key",
                "signature",
            ],
            verified.as_ref().err().copied(),
        );
        let claims = match verified {
            Ok(claims) => claims,
            Err(reason) => {
                self.lines
                    .push(("what the claims say", "not reached".to_owned()));
                return Some(reason);
            }
        };
        let judgment = match mapping {
            Some(mapping) => {
                let membership = claims.membership(mapping.object_id);
                judge(policy, mapping, &claims, membership, now)
            }
            None => judge_token(policy, &claims, now),
        };
        for Check { name, outcome } in judgment.checks {
            match outcome {
                Ok(()) => self.pass(name),
                Err(reason) => self.fail(name, reason),
            }
        }
        if mapping.is_none() {
            let skipped = "skipped: they need --type and --oid";
            self.lines
                .push(("checks against a role", skipped.to_owned()));
        }
        judgment.refusal
    }

    /// Steps 2 and 3 of a sign-in, with the keys at hand and no way to get others.
    fn verify(&mut self, token: &[u8], policy: &Policy, jwks: &[u8]) -> Result<Claims, Reason> {
        let envelope = Envelope::parse(token, policy.max_token_size)?;
        let version = envelope.serving_version(policy)?;
        let issuer = policy.authority.issuer(version, policy.tenant);
        let set = self.usable(KeySet::from_jwks(version, &issuer, policy.tenant, jwks))?;
        let key = set.find(envelope.key_id()).ok_or(Reason::KeyUnknown)?;
        envelope.verify(key)
    }

    fn usable<T>(&mut self, keys: Result<T, KeySetError>) -> Result<T, Reason> {
        keys.map_err(|problem| {
            self.key_problem = Some(problem);
            Reason::SigningKeysUnavailable
        })
    }

    /// Reports `checks` as passed, up to the one that `refusal` is about, if there is a refusal.
    fn form_and_signature(&mut self, checks: &[&'static str], refusal: Option<Reason>) {
        let failed = refusal.map(|reason| match reason {
            Reason::TokenTooLarge | Reason::TokenMalformed => "form",
            Reason::ClaimsMalformed => "claims well-formed",
            Reason::IssuerNotServed => "issuer served",
            Reason::KeyUnknown | Reason::SigningKeysUnavailable => "signing key",
            Reason::SignatureInvalid => "signature",
            _ => "header",
        });
        let mut checks = checks.iter().copied();
        for check in checks.by_ref() {
            match refusal {
                Some(reason) if failed == Some(check) => {
                    self.fail(check, reason);
                    break;
                }
                _ => self.pass(check),
            }
        }
        self.lines
            .extend(checks.map(|check| (check, "not reached".to_owned())));
    }

    fn pass(&mut self, check: &'static str) {
        self.lines.push((check, "ok".to_owned()));
    }

    fn fail(&mut self, check: &'static str, reason: Reason) {
        self.lines.push((check, format!("REFUSED: {reason}")));
    }

    fn write(&self, refusal: Option<Reason>, output: &mut impl Write) -> io::Result<()> {
        for (check, outcome) in &self.lines {
            writeln!(output, "{check:<28}  {outcome}")?;
        }
        writeln!(output)?;
        match refusal {
            None => writeln!(output, "accepted"),
            Some(reason) => {
                if let Some(problem) = self.key_problem {
                    writeln!(output, "In the key file, {problem}.")?;
                }
                writeln!(output, "{}", reason.description())?;
                writeln!(output, "refused: {reason}")
            }
        }
    }
}

/// Reads the token, and forgets it when dropped. What is longer than any token stays longer.
fn read_token(input: &mut impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let capacity = Policy::LARGEST_TOKEN_SIZE + 4;
    let mut token = Zeroizing::new(Vec::with_capacity(capacity));
    input.take(capacity as u64 - 1).read_to_end(&mut token)?;
    if token.last() == Some(&b'\n') {
        token.pop();
        if token.last() == Some(&b'\r') {
            token.pop();
        }
    }
    Ok(token)
}

fn now() -> Result<i64, String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .ok_or_else(|| "this machine's clock is before 1970: use --at".to_owned())
}

fn moment(text: &str) -> Result<i64, String> {
    text.parse::<jiff::Timestamp>()
        .map(jiff::Timestamp::as_second)
        .map_err(|_| "not a moment such as 2026-01-31T12:00:00Z".to_owned())
}

fn guid(text: &str) -> Result<Uuid, String> {
    entra_token::guid::parse(text)
        .ok_or_else(|| "not a GUID such as 6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f5".to_owned())
}

fn named(path: &Path, error: impl std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
#[path = "../../entra-token/tests/rules/common.rs"]
mod common;

#[cfg(test)]
mod tests;
