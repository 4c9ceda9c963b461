//! `pam_aadauth.so`, PgBouncer's PAM module. It asks the PostgreSQL server, over one connection of its own, whether a
//! credential is good, and decides nothing itself.
//!
//! Two threads take part in a login. PgBouncer's PAM thread ([`login`]) puts a question into the [`exchange`] and waits
//! for the answer until the deadline. The [`connection_thread`] owns the connection and asks: libpq's call for it has
//! no time limit, so the PAM thread ends one that takes too long by shutting down the socket. Any failure refuses the
//! client.
//!
//! | module | subject |
//! |---|---|
//! | [`login`] | one login, in PgBouncer's PAM thread |
//! | [`running`], [`process`] | the connection thread of this process, and its other threads |
//! | [`connection_thread`] | the connection: asking, reconnecting, probing |
//! | [`exchange`] | question, answer, deadline and health, between the two threads |
//! | [`settings`], [`conninfo`] | the configuration file |
//! | [`wake`] | ending PgBouncer's wait after a login |
//! | [`log`] | lines for PgBouncer's log and for syslog |
//! | [`ffi`] | libpam, libpq, and the C library |
#![deny(unsafe_code)]

mod connection_thread;
pub mod conninfo;
mod exchange;
mod ffi;
mod log;
mod login;
mod process;
mod running;
pub mod settings;
mod wake;
