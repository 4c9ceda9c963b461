//! Passwords of local roles that poolers' clients send (`aadauth.pooler_local_roles`).
//!
//! PgBouncer has the password in clear text, and so has the server then; each try costs thousands of hashes. So the roles
//! that matter most are left out, and wrong passwords are limited.

use std::ffi::CStr;
use std::time::Instant;

use entra_token::Reason;
use zeroize::Zeroizing;

use super::refusal::Refusal;
use super::verdict::{Accepted, Verdict};
use crate::clock;
use crate::pg::connection::Connection;
use crate::pg::password::{self, Comparison};
use crate::pg::role::Role;
use crate::principals::admin;
use crate::settings::{self, Authentication};
use crate::shared::poolers::accepted_tokens::AcceptedTokens;
use crate::shared::shmem;

/// PostgreSQL's own verifiers have 4,096 by default.
const MAX_ITERATIONS: i32 = 20_000;

/// Judges the password of a local role. The pooler is a trusted one, so that it has come over TLS or a local socket.
pub fn judge(pooler: &str, connection: &Connection, role: Role, password: &[u8]) -> Verdict {
    let start = Instant::now();
    let outcome = decide(pooler, connection, &role, password);
    Verdict::without_token(Some(role), outcome, start)
}

fn decide(
    pooler: &str,
    connection: &Connection,
    role: &Role,
    password: &[u8],
) -> Result<Accepted, Refusal> {
    let refused = |reason| Refusal::new(reason, &connection.role);
    if settings::authentication() == Authentication::Entra {
        return Err(refused(Reason::PasswordDisabled));
    }
    if admin::privilege(role.oid).is_some() {
        return Err(refused(Reason::PooledPrivilegedRole));
    }
    let secret = shmem::accepted_tokens(AcceptedTokens::secret);
    let counts = secret
        .and_then(|secret| shmem::password_failures().counts(&secret, pooler, &connection.role));
    let counts = counts.ok_or_else(|| refused(Reason::InternalError))?;
    let now = clock::micros() / 1_000_000;
    if counts.are_full(now) {
        return Err(refused(Reason::PooledPasswordLimit));
    }
    let failed = match compare(connection, password) {
        Comparison::Equal if !role.can_login => return Err(refused(Reason::RoleNotLogin)),
        Comparison::Equal => return Ok(Accepted::Password),
        // What costs nothing is not counted: it must lock out nobody who has a password.
        Comparison::Different(why) => {
            counts.add(now);
            why
        }
        Comparison::None(why) => why,
        Comparison::NotScram => Some("The role has no SCRAM verifier.".to_owned()),
        Comparison::TooExpensive => Some(format!(
            "The role's SCRAM verifier has more than {MAX_ITERATIONS} iterations, the most that the server computes for poolers' clients."
        )),
    };
    let refusal = refused(Reason::PasswordFailed);
    Err(match failed {
        Some(why) => refusal.with_detail(&why),
        None => refusal,
    })
}

fn compare(connection: &Connection, password: &[u8]) -> Comparison {
    let mut bytes = Zeroizing::new(Vec::with_capacity(password.len() + 1));
    bytes.extend_from_slice(password);
    bytes.push(0);
    // A password with a NUL is no role's.
    let Ok(password) = CStr::from_bytes_with_nul(&bytes) else {
        return Comparison::Different(None);
    };
    password::compare(&connection.role_name, password, MAX_ITERATIONS)
}
