//! What may be asked of Microsoft Entra ID and Microsoft Graph, as whom, and why there is no answer.
//!
//! Nothing here speaks HTTP or starts a thread: every process of the server may use it. What asks is
//! the crate `entra-client`.
//!
//! 1. [`settings`] says which directory to ask, as whom, and how to get there;
//! 2. [`credential_file`] reads the secret, token or [`certificate`] that proves it, and [`ca_file`]
//!    the certificate authorities to trust;
//! 3. [`principal`] is what the directory answers about;
//! 4. [`error`] is why there is no answer, in words that may go into a log;
//! 5. [`call`] is how the server's library calls the one that asks;
//! 6. [`wiped`] keeps secrets from staying in memory.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod ca_file;
pub mod call;
pub mod certificate;
pub mod credential_file;
pub mod error;
mod pem;
pub mod principal;
pub mod secret_file;
pub mod settings;
pub mod wiped;

pub use ca_file::{CaFileError, read_ca_file};
pub use error::{DirectoryError, ErrorKind};
pub use principal::Principal;
pub use settings::{CredentialSource, DirectorySettings, HttpSettings, check_proxy, graph_origin};
