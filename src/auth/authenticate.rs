//! Mapped roles: role → label → token → claims → principal → verdict.

use std::time::Instant;

use entra_token::{
    Claims, EXPIRY_CHECK, Envelope, Judgment, Mapping, Membership, Policy, PrincipalKind, Reason,
    RevocableIds, SigningKey, TokenVersion, judge,
};
use zeroize::Zeroizing;

use super::refusal::Refusal;
use super::verdict::{Accepted, Verdict};
use super::{grace, membership, record, trusted_pooler};
use crate::audit::{EventCheck, EventMembership, MembershipSource};
use crate::identity::Identity;
use crate::pg::connection::{self, Connection, TokenResponse};
use crate::pg::role::Role;
use crate::settings::{self, Authentication};
use crate::shared::keys::table::Lookup;
use crate::text::SanitizedText;
use crate::{clock, keys, sessions};

/// Where the token comes from.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// The client is asked for it, unless the sign-in is refused first.
    Prompt,
    /// The client has already sent it.
    Sent(&'a [u8]),
    /// A pooler's client has, and the pooler asks.
    Pooled(&'a [u8]),
}

impl Source<'_> {
    fn read(self, limit: usize) -> TokenResponse {
        match self {
            Source::Prompt => connection::request_token(limit),
            Source::Sent(token) | Source::Pooled(token) if token.len() > limit => {
                TokenResponse::TooLong
            }
            Source::Sent(token) | Source::Pooled(token) => {
                TokenResponse::Token(Zeroizing::new(token.to_vec()))
            }
        }
    }

    /// Whether the decision may wait for keys and revocations. A pooler would keep all its other clients waiting.
    fn waits(self) -> bool {
        !matches!(self, Source::Pooled(_))
    }

    /// The role of the trusted pooler that has opened the connection, or that asks.
    fn trusted_pooler(self) -> Option<String> {
        match self {
            Source::Pooled(_) => trusted_pooler::asking(),
            Source::Prompt | Source::Sent(_) => trusted_pooler::of_connection(),
        }
    }

    /// Adds for the log that a token that was already sent without TLS may be disclosed.
    fn with_source_detail(self, refusal: Refusal) -> Refusal {
        match (self, refusal.reason) {
            (Source::Sent(_), Reason::TlsRequired) => refusal.with_detail(
                "The client had already sent the token. It may have been disclosed, and is valid until it expires. \
                 Change the type of the pg_hba.conf record to hostssl.",
            ),
            _ => refusal,
        }
    }
}

/// Judges the client's token. A role that does not exist is refused like one that is not mapped.
pub fn with_token(source: Source<'_>, connection: &Connection, role: Option<Role>) -> Verdict {
    let mut start = Instant::now();
    let mut identity = None;
    let mut noted = Vec::new();
    let mut presented = None;
    let pooler = source.trusted_pooler();
    let prepared = prepare(connection, role.as_ref(), source, pooler.is_some())
        .map_err(|refusal| source.with_source_detail(refusal));
    let outcome = prepared.and_then(|(role, mapping, policy)| {
        let response = source.read(policy.max_token_size);
        // The time spent waiting for the client is not counted.
        start = Instant::now();
        let token = match response {
            TokenResponse::Token(token) => token,
            TokenResponse::Gone => return Err(Refusal::new(Reason::NoPassword, &connection.role)),
            TokenResponse::TooLong => {
                return Err(Refusal::new(Reason::TokenTooLarge, &connection.role));
            }
            TokenResponse::Unusable => {
                return Err(Refusal::new(Reason::TokenMalformed, &connection.role));
            }
        };
        let now = clock::micros() / 1_000_000;
        let (claims, key) = verify(&token, &policy, now, source.waits()).map_err(|reason| {
            let malformed = (reason == Reason::ClaimsMalformed)
                .then(|| Envelope::malformed_claim(&token, policy.max_token_size));
            Refusal::new(reason, &connection.role).with_claim(malformed.flatten())
        })?;
        presented = pooler
            .as_deref()
            .and_then(|pooler| grace::digest(pooler, &connection.role, &token));
        // Wiped here, before anything that may end the process.
        drop(token);
        identity = Some(Identity::new(&claims, &key.key_id, policy.tenant));
        // A pooler's client needs a valid one.
        let is_excused = !matches!(source, Source::Pooled(_))
            && presented.as_ref().is_some_and(|token| {
                claims.check_expiry(&policy, now) == Err(Reason::Expired)
                    && grace::excuses_expiry(&claims, now, &mapping, role, token)
            });
        let question = Question {
            mapping: &mapping,
            claims: &claims,
            policy: &policy,
            is_excused,
            waits: source.waits(),
        };
        noted = question.compare(now, &connection.role)?;
        may_log_in(role).map_err(|reason| Refusal::new(reason, &connection.role))?;
        Ok(Accepted::Token(mapping))
    });
    Verdict {
        outcome,
        identity,
        noted,
        pooler,
        presented,
        took: start.elapsed(),
        role,
    }
}

