//! Local roles by an aadauth HBA record: SCRAM-SHA-256, as PostgreSQL does it.

use std::time::Instant;

use entra_token::Reason;

use super::attempt;
use super::refusal::Refusal;
use super::verdict::{Accepted, Verdict};
use crate::pg::connection::{self, Connection, Scram};
use crate::pg::log::{self, Level};
use crate::pg::role::Role;
use crate::settings::{self, Authentication};

/// Authenticates a local role by password. A name that no role has goes through the same exchange, so that a client
/// cannot tell the two apart.
pub fn authenticate(connection: &Connection, role: Option<Role>) -> Verdict {
    let start = Instant::now();
    let outcome = decide(connection, role.is_some());
    Verdict::without_token(role, outcome, start)
}

fn decide(connection: &Connection, exists: bool) -> Result<Accepted, Refusal> {
    let refused = |reason| Refusal::new(reason, &connection.role);
    if settings::authentication() == Authentication::Entra {
        return Err(refused(Reason::PasswordDisabled));
    }
    match connection::scram() {
        Scram::Accepted if exists => Ok(Accepted::Password),
        Scram::Accepted => Err(refused(Reason::PasswordFailed)),
        Scram::Gone => Err(refused(Reason::NoPassword)),
        Scram::Refused { why, is_md5 } => {
            if is_md5 && attempt::is_logged(Reason::PasswordFailed) {
                log_md5(&connection.role);
            }
            let refusal = refused(Reason::PasswordFailed);
            Err(match why {
                Some(why) => refusal.with_detail(&why),
                None => refusal,
            })
        }
    }
}

fn log_md5(role: &str) {
    log::line(
        Level::Log,
        &format!(
            "role \"{role}\" has an MD5 password, which cannot be used with this pg_hba.conf record"
        ),
        None,
        Some(
            "Set its password again with password_encryption = 'scram-sha-256', or give it a pg_hba.conf record of its \
             own before this one.",
        ),
    );
}
