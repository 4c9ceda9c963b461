//! Whether the principal of a verified token may sign in as a role.

use uuid::Uuid;

use crate::authority::TokenVersion;
use crate::claims::{Claims, Membership, TokenKind};
use crate::label::{Mapping, PrincipalKind};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::revocation::REVOCATION_CHECK;

/// Name of the check whether the token's principal is the role's, or in the role's group.
pub const PRINCIPAL_CHECK: &str = "principal";

/// Name of the check whether the token has expired.
pub const EXPIRY_CHECK: &str = "not expired";

/// One rule, and whether the token keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was checked, in a few words.
    pub name: &'static str,
    /// `Ok`, or why not.
    pub outcome: Result<(), Reason>,
}

/// Every rule with its outcome, in the order in which they count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgment {
    /// All checks; none is left out because an earlier one failed.
    pub checks: Vec<Check>,
    /// Why the sign-in is refused: the first check that failed.
    pub refusal: Option<Reason>,
}

impl Judgment {
    fn of(checks: Vec<Check>) -> Judgment {
        let refusal = checks.iter().find_map(|check| check.outcome.err());
        Judgment { checks, refusal }
    }

    /// Adds the last check: that the sign-in is not revoked ([`crate::RevocableIds`]).
    ///
    /// To be asked before [`Judgment::hinges_on_membership`]: about who is revoked, no directory is
    /// asked.
    #[must_use]
    pub fn with_revocation(mut self, is_revoked: bool) -> Judgment {
        let outcome = if is_revoked {
            Err(Reason::Revoked)
        } else {
            Ok(())
        };
        self.checks.push(check(REVOCATION_CHECK, outcome));
        Judgment::of(self.checks)
    }

    /// Leaves it out that the token has expired: the caller knows that it was accepted before, and by whom it is
    /// presented again.
    #[must_use]
    pub fn with_expiry_excused(mut self) -> Judgment {
        for check in &mut self.checks {
            if check.outcome == Err(Reason::Expired) {
                check.outcome = Ok(());
            }
        }
        Judgment::of(self.checks)
    }

    /// Whether nothing is against the sign-in but that it is not known yet whether the principal is
    /// in the role's group. Then, and only then, is a directory worth asking: of a principal whose
    /// token fails otherwise nothing more is to be found out.
    pub fn hinges_on_membership(&self) -> bool {
        let failed = self.checks.iter().filter_map(|check| check.outcome.err());
        failed.eq([Reason::GroupsUnknown])
    }
}

/// Judges a verified token for a role.
///
/// `membership` is whether the token's principal is in the mapping's group, from the token
/// ([`Claims::membership`]) or from the directory; it matters to group roles only. `now` is in Unix
/// seconds.
///
/// Revocations are the server's to know, which adds them ([`Judgment::with_revocation`]).
pub fn judge(
    policy: &Policy,
    mapping: &Mapping,
    claims: &Claims,
    membership: Membership,
    now: i64,
) -> Judgment {
    let [issuer, version, tenant_of_token] = origin(policy, claims);
    let mut checks = vec![
        issuer,
        version,
        tenant_of_token,
        check("tenant of the role", tenant(mapping.tenant, claims)),
    ];
    checks.extend(audience_and_times(policy, claims, now));
    checks.extend(kind_and_client(claims));
    checks.extend([
        check("type matches role", suits(mapping.kind, claims)),
        check("object id", object_id(claims)),
        check(PRINCIPAL_CHECK, principal(mapping, claims, membership)),
        check("multi-factor", mfa(mapping, claims)),
    ]);
    Judgment::of(checks)
}

/// Judges what can be judged of a verified token without a role: all of [`judge`] but the rules
/// that need a mapping.
pub fn judge_token(policy: &Policy, claims: &Claims, now: i64) -> Judgment {
    let mut checks = origin(policy, claims).to_vec();
    checks.extend(audience_and_times(policy, claims, now));
    checks.extend(kind_and_client(claims));
    checks.push(check("object id", object_id(claims)));
    Judgment::of(checks)
}

fn check(name: &'static str, outcome: Result<(), Reason>) -> Check {
    Check { name, outcome }
}

fn origin(policy: &Policy, claims: &Claims) -> [Check; 3] {
    [
        check("issuer", issuer(policy, claims)),
        check("version", version(policy, claims)),
        check("tenant", tenant(policy.tenant, claims)),
    ]
}

fn audience_and_times(policy: &Policy, claims: &Claims, now: i64) -> [Check; 6] {
    [
        check("audience", audience(policy, claims)),
        check("times present", times(claims).map(|_| ())),
        check(EXPIRY_CHECK, claims.check_expiry(policy, now)),
        check("already valid", not_before(policy, claims, now)),
        check("issued in the past", issued_at(policy, claims, now)),
        check("lifetime", lifetime(policy, claims)),
    ]
}

fn kind_and_client(claims: &Claims) -> [Check; 2] {
    let kind = claims.kind().map(|_| ()).ok_or(Reason::TokenKindUnknown);
    let client = claims.appid().map(|_| ()).ok_or(Reason::ClientIdMissing);
    [check("token kind", kind), check("client id", client)]
}

