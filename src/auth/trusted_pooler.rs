//! The poolers that `aadauth.poolers` names: which of them this session's connection is of.

use crate::pg::{peer, privileges};
use crate::settings::{self, PoolerProof, TrustedPooler};

/// The role of the trusted pooler that has opened this connection.
pub fn of_connection() -> Option<String> {
    let poolers = settings::trusted_poolers();
    let pooler = poolers.into_iter().find(is_proved)?;
    Some(pooler.role)
}

/// The same, if this session is also the one in which the pooler asks: its role's.
pub fn asking() -> Option<String> {
    of_connection()
        .filter(|role| privileges::name_of(privileges::session_user()).as_ref() == Some(role))
}

fn is_proved(pooler: &TrustedPooler) -> bool {
    match &pooler.proof {
        PoolerProof::CommonName(name) => peer::certificate().common_name.as_ref() == Some(name),
        PoolerProof::DistinguishedName(name) => {
            peer::certificate().distinguished_name.as_ref() == Some(name)
        }
        PoolerProof::OsUser(user) => peer::os_user().as_ref() == Some(user),
    }
}
