//! Microsoft Entra ID's sign-in protocols on loopback, for tests and for trying things out.
//!
//! The emulator reads a [`Directory`] of tenants, users, groups, applications and managed
//! identities, keeps a certificate authority and signing keys in a state directory, and speaks
//! the protocols that Microsoft documents: OpenID Connect discovery, the token endpoints, the
//! managed identity endpoints and a part of Microsoft Graph. It also prints tokens without a server, good
//! ones and ones with any single [`Deviation`], so that programs that check tokens can be tested.
//!
//! Trusting its certificate authority means trusting everyone who can read its state directory.
//! It is no identity provider.

#![forbid(unsafe_code)]

pub mod authority;
pub mod certificate;
pub mod cli;
mod clock;
pub mod directory;
pub mod federation;
pub mod jws;
pub mod server;
pub mod signing_keys;
pub mod state;
pub mod token;

pub use authority::{Authority, TokenVersion};
pub use directory::{Directory, Subject};
pub use signing_keys::SigningKeys;
pub use token::{Deviation, Token, TokenRequest, mint};
