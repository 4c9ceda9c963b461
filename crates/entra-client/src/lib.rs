//! What the server and `aadauth-token` ask of Microsoft Entra ID and Microsoft Graph, over HTTPS.
//!
//! 1. [`http`] is the only way out: only `https`, no redirects, bounded in size and time;
//! 2. `credential` proves to Entra who asks, with a secret, an assertion, a federated token or the
//!    `managed_identity` of the machine, and gets an [`access_token`];
//! 3. [`application`] and [`user`] get tokens for a resource; `token` keeps the one for Graph;
//! 4. `graph` sends one request until there is an `answer`;
//! 5. [`directory`] has the requests, `members` the long one;
//! 6. [`signing_keys`] fetches the keys that tokens are verified with.
//!
//! Settings, principals and errors are those of [`entra_api`].
//!
//! Every call blocks, so it belongs on a thread that does nothing else. The HTTP client starts
//! threads of its own, which inherit the signal mask of the thread that creates it: inside
//! PostgreSQL, create and drop it where all signals are blocked.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod access_token;
mod answer;
pub mod application;
mod credential;
pub mod directory;
mod entra;
mod failure;
mod graph;
pub mod http;
mod managed_identity;
mod members;
pub mod signing_keys;
mod token;
pub mod user;

pub use directory::Directory;
pub use http::{Http, HttpError, Response};