/// What can be refused before the token is requested: no token is sent over a connection that may not carry it.
///
/// `is_trusted` is whether it is for a trusted pooler.
fn prepare<'a>(
    connection: &Connection,
    role: Option<&'a Role>,
    source: Source<'_>,
    is_trusted: bool,
) -> Result<(&'a Role, Mapping, Policy), Refusal> {
    let checked = || {
        if settings::authentication() == Authentication::Postgresql {
            return Err(Reason::EntraDisabled);
        }
        let policy = settings::policy()?;
        let role = role.ok_or(Reason::RoleNotMapped)?;
        let mapping =
            Mapping::from_labels(role.public_label.as_deref(), role.internal_label.as_deref())?
                .ok_or(Reason::RoleNotMapped)?;
        if settings::require_tls() && !connection.tls && !connection.local_socket {
            return Err(Reason::TlsRequired);
        }
        // Also on the connections that the pooler then opens, in case that it does not ask.
        let is_pooled = is_trusted || matches!(source, Source::Pooled(_));
        let may_be_shared = is_trusted && settings::pooler_group_roles();
        if mapping.kind == PrincipalKind::Group && is_pooled && !may_be_shared {
            return Err(Reason::PooledGroupRole);
        }
        if source.waits() {
            sessions::await_revocations()?;
        }
        Ok((role, mapping, policy))
    };
    checked().map_err(|reason| Refusal::new(reason, &connection.role))
}

/// What only those are told who have proved that the role is theirs.
fn may_log_in(role: &Role) -> Result<(), Reason> {
    if !role.can_login {
        return Err(Reason::RoleNotLogin);
    }
    if role.expired {
        return Err(Reason::RoleExpired);
    }
    Ok(())
}

/// Checks the token's form, its key and its signature (`Step::Envelope` and `Step::Signature`).
fn verify(
    token: &[u8],
    policy: &Policy,
    now: i64,
    waits: bool,
) -> Result<(Claims, SigningKey), Reason> {
    #[cfg(feature = "fault-injection")]
    crate::pg::fault::inject();
    let envelope = Envelope::parse(token, policy.max_token_size)?;
    let version = envelope.serving_version(policy)?;
    let key = signing_key(&envelope, version, policy, now, waits)?;
    Ok((envelope.verify(&key)?, key))
}

/// The key that the token names. If it is not known and the token is plausible, the worker fetches the keys again.
fn signing_key(
    envelope: &Envelope<'_>,
    version: TokenVersion,
    policy: &Policy,
    now: i64,
    waits: bool,
) -> Result<SigningKey, Reason> {
    let issuer = policy.authority.issuer(version, policy.tenant);
    let find = || keys::find(version, &issuer, envelope.key_id());
    let missing = match find() {
        Lookup::Found(key) => return Ok(key),
        Lookup::Unknown => Reason::KeyUnknown,
        Lookup::Unavailable => keys::why_unavailable(),
    };
    if envelope.plausible(policy, now).is_err() {
        return Err(missing);
    }
    // Without any keys, that is the reason that administrators need to see, not that a new fetch has to wait.
    keys::refresh(envelope.key_id(), waits).map_err(|reason| {
        if missing == Reason::KeyUnknown {
            reason
        } else {
            missing
        }
    })?;
    match find() {
        Lookup::Found(key) => Ok(key),
        Lookup::Unknown => Err(Reason::KeyUnknown),
        Lookup::Unavailable => Err(keys::why_unavailable()),
    }
}

/// What the verified token is compared with.
struct Question<'a> {
    mapping: &'a Mapping,
    claims: &'a Claims,
    policy: &'a Policy,
    /// Whether the token may have expired.
    is_excused: bool,
    /// Whether the decision may wait for the directory.
    waits: bool,
}

impl Question<'_> {
    /// Compares the token with the role's label, by all further steps. Of an accepted sign-in, returns the checks that the
    /// audit keeps: how the membership in the group is known, and that the token has expired.
    ///
    /// The directory is asked last, when every other check has passed.
    fn compare(&self, now: i64, role: &str) -> Result<Vec<EventCheck>, Refusal> {
        let group = self.mapping.object_id;
        let claimed = match self.claims.membership(group) {
            // Assigned groups only, no nested groups, or an older membership: the directory knows more.
            Membership::NotMember
                if !settings::groups_claim_is_complete() && settings::directory().is_some() =>
            {
                Membership::Unknown
            }
            claimed => claimed,
        };
        let mut source = match claimed {
            Membership::Unknown if self.claims.has_group_names() => MembershipSource::Names,
            _ => MembershipSource::Claim,
        };
        let mut problem = None;
        let mut judgment = self.judge(claimed, now, role)?;
        if judgment.hinges_on_membership()
            && let Some(known) = membership::look_up(self.claims, group, self.waits)
        {
            // The look-up may have taken a while: the token is judged as of now.
            let now = clock::micros() / 1_000_000;
            judgment = self.judge(known.membership, now, role)?;
            (source, problem) = (known.source, known.problem);
        }
        let is_group_role = self.mapping.kind == PrincipalKind::Group;
        let asked = is_group_role.then_some(EventMembership { group, source });
        let mut checks = record::checks(&judgment, asked);
        let Some(reason) = judgment.refusal else {
            checks.retain(|check| check.membership.is_some());
            if self.is_excused {
                checks.push(EventCheck {
                    name: SanitizedText::from(EXPIRY_CHECK),
                    reason: Some(Reason::Expired),
                    membership: None,
                });
            }
            return Ok(checks);
        };
        let refusal = Refusal::new(reason, role).with_checks(checks);
        Err(match problem {
            Some(problem) => refusal.with_detail(&problem),
            None => refusal.with_claim(self.claims.mistyped(reason)),
        })
    }

    fn judge(&self, membership: Membership, now: i64, role: &str) -> Result<Judgment, Refusal> {
        let is_revoked = match RevocableIds::of(self.mapping, self.claims) {
            Some(ids) => sessions::is_revoked(&ids).map_err(|reason| Refusal::new(reason, role))?,
            None => false,
        };
        let judgment = judge(self.policy, self.mapping, self.claims, membership, now);
        let judgment = if self.is_excused {
            judgment.with_expiry_excused()
        } else {
            judgment
        };
        Ok(judgment.with_revocation(is_revoked))
    }
}
