//! Expired tokens that a trusted pooler presents again (`aadauth.pooler_token_grace`).
//!
//! A pooler opens connections long after its client has signed in, with the token of then. Such a token is accepted only
//! if the same pooler asked about it, for the same role, while it was valid. Everything but the expiry is judged each
//! time. Roles that are administrators or privileged are left out, and so is everybody if sessions end with the token.

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
pub fn digest(pooler: &str, role: &str, token: &[u8]) -> Option<Digest> {
    let secret = shmem::accepted_tokens(AcceptedTokens::secret)?;
    Some(Digest::new(&secret, pooler, role, token))
}

/// Remembers the token that a trusted pooler has asked about, if it was accepted.
pub fn remember(verdict: &Verdict) {
    let (Ok(Accepted::Token(_)), Some(role), Some(token)) =
        (&verdict.outcome, &verdict.role, &verdict.presented)
    else {
        return;
    };
    if admin::privilege(role.oid).is_none() {
        let now = clock::micros();
        shmem::change_accepted_tokens(|tokens| tokens.remember(token, now));
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
        && shmem::accepted_tokens(|tokens| tokens.contains(token))
}
