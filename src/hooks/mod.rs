//! What calls this library: PostgreSQL's hooks, libpam, the validator interface, and the postmaster for the workers.
#![allow(
    unsafe_code,
    reason = "C calls these functions, and they register themselves with it"
)]

pub mod client_authentication;
mod network;
mod oauth;
mod pam;
pub mod seclabel;
pub mod termination;
pub mod utility;
pub mod workers;
