//! Mapped roles: role → label → token → claims → principal → verdict.

use std::time::Instant;

use entra_token::{
    Claims, Envelope, Judgment, Mapping, Membership, Policy, PrincipalKind, Reason, RevocableIds,
    SigningKey, TokenVersion, judge,
};

use zeroize::Zeroizing;

use super::refusal::Refusal;
use super::verdict::{Accepted, Verdict};
use super::{membership, record};
use crate::audit::{EventCheck, EventMembership, MembershipSource};
use crate::identity::Identity;
use crate::pg::connection::{self, Answer, Connection};
use crate::pg::role::Role;
use crate::settings::{self, Authentication};
use crate::shared::keys::table::Lookup;
use crate::{clock, keys, sessions};

/// Where the token comes from.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// The client is asked for it, unless that is refused first.
    Prompt,
    /// The client has sent it, before anything could be refused.
    Sent(&'a [u8]),
}

impl Source<'_> {
    fn read(self, limit: usize) -> Answer {
        match self {
            Source::Prompt => connection::ask_for_token(limit),
            Source::Sent(token) if token.len() > limit => Answer::TooLong,
            Source::Sent(token) => Answer::Token(Zeroizing::new(token.to_vec())),
        }
    }

    /// Says in the log what a refusal before the token was read can't undo.
    fn comment(self, refusal: Refusal) -> Refusal {
        match (self, refusal.reason) {
            (Source::Sent(_), Reason::TlsRequired) => refusal.with_detail(
                "The client sent it all the same: whoever listened has it until it expires. Write hostssl in place of \
                 the first word of the pg_hba.conf line.",
            ),
            _ => refusal,
        }
    }
}

/// Judges the client's token. A role that doesn't exist is refused as one that is not mapped.
pub fn judge_from(source: Source<'_>, connection: &Connection, role: Option<Role>) -> Verdict {
    let mut start = Instant::now();
    let mut identity = None;
    let mut membership = None;
    let prepared = prepare(connection, role.as_ref()).map_err(|refusal| source.comment(refusal));
    let outcome = prepared.and_then(|(mapping, policy)| {
        let answer = source.read(policy.max_token_size);
        // The client's time is not ours.
        start = Instant::now();
        let token = match answer {
            Answer::Token(token) => token,
            Answer::Gone => return Err(Refusal::new(Reason::NoPassword, &connection.role)),
            Answer::TooLong => return Err(Refusal::new(Reason::TokenTooLarge, &connection.role)),
            Answer::Unusable => return Err(Refusal::new(Reason::TokenMalformed, &connection.role)),
        };
        let now = clock::micros() / 1_000_000;
        let (claims, key) = verify(&token, &policy, now)
            .map_err(|reason| Refusal::new(reason, &connection.role))?;
        // Wiped here, before anything that may end the process.
        drop(token);
        identity = Some(Identity::new(&claims, &key.key_id, policy.tenant));
        membership = compare(&mapping, &claims, &policy, now, &connection.role)?;
        Ok(Accepted::Token(mapping))
    });
    Verdict {
        role,
        outcome,
        identity,
        membership,
        took: start.elapsed(),
    }
}

/// What can be refused without asking: no token crosses a connection that may not carry it.
fn prepare(connection: &Connection, role: Option<&Role>) -> Result<(Mapping, Policy), Refusal> {
    let checked = || {
        if settings::authentication() == Authentication::Postgresql {
            return Err(Reason::EntraDisabled);
        }
        let policy = settings::policy()?;
        let role = role.ok_or(Reason::RoleNotMapped)?;
        let mapping =
            Mapping::from_labels(role.public_label.as_deref(), role.internal_label.as_deref())?
                .ok_or(Reason::RoleNotMapped)?;
        if !role.can_login {
            return Err(Reason::RoleNotLogin);
        }
        if role.expired {
            return Err(Reason::RoleExpired);
        }
        if settings::require_tls() && !connection.tls && !connection.local_socket {
            return Err(Reason::TlsRequired);
        }
        sessions::await_revocations()?;
        Ok((mapping, policy))
    };
    checked().map_err(|reason| Refusal::new(reason, &connection.role))
}

/// Steps 2 and 3: the token's form, its key, its signature.
fn verify(token: &[u8], policy: &Policy, now: i64) -> Result<(Claims, SigningKey), Reason> {
    #[cfg(feature = "fault-injection")]
    crate::pg::fault::inject();
    let envelope = Envelope::parse(token, policy.max_token_size)?;
    let version = envelope.serving_version(policy)?;
    let key = signing_key(&envelope, version, policy, now)?;
    Ok((envelope.verify(&key)?, key))
}

/// The key that the token names. A plausible token whose key we don't have makes the worker look once more.
fn signing_key(
    envelope: &Envelope<'_>,
    version: TokenVersion,
    policy: &Policy,
    now: i64,
) -> Result<SigningKey, Reason> {
    let issuer = policy.authority.issuer(version, policy.tenant);
    let find = || keys::find(version, &issuer, envelope.key_id());
    let missing = match find() {
        Lookup::Found(key) => return Ok(key),
        Lookup::Unknown => Reason::KeyUnknown,
        Lookup::Unavailable(reason) => reason,
    };
    if envelope.plausible(policy, now).is_err() {
        return Err(missing);
    }
    // Without any keys, that is what an administrator must hear of, not that the fetch has to wait.
    keys::refresh().map_err(|reason| {
        if missing == Reason::KeyUnknown {
            reason
        } else {
            missing
        }
    })?;
    match find() {
        Lookup::Found(key) => Ok(key),
        Lookup::Unknown => Err(Reason::KeyUnknown),
        Lookup::Unavailable(reason) => Err(reason),
    }
}

/// Steps 4 to 10: what the verified token says, against what the role's label asks for. For a group role,
/// how the membership is known.
///
/// The directory is asked last, when nothing else stands against the sign-in.
fn compare(
    mapping: &Mapping,
    claims: &Claims,
    policy: &Policy,
    now: i64,
    role: &str,
) -> Result<Option<EventCheck>, Refusal> {
    let group = mapping.object_id;
    let claimed = claims.membership(group);
    let mut source = match claimed {
        Membership::Unknown if claims.has_group_names() => MembershipSource::Names,
        _ => MembershipSource::Claim,
    };
    let mut problem = None;
    let judge = |membership, now| -> Result<Judgment, Refusal> {
        let is_revoked = match RevocableIds::of(mapping, claims) {
            Some(ids) => sessions::is_revoked(&ids).map_err(|reason| Refusal::new(reason, role))?,
            None => false,
        };
        let judgment = judge(policy, mapping, claims, membership, now);
        Ok(judgment.with_revocation(is_revoked))
    };
    let mut judgment = judge(claimed, now)?;
    if judgment.hinges_on_membership()
        && let Some(known) = membership::look_up(claims, group)
    {
        // That may have taken a while: the token is judged as of now.
        let now = clock::micros() / 1_000_000;
        judgment = judge(known.membership, now)?;
        (source, problem) = (known.source, known.problem);
    }
    let asked = (mapping.kind == PrincipalKind::Group).then_some(EventMembership { group, source });
    let checks = record::checks(&judgment, asked);
    let Some(reason) = judgment.refusal else {
        return Ok(checks.into_iter().find(|check| check.membership.is_some()));
    };
    let refusal = Refusal::new(reason, role).with_checks(checks);
    Err(match problem {
        Some(problem) => refusal.with_detail(&problem),
        None => refusal,
    })
}
