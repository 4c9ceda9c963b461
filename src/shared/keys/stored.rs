//! Keys and their scope in a fixed size, for shared memory.

use std::time::Duration;

use entra_token::{Cloud, KeySet, SigningKey};

use super::scope::Scope;
use crate::shared::bytes::Bytes;

/// Where a set of keys came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Fetched from the authority since the server started.
    Network,
    /// Fetched from the authority earlier, and kept on disk.
    Disk,
    /// `aadauth.jwks_file`.
    File,
}

impl Source {
    pub fn name(self) -> &'static str {
        match self {
            Source::Network => "network",
            Source::Disk => "disk",
            Source::File => "file",
        }
    }
}

/// A key set and its origin.
#[derive(Clone, Debug)]
pub struct SourcedSet {
    pub set: KeySet,
    pub source: Source,
    pub fetched_at: i64,
}

#[derive(Clone, Copy)]
pub struct StoredKey {
    pub key_id: Bytes<128>,
    modulus: Bytes<512>,
    exponent: Bytes<8>,
}

#[derive(Clone, Copy)]
pub struct StoredSet {
    pub issuer: Bytes<384>,
    pub source: Source,
    pub fetched_at: i64,
    pub keys: [Option<StoredKey>; KeySet::MAX_KEYS],
}

#[derive(Clone, Copy)]
pub struct StoredScope {
    cloud: Cloud,
    host: Option<Bytes<288>>,
    tenant: [u8; 16],
}

impl StoredKey {
    pub fn new(key: &SigningKey) -> Option<StoredKey> {
        Some(StoredKey {
            key_id: Bytes::new(key.key_id.as_bytes())?,
            modulus: Bytes::new(&key.modulus)?,
            exponent: Bytes::new(&key.exponent)?,
        })
    }

    pub fn load(&self) -> SigningKey {
        SigningKey {
            key_id: self.key_id.as_str().to_owned(),
            modulus: self.modulus.as_slice().to_vec(),
            exponent: self.exponent.as_slice().to_vec(),
        }
    }
}

impl StoredSet {
    pub fn new(sourced: &SourcedSet) -> Option<StoredSet> {
        let mut keys = [None; KeySet::MAX_KEYS];
        if sourced.set.keys.len() > keys.len() {
            return None;
        }
        for (slot, key) in keys.iter_mut().zip(&sourced.set.keys) {
            *slot = Some(StoredKey::new(key)?);
        }
        let issuer = Bytes::new(sourced.set.issuer.as_bytes())?;
        Some(StoredSet {
            issuer,
            source: sourced.source,
            fetched_at: sourced.fetched_at,
            keys,
        })
    }

    pub fn age(&self, now: i64) -> Duration {
        Duration::from_micros(now.saturating_sub(self.fetched_at).try_into().unwrap_or(0))
    }
}

impl StoredScope {
    pub fn new(scope: &Scope) -> Option<StoredScope> {
        let host = match &scope.authority.host {
            Some(host) => Some(Bytes::new(host.as_bytes())?),
            None => None,
        };
        Some(StoredScope {
            cloud: scope.authority.cloud,
            host,
            tenant: scope.tenant.into_bytes(),
        })
    }

    pub fn is(&self, scope: &Scope) -> bool {
        self.cloud == scope.authority.cloud
            && self.host.as_ref().map(Bytes::as_str) == scope.authority.host.as_deref()
            && self.tenant == *scope.tenant.as_bytes()
    }
}
