//! The connection that this backend is authenticating.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;

use zeroize::Zeroizing;

use super::shim;
use super::sign_in_method::SignInMethod;
use crate::text::escapes;

/// What the startup packet and pg_hba.conf say about the connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The role's name, byte for byte, for look-ups.
    pub role_name: CString,
    /// The role's name as text, for messages.
    pub role: String,
    pub database: Option<String>,
    pub application_name: Option<String>,
    /// Numeric address, or `[local]`.
    pub client_address: Option<String>,
    pub client_port: Option<u16>,
    /// The authentication method as pg_hba.conf spells it.
    pub method: String,
    /// The PAM service, when the method is `pam`.
    pub pam_service: Option<String>,
    /// The validator module, when the method is `oauth`.
    pub oauth_validator: Option<String>,
    /// The record that the connection matched, as PostgreSQL's log has it. It may contain a password (of LDAP or RADIUS).
    pub record: Option<String>,
    pub tls: bool,
    pub local_socket: bool,
}

/// No role has a longer name, in bytes (`NAMEDATALEN`).
const MAX_NAME: usize = 63;

/// The method of a pooler's client.
pub const POOLER: &str = "pooler";

// What an authentication method returns (c.h, libpq.h).
pub const STATUS_OK: c_int = 0;
pub const STATUS_ERROR: c_int = -1;
pub const STATUS_EOF: c_int = -2;

/// The client's response to a request for a token.
pub enum TokenResponse {
    Token(Zeroizing<Vec<u8>>),
    /// The client closed the connection, as psql does before it asks its user for a password.
    Gone,
    TooLong,
    /// Not a password message, one that was sent before the request, an empty one, or one with a NUL.
    Unusable,
}

/// How SCRAM-SHA-256 ended.
pub enum Scram {
    Accepted,
    Refused {
        /// Core's own text, for the server log.
        why: Option<String>,
        /// The stored secret is an MD5 hash, which SCRAM cannot use.
        is_md5: bool,
    },
    Gone,
}

impl Connection {
    /// The method of the aadauth HBA record that the connection matched; `None` for any other record.
    pub fn sign_in_method(&self) -> Option<SignInMethod> {
        SignInMethod::of_record(
            &self.method,
            self.pam_service.as_deref(),
            self.oauth_validator.as_deref(),
        )
    }
}

/// The connection being authenticated; `None` in processes without a client.
pub fn current() -> Option<Connection> {
    let port = port()?;
    let mut raw = shim::Connection {
        user: ptr::null(),
        database: ptr::null(),
        application: ptr::null(),
        remote_host: ptr::null(),
        remote_port: ptr::null(),
        method: ptr::null(),
        pam_service: ptr::null(),
        oauth_validator: ptr::null(),
        hba_file: ptr::null(),
        hba_line: ptr::null(),
        hba_line_number: 0,
        tls: false,
        local_socket: false,
    };
    // SAFETY: the port is this backend's, filled by ProcessStartupPacket before authentication begins,
    // and the shim only copies pointers and flags out of it.
    unsafe { shim::aad_connection(port, &mut raw) };
    let role_name = c_string(raw.user)?;
    Some(Connection {
        role: escapes::decode_utf8(role_name.to_bytes()),
        role_name,
        database: string(raw.database),
        application_name: string(raw.application),
        client_address: string(raw.remote_host),
        client_port: string(raw.remote_port).and_then(|port| port.parse().ok()),
        method: string(raw.method).unwrap_or_else(|| "unknown".into()),
        pam_service: string(raw.pam_service),
        oauth_validator: string(raw.oauth_validator),
        record: string(raw.hba_line).map(|line| {
            let file = string(raw.hba_file).unwrap_or_else(|| "pg_hba.conf".into());
            format!("file \"{file}\" line {}: \"{line}\"", raw.hba_line_number)
        }),
        tls: raw.tls,
        local_socket: raw.local_socket,
    })
}

