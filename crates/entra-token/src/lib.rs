//! The rules by which an Entra ID access token is accepted or refused.
//!
//! Nothing here reads a file, a clock, a setting or the network: time, settings and key bytes are
//! arguments. A sign-in runs through the modules in this order:
//!
//! 1. [`label`] says which principal a PostgreSQL role is mapped to;
//! 2. [`envelope`] takes the token apart and refuses anything that is not a plain RS256 JWS;
//! 3. [`keys`] holds the signing keys of one issuer, one of which must have made the signature;
//! 4. [`claims`] are what a verified token says, typed;
//! 5. [`decision`] compares them with the [`policy`] and the role's mapping;
//! 6. [`revocation`] has the ids by which the server finds out whether it is revoked;
//! 7. [`reason`] names what was wrong, [`refusal`] is what the client is told of it.
//!
//! ```
//! use entra_token::{Envelope, KeySet, Mapping, Policy, Reason, judge};
//!
//! fn sign_in(
//!     token: &[u8],
//!     role: &Mapping,
//!     policy: &Policy,
//!     keys: &[KeySet],
//!     now: i64,
//! ) -> Result<(), Reason> {
//!     let envelope = Envelope::parse(token, policy.max_token_size)?;
//!     let version = envelope.serving_version(policy)?;
//!     let set = keys
//!         .iter()
//!         .find(|set| set.version == version)
//!         .ok_or(Reason::SigningKeysUnavailable)?;
//!     let key = set.find(envelope.key_id()).ok_or(Reason::KeyUnknown)?;
//!     let claims = envelope.verify(key)?;
//!     let membership = claims.membership(role.object_id);
//!     match judge(policy, role, &claims, membership, now).refusal {
//!         Some(reason) => Err(reason),
//!         None => Ok(()),
//!     }
//! }
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod authority;
pub mod claims;
pub mod decision;
pub mod envelope;
pub mod guid;
mod json;
pub mod jws;
pub mod keys;
pub mod label;
pub mod metadata;
pub mod policy;
pub mod reason;
pub mod refusal;
pub mod revocation;
mod roca;

pub use authority::{Authority, AuthorityError, Cloud, TokenVersion};
pub use claims::{Claims, Membership, TokenKind};
pub use decision::{Check, EXPIRY_CHECK, Judgment, PRINCIPAL_CHECK, judge, judge_token};
pub use envelope::Envelope;
pub use jws::Jws;
pub use keys::{KeySet, KeySetError, SigningKey, Unusable};
pub use label::{InternalLabel, LabelError, MAX_LABEL, Mapping, PrincipalKind, PublicLabel};
pub use metadata::{Metadata, MetadataError};
pub use policy::{Audience, AudienceError, Policy};
pub use reason::{Reason, Step};
pub use refusal::{client_text, sqlstate};
pub use revocation::{REVOCATION_CHECK, RevocableIds};
