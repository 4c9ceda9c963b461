//! What signing keys are trusted for.

use entra_token::{Authority, TokenVersion};
use uuid::Uuid;

use crate::settings;

/// The settings that signing keys are fetched under. Keys of one scope are never used in another, so
/// that a reload ends the trust in what was fetched before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub authority: Authority,
    pub tenant: Uuid,
}

impl Scope {
    /// The scope of this process's settings; `None` if no tenant is configured.
    pub fn current() -> Option<Scope> {
        Some(Scope {
            tenant: settings::tenant()?,
            authority: settings::authority(),
        })
    }

    /// The issuer whose tokens of that version the keys verify.
    pub fn issuer(&self, version: TokenVersion) -> String {
        self.authority.issuer(version, self.tenant)
    }
}
