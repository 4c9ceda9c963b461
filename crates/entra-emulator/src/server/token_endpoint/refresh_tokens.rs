//! The refresh tokens that were issued, and to whom.

use std::collections::VecDeque;

use uuid::Uuid;

use super::super::error::Refusal;
use crate::token::{Proof, opaque_value};

/// As many refresh tokens are remembered; older ones have expired.
const REMEMBERED: usize = 10_000;

/// A user who has proved to be one, towards one client.
#[derive(Clone)]
pub(super) struct SignedIn {
    pub tenant: Uuid,
    pub user: Uuid,
    pub client: Uuid,
    pub proof: Proof,
}

/// The refresh tokens that were handed out. Entra doesn't take back one that was used, and neither
/// does the emulator.
#[derive(Default)]
pub(in crate::server) struct RefreshTokens(VecDeque<(String, SignedIn)>);

impl RefreshTokens {
    pub(super) fn issue(&mut self, signed_in: SignedIn) -> Result<String, Refusal> {
        let token = opaque_value().map_err(|error| Refusal::Internal(error.to_string()))?;
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((token.clone(), signed_in));
        Ok(token)
    }

    pub(super) fn find(&self, token: &str) -> Option<SignedIn> {
        let found = self.0.iter().find(|(own, _)| own == token);
        found.map(|(_, signed_in)| signed_in.clone())
    }
}
