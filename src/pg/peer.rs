//! What proves who is at the other end of this session's connection, besides the password.

use std::cell::OnceCell;
use std::ptr;

use super::connection::{self, string};
use super::shim;

/// The names in the client's TLS certificate, if an authority of `ssl_ca_file` has issued it.
pub struct Certificate {
    pub common_name: Option<String>,
    /// As RFC 2253 writes it.
    pub distinguished_name: Option<String>,
}

pub fn certificate() -> Certificate {
    let (mut common_name, mut distinguished_name) = (ptr::null(), ptr::null());
    if let Some(port) = connection::port() {
        // SAFETY: the port is this backend's, and both out-parameters outlive the call.
        unsafe { shim::aad_certificate(port, &mut common_name, &mut distinguished_name) };
    }
    Certificate {
        common_name: string(common_name),
        distinguished_name: string(distinguished_name),
    }
}

/// The user of the operating system whose process is at the other end of a local socket. It is looked up once, since the
/// look-up may ask a directory service.
pub fn os_user() -> Option<String> {
    thread_local! {
        // A process has one connection, and one thread.
        static OS_USER: OnceCell<Option<String>> = const { OnceCell::new() };
    }
    let look_up = || {
        let port = connection::port()?;
        // SAFETY: the port is this backend's, with its socket open; the text is copied before the next call.
        string(unsafe { shim::aad_peer_user(port) })
    };
    OS_USER.with(|user| user.get_or_init(look_up).clone())
}

/// The user of the operating system that the server runs as.
pub fn own_os_user() -> Option<String> {
    // SAFETY: takes nothing; the text is copied before the next call.
    string(unsafe { shim::aad_own_user() })
}
