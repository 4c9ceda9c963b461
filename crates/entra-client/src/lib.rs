//! What the server asks of Microsoft Entra ID and Microsoft Graph, over HTTPS.
//!
//! 1. [`http`] is the only way out: `https` alone, no redirects, bounded in size and time;
//! 2. [`settings`] says which directory to ask, and as whom;
//! 3. `credential` proves it to Entra, with a secret, an `assertion`, a federated token or the
//!    `managed_identity` of the machine, and `token` keeps what Entra gives in return;
//! 4. `graph` asks one question until there is an `answer`;
//! 5. [`directory`] has the questions, `members` the long one;
//! 6. [`error`] is why there is no answer, in words that may go into a log.
//!
//! Every call blocks, so it belongs on a thread that does nothing else. The HTTP client starts
//! threads of its own, which inherit the signal mask of the thread that creates it: inside
//! PostgreSQL, create and drop it where all signals are blocked.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod answer;
mod assertion;
mod credential;
pub mod directory;
mod entra;
pub mod error;
mod failure;
mod graph;
pub mod http;
mod managed_identity;
mod members;
mod pem;
mod secret_file;
pub mod settings;
mod token;
mod wiped;

pub use directory::Directory;
pub use error::{DirectoryError, ErrorKind};
pub use http::{Http, HttpError, HttpSettings, Response, check_ca_file, check_proxy};
pub use settings::{CredentialSource, DirectorySettings, Principal, graph_origin};
