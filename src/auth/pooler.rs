//! `aadauth.pooler_check`: a pooler asks whether its client's credential signs in to a role.
//!
//! The decision and the audit event are those of a sign-in. Nothing is waited for, since a pooler's other clients would
//! wait as well, and nothing of it remains in this session: neither a verdict nor an identity.

use std::time::Instant;

use entra_token::Reason;
use pgrx::prelude::*;

use super::refusal::Refusal;
use super::source::Source;
use super::verdict::Verdict;
use super::{authenticate, grace, pooled_password, record_pooled, session, trusted_pooler};
use crate::pg::connection::{self, Connection};
use crate::pg::log::{self, Level};
use crate::pg::text::SqlText;
use crate::pg::{fast_path, panics, privileges, role};
use crate::settings;
use crate::text::SanitizedText;

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

/// The longest address as text, in bytes, with room to spare.
const MAX_ADDRESS: usize = 64;

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
    // What is longer is no address.
    let is_address = client.0 != "unix" && client.0.len() <= MAX_ADDRESS;
    let Some(connection) = connection::of_pooler_client(role, is_address.then_some(client.0))
    else {
        return REFUSED;
    };
    let pooler = privileges::name_of(privileges::session_user()).unwrap_or_default();
    let judged = panics::catch("judging a pooler's client", || {
        let mut verdict = judge(&connection, credential);
        // Its client must not get a connection that is open since the role was somebody else's.
        if session::end_outdated(&verdict, &connection) {
            let refusal = Refusal::new(Reason::MappingChanged, &connection.role);
            verdict.outcome = Err(refusal.with_detail(
                "Sessions of this role that belong to another principal, or to a role that has been dropped, are being ended.",
            ));
        }
        verdict
    });
    let verdict = judged.unwrap_or_else(|| {
        let refusal = Refusal::new(Reason::InternalError, &connection.role);
        Verdict::without_token(None, Err(refusal), Instant::now())
    });
    let recorded = record_pooled::record(&connection, &verdict, &pooler);
    let result = recorded.reason.map_or("accepted", Reason::code);
    let message = format!(
        "role \"{}\": {result}, event {}",
        SanitizedText::from(connection.role.as_str()),
        recorded.event_id
    );
    match recorded.reason {
        // The transaction cannot go on.
        Some(Reason::InternalError) => {
            log::error(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, &message, None, None)
        }
        _ => log::line(Level::Notice, &message, None, None),
    }
    match recorded.reason {
        None => {
            grace::remember(&verdict);
            ACCEPTED
        }
        Some(reason) if is_passing(reason) => TRY_AGAIN,
        Some(_) => REFUSED,
    }
}

fn judge(connection: &Connection, credential: &[u8]) -> Verdict {
    let role = role::read(&connection.role_name);
    if let Some(role) = &role
        && !role.is_mapped()
        && settings::pooler_local_roles()
        && let Some(pooler) = trusted_pooler::asking()
    {
        return pooled_password::judge(&pooler, connection, role.clone(), credential);
    }
    authenticate::with_token(Source::Pooled(credential), connection, role)
}

/// Whether the worker has been asked for what the decision lacked, or sessions of another principal are about to end.
fn is_passing(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::KeyRefreshTimedOut
            | Reason::SigningKeysUnavailable
            | Reason::RevocationsUnavailable
            | Reason::DirectoryTimedOut
            | Reason::DirectoryBusy
            | Reason::MappingChanged
    )
}
