//! The settings of connections that poolers open for their clients.

use std::time::Duration;

use super::general::{duration, value};
use crate::pg::guc::{Rule, Text, define_settings};

define_settings! {
    POOLERS: Text = None, text::<Poolers>(
        c"aadauth.poolers",
        c"Comma-separated trusted poolers: role=cn:NAME, role=dn:NAME (of the pooler's certificate) or role=peer:USER.",
    );
    POOLER_TOKEN_GRACE: i32 = 12 * 3600, seconds(
        c"aadauth.pooler_token_grace",
        c"How long a trusted pooler may open connections with an expired token that it presented while it was valid.",
        0..=24 * 3600,
    );
    POOLER_LOCAL_ROLES: bool = false, switch(
        c"aadauth.pooler_local_roles",
        c"Let trusted poolers ask about the passwords of local roles.",
    );
    POOLER_GROUP_ROLES: bool = false, switch(
        c"aadauth.pooler_group_roles",
        c"Let clients of trusted poolers sign in to roles of groups, whose members then share connections.",
    );
}

/// A pooler that `aadauth.poolers` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedPooler {
    /// The role by which it asks.
    pub role: String,
    pub proof: PoolerProof,
}

/// What proves that a connection is the pooler's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolerProof {
    /// The common name in its TLS certificate.
    CommonName(String),
    /// The distinguished name in its TLS certificate, as RFC 2253 writes it (`clientname=DN` in pg_hba.conf).
    DistinguishedName(String),
    /// The user of the operating system that its process runs as, on this machine.
    OsUser(String),
}

/// The poolers that `aadauth.poolers` names.
pub fn trusted_poolers() -> Vec<TrustedPooler> {
    value(&POOLERS)
        .and_then(|list| parse(&list).ok())
        .unwrap_or_default()
}

/// Zero if no expired token is accepted.
pub fn pooler_token_grace() -> Duration {
    duration(&POOLER_TOKEN_GRACE)
}

pub fn pooler_local_roles() -> bool {
    POOLER_LOCAL_ROLES.get()
}

pub fn pooler_group_roles() -> bool {
    POOLER_GROUP_ROLES.get()
}

struct Poolers;

impl Rule for Poolers {
    fn check(value: &str) -> Result<(), String> {
        parse(value).map(drop)
    }
}

/// Reads the list. An entry with a comma is in double quotes, as a whole.
///
/// # Errors
/// What is accepted instead.
fn parse(list: &str) -> Result<Vec<TrustedPooler>, String> {
    let mut poolers: Vec<TrustedPooler> = Vec::new();
    for entry in entries(list)? {
        let pooler = TrustedPooler::parse(entry).ok_or_else(|| {
            format!(
                "\"{entry}\" is not a pooler: write role=cn:NAME or role=dn:NAME for one with a certificate, or \
                 role=peer:USER for one on this machine."
            )
        })?;
        // Of several that one connection proves, the first counts.
        if poolers.iter().any(|other| other.proof == pooler.proof) {
            return Err(format!("\"{entry}\" is proved like another pooler."));
        }
        poolers.push(pooler);
    }
    Ok(poolers)
}

fn entries(list: &str) -> Result<Vec<&str>, String> {
    let mut entries = Vec::new();
    let mut rest = list.trim();
    loop {
        let (entry, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted
                .split_once('"')
                .ok_or("A double quote is not closed.")?,
            None => rest.split_at(rest.find(',').unwrap_or(rest.len())),
        };
        entries.push(entry.trim());
        match behind.trim_start().strip_prefix(',') {
            Some(behind) => rest = behind.trim_start(),
            None if behind.trim().is_empty() => return Ok(entries),
            None => return Err("A comma must follow a closing double quote.".to_owned()),
        }
    }
}

impl TrustedPooler {
    fn parse(entry: &str) -> Option<TrustedPooler> {
        let (role, proof) = entry.split_once('=')?;
        let (kind, name) = proof.split_once(':')?;
        let (role, name) = (role.trim(), name.trim().to_owned());
        if role.is_empty() || name.is_empty() || name.contains('"') {
            return None;
        }
        let proof = match kind.trim() {
            "cn" => PoolerProof::CommonName(name),
            "dn" => PoolerProof::DistinguishedName(name),
            "peer" => PoolerProof::OsUser(name),
            _ => return None,
        };
        Some(TrustedPooler {
            role: role.to_owned(),
            proof,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooler(role: &str, proof: PoolerProof) -> TrustedPooler {
        TrustedPooler {
            role: role.to_owned(),
            proof,
        }
    }

    #[test]
    fn a_list_names_poolers_and_their_proofs() {
        let list =
            r#" pgb1=cn:pgb1.example.com,"pgb2 = dn:CN=pgb2,O=Contoso" , pgb3=peer:pgbouncer "#;
        assert_eq!(
            parse(list),
            Ok(vec![
                pooler(
                    "pgb1",
                    PoolerProof::CommonName("pgb1.example.com".to_owned())
                ),
                pooler(
                    "pgb2",
                    PoolerProof::DistinguishedName("CN=pgb2,O=Contoso".to_owned())
                ),
                pooler("pgb3", PoolerProof::OsUser("pgbouncer".to_owned())),
            ])
        );
    }

    #[test]
    fn what_names_no_pooler_is_refused() {
        for list in [
            ",",
            "pgb1",
            "pgb1=cn:",
            "=cn:x",
            "pgb1=pgb1.example.com",
            "pgb1=CN:x",
            "pgb1=cn:x,",
            "pgb1=cn:x,,pgb2=cn:y",
            "\"pgb1=cn:x",
            "\"pgb1=cn:x\" pgb2=cn:y",
            "pgb1=cn:x y\"z",
            "pgb1=cn:x, pgb2=cn:x",
        ] {
            assert!(parse(list).is_err(), "{list}");
        }
    }
}
