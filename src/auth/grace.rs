//! What is remembered of the tokens that trusted poolers asked about: for `aadauth.pooler_token_grace`, and for roles of
//! groups.
//!
//! A pooler opens connections long after its client has signed in, with the token of then. Such a token is accepted only
//! if the same pooler asked about it, for the same role, while it was valid. Everything but the expiry is judged each
//! time. Roles that are administrators or privileged are left out, and so is everybody if sessions end with the token.
//!
//! A pooler whose connections are not recognized would let the members of a group share them under the name of one. So
//! the token of a pooler's client is not accepted for a group's role on another connection.

use entra_token::Claims;

use super::verdict::{Accepted, Verdict};
use crate::pg::role::Role;
use crate::principals::admin;
use crate::settings::{self, SessionExpiry};
use crate::shared::poolers::accepted_tokens::{AcceptedTokens, Digest};
use crate::shared::shmem;
use crate::{clock, pg::server};

/// Draws the secret of this start of the server. For the postmaster. Without one, no token is remembered.
pub fn begin() {
    if let Ok(secret) = server::random() {
        shmem::change_accepted_tokens(|tokens| tokens.begin(secret));
    }
}

/// What is remembered of a token that `pooler` presents for `role`.
pub fn digest(pooler: &str, role: &Role, token: &[u8]) -> Option<Digest> {
    let secret = shmem::accepted_tokens(AcceptedTokens::secret)?;
    Some(Digest::new(&secret, pooler, role.oid.to_u32(), token))
}

/// What is remembered of a token for the role of a group, whichever trusted pooler has asked about it. `None` where no
/// pooler asks and none has asked, as without `aadauth.poolers`.
pub fn digest_of_member(pooler: Option<&str>, role: &Role, token: &[u8]) -> Option<Digest> {
    // What was asked before a change of that setting counts, too: the pooler's clients are still connected.
    if pooler.is_none() && shmem::accepted_tokens(AcceptedTokens::is_empty) {
        return None;
    }
    // No pooler has an empty name.
    digest("", role, token)
}

/// Whether a trusted pooler has asked about the token, and it was accepted.
pub fn was_asked(token: &Digest) -> bool {
    shmem::accepted_tokens(|tokens| tokens.contains(token))
}

/// Remembers the token that a trusted pooler has asked about, if it was accepted.
pub fn remember(verdict: &Verdict) {
    let (Ok(Accepted::Token(_)), Some(role), Some(_)) =
        (&verdict.outcome, &verdict.role, &verdict.pooler)
    else {
        return;
    };
    let has_grace = admin::privilege(role.oid).is_none();
    let now = clock::micros();
    for token in [&verdict.presented, &verdict.of_member]
        .into_iter()
        .flatten()
    {
        shmem::change_accepted_tokens(|tokens| tokens.remember(token, has_grace, now));
    }
}

/// Whether the token is accepted although it has expired. `now` is in seconds since the Unix epoch.
pub fn excuses_expiry(claims: &Claims, now: i64, role: &Role, token: &Digest) -> bool {
    let grace = i64::try_from(settings::pooler_token_grace().as_secs()).unwrap_or_default();
    claims
        .exp()
        .is_some_and(|end| now < end.saturating_add(grace))
        && settings::session_expiry() == SessionExpiry::Off
        // What can be read before a database is chosen; the rest was looked at when the token was remembered.
        && !admin::is_privileged_without_grants(role.oid)
        && shmem::accepted_tokens(|tokens| tokens.has_grace(token))
}
