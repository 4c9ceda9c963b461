//! Mapped roles: role → label → token → claims → principal → verdict.

use std::time::Instant;

use entra_token::{
    Claims, Envelope, Mapping, Policy, PrincipalKind, Reason, SigningKey, TokenVersion,
};

use super::grace;
use super::question::Question;
use super::refusal::Refusal;
use super::source::Source;
use super::verdict::{Accepted, Verdict};
use crate::identity::Identity;
use crate::pg::connection::{Connection, TokenResponse};
use crate::pg::role::Role;
use crate::settings::{self, Authentication};
use crate::shared::keys::table::Lookup;
use crate::{clock, keys, sessions};

/// Judges the client's token. A role that does not exist is refused like one that is not mapped.
pub fn with_token(source: Source<'_>, connection: &Connection, role: Option<Role>) -> Verdict {
    let mut start = Instant::now();
    let mut identity = None;
    let mut noted = Vec::new();
    let (mut presented, mut of_member) = (None, None);
    let pooler = source.trusted_pooler();
    let prepared = prepare(connection, role.as_ref(), source, pooler.is_some())
        .map_err(|refusal| source.with_source_detail(refusal));
    if prepared
        .as_ref()
        .is_err_and(|refusal| refusal.reason == Reason::RoleNotMapped)
    {
        identity = identify(source);
    }
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
        let (claims, key) =
            verify(&token, &policy, now, !source.is_pooled()).map_err(|reason| {
                let malformed = (reason == Reason::ClaimsMalformed)
                    .then(|| Envelope::malformed_claim(&token, policy.max_token_size));
                let refusal = Refusal::new(reason, &connection.role);
                source.with_source_detail(refusal.with_claim(malformed.flatten()))
            })?;
        presented = pooler
            .as_deref()
            .and_then(|pooler| grace::digest(pooler, role, &token));
        of_member = (mapping.kind == PrincipalKind::Group)
            .then(|| grace::digest_of_member(pooler.as_deref(), role, &token))
            .flatten();
        // Wiped here, before anything that may end the process.
        drop(token);
        identity = Some(Identity::new(&claims, &key.key_id, policy.tenant));
        // The pooler's own connection, which is not recognized as such: members would share it under this one's name.
        if pooler.is_none() && of_member.as_ref().is_some_and(grace::was_asked) {
            return Err(
                Refusal::new(Reason::PooledGroupRole, &connection.role).with_detail(
                    "A trusted pooler has asked about this token, but aadauth.poolers does not recognize this connection \
                     as the pooler's.",
                ),
            );
        }
        // A pooler's client needs a valid one.
        let is_excused = !source.is_pooled()
            && presented.as_ref().is_some_and(|token| {
                claims.check_expiry(&policy, now) == Err(Reason::Expired)
                    && grace::excuses_expiry(&claims, now, role, token)
            });
        let question = Question {
            mapping: &mapping,
            claims: &claims,
            policy: &policy,
            is_excused,
            waits: !source.is_pooled(),
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
        of_member,
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
        let may_not_be_shared = if is_trusted {
            !settings::pooler_group_roles()
        } else {
            source.is_pooled()
        };
        if mapping.kind == PrincipalKind::Group && may_not_be_shared {
            return Err(Reason::PooledGroupRole);
        }
        if !source.is_pooled() {
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

/// Whose token was sent for a role that is not mapped, for the audit: auditors are told which role is theirs. No keys
/// are fetched for it.
fn identify(source: Source<'_>) -> Option<Identity> {
    let (Source::Sent(token) | Source::Pooled(token)) = source else {
        return None;
    };
    let policy = settings::policy().ok()?;
    let envelope = Envelope::parse(token, policy.max_token_size).ok()?;
    let version = envelope.serving_version(&policy).ok()?;
    let issuer = policy.authority.issuer(version, policy.tenant);
    let Lookup::Found(key) = keys::find(version, &issuer, envelope.key_id()) else {
        return None;
    };
    let claims = envelope.verify(&key).ok()?;
    Some(Identity::new(&claims, &key.key_id, policy.tenant))
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
