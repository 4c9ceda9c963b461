//! What a command can fail with.

use crate::certificate::CertificateError;
use crate::directory::DirectoryError;
use crate::server::ServeError;
use crate::signing_keys::SigningKeyError;
use crate::state::StateError;
use crate::token::MintError;

/// What a command can fail with.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Keys(#[from] SigningKeyError),
    #[error(transparent)]
    Mint(#[from] MintError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("the emulator did not answer: {0}")]
    Unreachable(#[from] reqwest::Error),
    #[error("the emulator refused: {0}")]
    Refused(String),
    #[error("cannot write the answer: {0}")]
    Output(#[from] std::io::Error),
    #[error("{0}")]
    Usage(String),
}
