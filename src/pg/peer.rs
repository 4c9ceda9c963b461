//! What proves who is at the other end of this session's connection, besides the password.

use std::ffi::{CStr, c_char};
use std::ptr;

use super::{connection, shim, text};

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

/// The user of the operating system whose process is at the other end of a local socket.
pub fn os_user() -> Option<String> {
    let port = connection::port()?;
    // SAFETY: the port is this backend's, with its socket open.
    string(unsafe { shim::aad_peer_user(port) })
}

fn string(text: *const c_char) -> Option<String> {
    // SAFETY: not NULL, and then a NUL-terminated string of core's or of getpwuid, which is copied at once.
    (!text.is_null()).then(|| text::decode_c(unsafe { CStr::from_ptr(text) }))
}