/// The connection of a pooler's client, for which the pooler asks over this session. `client_address` is what the pooler
/// says. `None` in processes without a client.
///
/// `role` has the bytes of the role's name; a name that no role can have is an empty one.
pub fn of_pooler_client(role: &[u8], client_address: Option<String>) -> Option<Connection> {
    let port = port()?;
    let (mut tls, mut local_socket) = (false, false);
    // SAFETY: the port is this backend's, and both out-parameters outlive the call.
    unsafe { shim::aad_transport(port, &mut tls, &mut local_socket) };
    Some(Connection {
        role: escapes::decode_utf8(role.get(..MAX_NAME).unwrap_or(role)),
        role_name: CString::new(role)
            .ok()
            .filter(|name| name.count_bytes() <= MAX_NAME)
            .unwrap_or_default(),
        database: None,
        application_name: None,
        client_address,
        client_port: None,
        method: POOLER.to_owned(),
        pam_service: None,
        oauth_validator: None,
        record: None,
        tls,
        local_socket,
    })
}

/// Asks the client for a cleartext password of at most `limit` bytes.
///
/// May end the process: on a timeout, a signal, or a broken connection.
pub fn request_token(limit: usize) -> TokenResponse {
    let Some(port) = port() else {
        return TokenResponse::Gone;
    };
    // One byte more for the NUL that ends the message.
    let mut buffer = Zeroizing::new(vec![0u8; limit.saturating_add(1)]);
    let mut length = 0usize;
    // SAFETY: the buffer has the size that is passed, and both it and the length outlive the call. The port
    // is this backend's and in the middle of authentication, when the server may send a request.
    let ended = unsafe {
        shim::aad_ask_password(port, buffer.as_mut_ptr().cast(), buffer.len(), &mut length)
    };
    match ended {
        shim::READ_OK => {
            buffer.truncate(length);
            TokenResponse::Token(buffer)
        }
        shim::READ_GONE => TokenResponse::Gone,
        shim::READ_TOO_LONG => TokenResponse::TooLong,
        _ => TokenResponse::Unusable,
    }
}

/// Runs SCRAM-SHA-256 for the role of the startup packet, whether or not it exists.
///
/// May end the process, as [`request_token`].
pub fn scram() -> Scram {
    let Some(port) = port() else {
        return Scram::Gone;
    };
    let (mut why, mut is_md5) = (ptr::null(), false);
    // SAFETY: as in request_token; both out-parameters outlive the call, and `why` is then NULL or a
    // string in a memory context that lives as long as authentication.
    let status = unsafe { shim::aad_scram(port, &mut why, &mut is_md5) };
    match status {
        STATUS_OK => Scram::Accepted,
        STATUS_EOF => Scram::Gone,
        _ => Scram::Refused {
            why: string(why),
            is_md5,
        },
    }
}

/// How a client authenticated, as `system_user` shows it from PostgreSQL 16 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By the method of the pg_hba.conf record.
    HbaMethod = 0,
    Scram = 1,
    /// In clear text (`password`).
    Cleartext = 2,
}

/// Tells the rest of the server who signed in, and how.
pub fn set_identity(identity: &str, proof: Proof) {
    let (Some(port), Ok(identity)) = (port(), CString::new(identity)) else {
        return;
    };
    // SAFETY: the port is this backend's; the shim copies the string into memory that lives as long as it.
    unsafe { shim::aad_set_identity(port, identity.as_ptr(), proof as c_int) };
}

/// Whether this process is authenticating its client: afterwards, what [`current`] reads of pg_hba.conf is gone.
pub fn is_authenticating() -> bool {
    // SAFETY: a plain read of a flag that core sets before it authenticates and clears afterwards (postinit.c,
    // PerformAuthentication).
    unsafe { shim::aad_is_authenticating() }
}

/// This backend's `Port`; `None` in processes without a client.
pub fn port() -> Option<*mut shim::Port> {
    // SAFETY: MyProcPort is set once, before authentication, by the one thread of this process.
    let port = unsafe { pgrx::pg_sys::libpq::be::MyProcPort };
    (!port.is_null()).then_some(port.cast())
}

pub(super) fn string(text: *const c_char) -> Option<String> {
    c_string(text).map(|text| escapes::decode_utf8(text.to_bytes()))
}

fn c_string(text: *const c_char) -> Option<CString> {
    // SAFETY: not NULL, and every caller passes a NUL-terminated string that the server owns and does not
    // change while this backend authenticates.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_owned())
}
