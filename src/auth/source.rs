//! Where a token or password comes from: the client, or a pooler that asks or has asked for its own.

use entra_token::Reason;
use zeroize::Zeroizing;

use super::refusal::Refusal;
use super::trusted_pooler;
use crate::pg::connection::{self, TokenResponse};

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
    pub fn read(self, limit: usize) -> TokenResponse {
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

    /// Whether a pooler asks. Then nothing is waited for: it would keep all its other clients waiting.
    pub fn is_pooled(self) -> bool {
        matches!(self, Source::Pooled(_))
    }

    /// The role of the trusted pooler that has opened the connection, or that asks.
    pub fn trusted_pooler(self) -> Option<String> {
        match self {
            Source::Pooled(_) => trusted_pooler::asking(),
            Source::Prompt | Source::Sent(_) => trusted_pooler::of_connection(),
        }
    }

    /// Adds for the log that a token that was already sent without TLS may be disclosed. The form of a token is judged for
    /// mapped roles only: by OAUTHBEARER, where other roles are refused in the same words as a bad token, a text of its own
    /// would say that the role is mapped.
    pub fn with_source_detail(self, refusal: Refusal) -> Refusal {
        match (self, refusal.reason) {
            (Source::Sent(_), Reason::TlsRequired) => refusal.with_detail(
                "The client had already sent the token. It may have been disclosed, and is valid until it expires. \
                 Change the type of the pg_hba.conf record to hostssl.",
            ),
            (Source::Sent(_), Reason::TokenMalformed) => refusal.told_as_unmapped(),
            _ => refusal,
        }
    }
}
