//! Access tokens: good ones, and ones that differ from a good one in what a caller asks for.

mod claims;
mod deviation;
mod draft;
mod error;
mod id_token;
mod mint;
mod request;
mod table;

pub use deviation::{Deviation, SubjectKind};
pub(crate) use draft::signed_header;
pub use error::MintError;
pub use id_token::id_token;
pub(crate) use mint::opaque_value;
pub use mint::{Token, mint};
pub use request::{AZURE_CLI, Proof, TokenRequest};

#[cfg(test)]
mod tests;
