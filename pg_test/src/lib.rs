//! What a test needs to let people sign in for real: temporary servers, the Entra emulator, PAM
//! service files, clients, and a look at what crosses the wire.
//!
//! Everything runs on 127.0.0.1, below one temporary directory, and ends when its owner is dropped.

pub mod bearer;
pub mod client;
pub mod compiler;
pub mod directory_server;
pub mod document;
pub mod emulator;
pub mod kill;
pub mod machine;
pub mod pam;
pub mod place;
pub mod plan;
pub mod process;
pub mod rig;
pub mod route;
pub mod server;
pub mod set_up;
pub mod suite;
mod superuser;
pub mod timing;
pub mod tls;
pub mod wait;
pub mod wire;

/// Why a rig could not be set up: a sentence for the person who runs the tests.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, Error>;