/// `iss` is byte for byte the issuer of our tenant, of either version.
fn issuer(policy: &Policy, claims: &Claims) -> Result<(), Reason> {
    claims
        .issuing_version(policy)
        .map(|_| ())
        .ok_or(Reason::IssuerMismatch)
}

/// `ver` is the version that the issuer issues.
fn version(policy: &Policy, claims: &Claims) -> Result<(), Reason> {
    match claims.version() {
        Some(version) if claims.issuing_version(policy) == Some(version) => Ok(()),
        _ => Err(Reason::VersionMismatch),
    }
}

fn tenant(expected: Uuid, claims: &Claims) -> Result<(), Reason> {
    if claims.tenant() == Some(expected) {
        Ok(())
    } else {
        Err(Reason::TenantMismatch)
    }
}

fn audience(policy: &Policy, claims: &Claims) -> Result<(), Reason> {
    if claims.is_for(policy) {
        Ok(())
    } else {
        Err(Reason::AudienceMismatch)
    }
}

/// `exp`, `nbf` and `iat`, all of them.
fn times(claims: &Claims) -> Result<(i128, i128, i128), Reason> {
    match (claims.exp(), claims.nbf(), claims.iat()) {
        (Some(exp), Some(nbf), Some(iat)) => Ok((exp.into(), nbf.into(), iat.into())),
        _ => Err(Reason::TimeClaimsMissing),
    }
}

fn not_before(policy: &Policy, claims: &Claims, now: i64) -> Result<(), Reason> {
    let (_, nbf, _) = times(claims)?;
    let latest = i128::from(now) + i128::from(policy.clock_skew);
    if latest >= nbf {
        Ok(())
    } else {
        Err(Reason::NotYetValid)
    }
}

fn issued_at(policy: &Policy, claims: &Claims, now: i64) -> Result<(), Reason> {
    let (_, _, iat) = times(claims)?;
    let latest = i128::from(now) + i128::from(policy.clock_skew);
    if iat <= latest {
        Ok(())
    } else {
        Err(Reason::IssuedInFuture)
    }
}

fn lifetime(policy: &Policy, claims: &Claims) -> Result<(), Reason> {
    let (exp, nbf, _) = times(claims)?;
    let lifetime = exp - nbf;
    if lifetime > 0 && lifetime <= i128::from(policy.max_token_lifetime) {
        Ok(())
    } else {
        Err(Reason::LifetimeTooLong)
    }
}

/// User roles take delegated tokens, service roles app-only ones, group roles both.
fn suits(role: PrincipalKind, claims: &Claims) -> Result<(), Reason> {
    match (role, claims.kind().ok_or(Reason::TokenKindUnknown)?) {
        (PrincipalKind::User, TokenKind::AppOnly) => Err(Reason::UserTokenRequired),
        (PrincipalKind::Service, TokenKind::Delegated) => Err(Reason::ServiceTokenRequired),
        (PrincipalKind::User, TokenKind::Delegated)
        | (PrincipalKind::Service, TokenKind::AppOnly)
        | (PrincipalKind::Group, _) => Ok(()),
    }
}

/// Every token needs an `oid`, those for group roles too: it is what the audit names and what a
/// revocation is matched on. (An application without a service principal in the tenant gets tokens
/// without one.)
fn object_id(claims: &Claims) -> Result<(), Reason> {
    claims.oid().map(|_| ()).ok_or(Reason::ObjectIdMissing)
}

/// The token's principal is the role's.
fn principal(mapping: &Mapping, claims: &Claims, membership: Membership) -> Result<(), Reason> {
    let oid = claims.oid().ok_or(Reason::ObjectIdMissing)?;
    let is_principal = match mapping.kind {
        PrincipalKind::User => oid == mapping.object_id,
        // People put either id of an application in its label, as on Azure.
        PrincipalKind::Service => {
            oid == mapping.object_id || claims.appid() == Some(mapping.object_id)
        }
        PrincipalKind::Group => {
            return match membership {
                Membership::Member => Ok(()),
                Membership::NotMember => Err(Reason::NotAGroupMember),
                Membership::Unknown => Err(Reason::GroupsUnknown),
                Membership::Unanswered(reason) => Err(reason),
            };
        }
    };
    if is_principal {
        Ok(())
    } else {
        Err(Reason::ObjectIdMismatch)
    }
}

/// Where the role asks for it, the user authenticated with more than one factor.
///
/// Only v1 tokens say so, in `amr`. In v2 the way is a conditional access policy on the resource,
/// of which the token shows nothing.
fn mfa(mapping: &Mapping, claims: &Claims) -> Result<(), Reason> {
    if !mapping.mfa {
        return Ok(());
    }
    match claims.version() {
        Some(TokenVersion::V1) if claims.amr().iter().any(|method| method == "mfa") => Ok(()),
        Some(TokenVersion::V2) => Err(Reason::MfaUnprovable),
        _ => Err(Reason::MfaMissing),
    }
}
