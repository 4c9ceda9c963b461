//! The poolers that `aadauth.poolers` names: whether the server can know them, and whether they ask.

use std::error::Error;
use std::fs;

use serde::Deserialize;

use super::finding::{Code, Finding};
use super::query;
use crate::pg::{peer, server};
use crate::principals::admin::AADAUTH_POOLER;
use crate::settings::{self, PoolerProof, TrustedPooler};

const PLACE: &str = "aadauth.poolers";

/// What the module of this version is called in pg_stat_activity (crates/pam-pooler).
const MODULE: &str = concat!("pam_aadauth ", env!("CARGO_PKG_VERSION"));

#[derive(Deserialize)]
struct Role {
    name: String,
    is_pooler: bool,
    /// The `application_name` of each of its sessions.
    sessions: Vec<String>,
}

/// # Errors
/// The catalogs cannot be read.
pub fn check() -> Result<Vec<Finding>, Box<dyn Error>> {
    let poolers = settings::trusted_poolers();
    if poolers.is_empty() {
        return Ok(Vec::new());
    }
    let roles = roles()?;
    let mut findings: Vec<Finding> = authorities(&poolers)?.into_iter().collect();
    findings.extend(of_own_user(&poolers));
    findings.extend(poolers.iter().filter_map(|pooler| {
        let role = roles.iter().find(|role| role.name == pooler.role);
        check_role(&pooler.role, role)
    }));
    Ok(findings)
}

fn roles() -> Result<Vec<Role>, Box<dyn Error>> {
    query::rows(&format!(
        "SELECT r.rolname AS name, pg_has_role(r.oid, p.oid, 'MEMBER') AS is_pooler,
             ARRAY(SELECT application_name FROM pg_stat_activity
                   WHERE usesysid = r.oid AND backend_type = 'client backend') AS sessions
         FROM pg_roles AS r, pg_roles AS p WHERE p.rolname = '{AADAUTH_POOLER}'"
    ))
}

fn check_role(name: &str, role: Option<&Role>) -> Option<Finding> {
    let Some(role) = role.filter(|role| role.is_pooler) else {
        return Some(Finding::new(
            Code::PoolerUnknown,
            PLACE,
            format!("There is no role \"{name}\" that is a member of {AADAUTH_POOLER}."),
            format!(
                "Create it (CREATE ROLE {} LOGIN IN ROLE {AADAUTH_POOLER}), or correct aadauth.poolers, and reload.",
                format_args!("\"{}\"", name.replace('"', "\"\""))
            ),
        ));
    };
    if role.sessions.is_empty() {
        return Some(Finding::new(
            Code::PoolerSilent,
            PLACE,
            format!("The pooler \"{name}\" is not connected, so it lets no client in."),
            "Its module connects at the first login. If clients are refused, PgBouncer's log has the reason.",
        ));
    }
    let other = role.sessions.iter().find(|module| *module != MODULE)?;
    Some(Finding::new(
        Code::PoolerOfAnotherVersion,
        PLACE,
        format!("The pooler \"{name}\" runs \"{other}\", and this server knows \"{MODULE}\"."),
        "Install the same version of aadauth on both machines, and restart PgBouncer.",
    ))
}

/// Whatever the server's own user runs would be the pooler, such as a job of cron, or `dblink`.
fn of_own_user(poolers: &[TrustedPooler]) -> Option<Finding> {
    let own = PoolerProof::OsUser(peer::own_os_user()?);
    let pooler = poolers.iter().find(|pooler| pooler.proof == own)?;
    Some(Finding::new(
        Code::PoolerOfOwnUser,
        PLACE,
        format!(
            "The pooler \"{}\" is named by the user that the server runs as, whose processes all count as the pooler.",
            pooler.role
        ),
        "Run PgBouncer as a user of its own and name that one, or name the pooler by its certificate.",
    ))
}

#[derive(Deserialize)]
struct Tls {
    is_on: bool,
    authorities: String,
}

/// Whether the server sees certificates of clients, and whether one authority issues them.
fn authorities(poolers: &[TrustedPooler]) -> Result<Option<Finding>, Box<dyn Error>> {
    let by_certificate = |pooler: &&TrustedPooler| !matches!(pooler.proof, PoolerProof::OsUser(_));
    let Some(pooler) = poolers.iter().find(by_certificate) else {
        return Ok(None);
    };
    let tls = query::rows::<Tls>(
        "SELECT current_setting('ssl')::boolean AS is_on, current_setting('ssl_ca_file') AS authorities",
    )?;
    let file = tls
        .into_iter()
        .find(|tls| tls.is_on && !tls.authorities.is_empty());
    let Some(Tls { authorities, .. }) = file else {
        return Ok(Some(Finding::new(
            Code::PoolerWithoutAuthority,
            "ssl_ca_file",
            format!(
                "The server asks for no client certificates, so it does not recognize the pooler \"{}\".",
                pooler.role
            ),
            "Set ssl_ca_file to the authority that issued the pooler's certificate, and reload.",
        )));
    };
    let file = server::data_directory().join(authorities);
    // The server has loaded it; if it can no longer be read, that is no matter of names.
    let certificates = String::from_utf8_lossy(&fs::read(&file).unwrap_or_default())
        .matches("-----BEGIN CERTIFICATE-----")
        .count();
    Ok((certificates > 1).then(|| {
        Finding::new(
            Code::PoolerNameNotUnique,
            file.display().to_string(),
            format!(
                "Each of the {certificates} authorities in the file can issue a certificate with the name of the pooler \
                 \"{}\".",
                pooler.role
            ),
            "Let the file have only the authority that issues poolers' certificates, best one of their own.",
        )
    }))
}
