//! The Rust side of shim.h; keep the two together.

use std::ffi::{c_char, c_int, c_void};

use pgrx::pg_sys;

/// `Port`, whose layout only the C side knows.
pub type Port = c_void;

/// A connection that is being authenticated (`AadConnection`).
#[repr(C)]
pub struct Connection {
    pub user: *const c_char,
    pub database: *const c_char,
    pub application: *const c_char,
    pub remote_host: *const c_char,
    pub remote_port: *const c_char,
    pub method: *const c_char,
    pub pam_service: *const c_char,
    pub oauth_validator: *const c_char,
    pub hba_file: *const c_char,
    pub hba_line: *const c_char,
    pub hba_line_number: c_int,
    pub tls: bool,
    pub local_socket: bool,
}

/// A row of `pg_authid` (`AadRole`).
#[repr(C)]
pub struct Role {
    pub oid: pg_sys::Oid,
    pub can_login: bool,
    pub expired: bool,
}

pub const READ_OK: c_int = 0;
pub const READ_GONE: c_int = 1;
pub const READ_TOO_LONG: c_int = 2;

pub const PASSWORD_ACCEPTED: c_int = 0;
pub const PASSWORD_REFUSED: c_int = 1;
pub const PASSWORD_NOT_SCRAM: c_int = 2;
pub const PASSWORD_NONE: c_int = 4;

// These talk to the client, or end the process. They have no guard: with one, core's FATAL messages for
// protocol errors would reach the client as an internal error. Nothing must be freed on a FATAL, which
// ends the process without unwinding.
unsafe extern "C" {
    pub fn aad_ask_password(
        port: *mut Port,
        buffer: *mut c_char,
        size: usize,
        length: *mut usize,
    ) -> c_int;
    pub fn aad_scram(port: *mut Port, reason: *mut *const c_char, is_md5: *mut bool) -> c_int;
    pub fn aad_fatal(
        sqlstate: *const c_char,
        message: *const c_char,
        detail_log: *const c_char,
    ) -> !;
    pub fn aad_leave_out_refusal();
    pub fn aad_connection(port: *mut Port, connection: *mut Connection);
    pub fn aad_transport(port: *mut Port, tls: *mut bool, local_socket: *mut bool);
    pub fn aad_certificate(
        port: *mut Port,
        common_name: *mut *const c_char,
        distinguished_name: *mut *const c_char,
    );
    pub fn aad_peer_user(port: *mut Port) -> *const c_char;
    pub fn aad_own_user() -> *const c_char;
    pub fn aad_is_authenticating() -> bool;
    pub fn aad_prewarm_pam(service: *const c_char) -> bool;
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" {
    pub fn aad_check_password(
        user: *const c_char,
        password: *const c_char,
        max_iterations: c_int,
        reason: *mut *const c_char,
    ) -> c_int;
    pub fn aad_role_by_name(name: *const c_char, role: *mut Role) -> bool;
    pub fn aad_set_identity(port: *mut Port, identity: *const c_char, proof: c_int);
    pub fn aad_log(
        level: c_int,
        message: *const c_char,
        detail: *const c_char,
        hint: *const c_char,
    );
    pub fn aad_logs_authorization() -> bool;
    pub fn aad_logs_disconnections() -> bool;
    pub fn aad_setting_refused(detail: *const c_char);
}
