//! Why there is no token.

use crate::directory::LookupError;
use crate::signing_keys::SigningKeyError;

#[derive(Debug, thiserror::Error)]
pub enum MintError {
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error("the directory has no resource \"{name}\"; it has {known}")]
    Resource { name: String, known: String },
    #[error(transparent)]
    Key(#[from] SigningKeyError),
    #[error("the token has {natural} bytes without filling, more than the {wanted} wanted")]
    TooSmall { natural: usize, wanted: usize },
    #[error("the random number generator failed")]
    Random,
}
