//! What the server asks of Microsoft Entra ID and Microsoft Graph, over HTTPS.
//!
//! 1. [`http`] is the only way out: `https` alone, no redirects, bounded in size and time;
//! 2. [`settings`] says which directory to ask, and as whom;
//! 3. [`error`] is why there is no answer, in words that may go into a log.
//!
//! Every call blocks, so it belongs on a thread that does nothing else. The HTTP client starts
//! threads of its own, which inherit the signal mask of the thread that creates it: inside
//! PostgreSQL, create and drop it where all signals are blocked.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod error;
pub mod http;
pub mod settings;

pub use error::{DirectoryError, ErrorKind};
pub use http::{Http, HttpError, HttpSettings, Response, check_proxy};
pub use settings::{CredentialSource, DirectorySettings, Principal, graph_origin};
