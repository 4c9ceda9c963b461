//! What calls us: the hooks of PostgreSQL, libpam, the validator interface, and the main functions of our workers.
#![allow(unsafe_code, reason = "C calls these functions")]

pub mod client_authentication;
mod network;
mod oauth;
mod pam;
pub mod seclabel;
pub mod termination;
pub mod utility;
pub mod workers;
