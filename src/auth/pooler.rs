//! `aadauth.pooler_check`: a pooler asks whether its client's credential signs in to a role.
//!
//! The decision and the audit event are those of a sign-in. Nothing is waited for, since a pooler's other clients would
//! wait as well, and nothing of it remains in this session: neither a verdict nor an identity.

use std::ffi::CString;

use entra_token::Reason;
use pgrx::prelude::*;

use super::authenticate::{self, Source};
use super::record;
use crate::pg::connection;
use crate::pg::log::{self, Level};
use crate::pg::text::SqlText;
use crate::pg::{fast_path, privileges, role};

extension_sql!(
    r#"
COMMENT ON FUNCTION aadauth.pooler_check(bytea, bytea, text) IS
    'for poolers, by a fast-path call: 1 if the credential signs in to the role, 0 if not, 2 if it may soon';
REVOKE ALL ON FUNCTION aadauth.pooler_check(bytea, bytea, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION aadauth.pooler_check(bytea, bytea, text) TO aadauth_pooler;
"#,
    name = "pooler_check_rights",
    requires = [pooler_check]
);

// What the pooler's module reads (crates/pam-pooler).
const REFUSED: i32 = 0;
const ACCEPTED: i32 = 1;
const TRY_AGAIN: i32 = 2;

/// Judges the credential of a pooler's client, and records the attempt. A NOTICE tells the pooler the reason and the
/// event's id, for its log.
///
/// `role` has the bytes that the client sent; `client` is its address, or `unix`, as the pooler says.
///
/// # Panics
/// With PostgreSQL's ERROR, if it is called by a statement, which could be logged with the credential.
#[pg_extern(schema = "aadauth")]
fn pooler_check(
    role: &[u8],
    credential: &[u8],
    client: SqlText,
    call: pg_sys::FunctionCallInfo,
) -> i32 {
    if !fast_path::is_call(call) {
        log::error(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "aadauth.pooler_check cannot be called by a statement",
            None,
            Some("Poolers call it by the FunctionCall message of the protocol (libpq: PQfn)."),
        );
    }
    let address = (client.0 != "unix").then_some(client.0);
    let connection = CString::new(role)
        .ok()
        .and_then(|name| connection::of_pooler_client(name, address));
    // A name with a NUL is no role's.
    let Some(connection) = connection else {
        return REFUSED;
    };
    let role = role::read(&connection.role_name);
    let can_login = role.as_ref().is_some_and(|role| role.can_login);
    let verdict = authenticate::with_token(Source::Pooled(credential), &connection, role);
    let pooler = privileges::name_of(privileges::session_user()).unwrap_or_default();
    let recorded = record::record_pooled(&connection, &verdict, can_login, &pooler);
    let result = recorded.reason.map_or("accepted", Reason::code);
    log::line(
        Level::Notice,
        &format!(
            "role \"{}\": {result}, event {}",
            connection.role, recorded.event_id
        ),
        None,
        None,
    );
    match recorded.reason {
        None => ACCEPTED,
        // The worker has been asked.
        Some(Reason::KeyRefreshTimedOut | Reason::RevocationsUnavailable) => TRY_AGAIN,
        Some(_) => REFUSED,
    }
}
