//! The last valid keys on disk, so that tokens are accepted after a restart while the authority is unreachable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use entra_token::{Cloud, KeySet, TokenVersion};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::pg::server;
use crate::shared::keys::scope::Scope;
use crate::shared::keys::stored::{Source, SourcedSet};

/// Two sets of sixteen keys of 4096 bits need less than 32 kB.
const MAX_SIZE: u64 = 256 * 1024;

/// How far a stored time may be ahead of the clock: a set from the future would not age.
const MAX_CLOCK_ERROR: i64 = 5 * 60 * 1_000_000;

/// Why stored keys are not used.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is not in the format of this version of aadauth ({0})")]
    Malformed(#[from] serde_json::Error),
    #[error("it is larger than {MAX_SIZE} bytes")]
    TooLarge,
    #[error("it was written for another cloud, authority or tenant")]
    OtherScope,
    #[error("its time is in the future")]
    FromFuture,
    #[error("its {0} keys are not acceptable ({1})")]
    Keys(TokenVersion, String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedKeys {
    format: Format,
    cloud: Cloud,
    authority_host: Option<String>,
    tenant: Uuid,
    sets: Vec<SavedSet>,
}

/// The number of this file format.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
struct Format;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedSet {
    version: TokenVersion,
    issuer: String,
    /// Microseconds since the Unix epoch.
    fetched_at: i64,
    /// A JWK set, which is read by the same rules as one from the network.
    jwks: serde_json::Value,
}

/// Writes the sets to a new file, then replaces the old one by it.
///
/// # Errors
/// The old file is unchanged.
pub fn save(scope: &Scope, sets: &[SourcedSet]) -> Result<(), StoreError> {
    let content = write(scope, sets)?;
    let (path, beside) = (path(), path().with_extension("json.new"));
    // Left over from a crash, with an unknown mode.
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(&content)?;
    file.sync_all()?;
    fs::rename(&beside, &path)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Reads the sets that were saved for this scope; `Ok(None)` if there is no file.
///
/// # Errors
/// See [`StoreError`]; the file is not used.
pub fn load(scope: &Scope, now: i64) -> Result<Option<Vec<SourcedSet>>, StoreError> {
    let file = match File::open(path()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut content = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_SIZE {
        return Err(StoreError::TooLarge);
    }
    read(&content, scope, now).map(Some)
}

/// Where the sets are kept.
pub fn path() -> PathBuf {
    server::own_directory().join("signing-keys.json")
}

fn write(scope: &Scope, sets: &[SourcedSet]) -> Result<Vec<u8>, StoreError> {
    let stored = SavedKeys {
        format: Format,
        cloud: scope.authority.cloud,
        authority_host: scope.authority.host.clone(),
        tenant: scope.tenant,
        sets: sets.iter().map(SavedSet::new).collect(),
    };
    Ok(serde_json::to_vec_pretty(&stored)?)
}

fn read(content: &[u8], scope: &Scope, now: i64) -> Result<Vec<SourcedSet>, StoreError> {
    let stored: SavedKeys = serde_json::from_slice(content)?;
    let of_scope = stored.cloud == scope.authority.cloud
        && stored.authority_host == scope.authority.host
        && stored.tenant == scope.tenant;
    if !of_scope {
        return Err(StoreError::OtherScope);
    }
    stored
        .sets
        .into_iter()
        .map(|set| set.check(scope, now))
        .collect()
}

impl SavedSet {
    fn new(sourced: &SourcedSet) -> SavedSet {
        SavedSet {
            version: sourced.set.version,
            issuer: sourced.set.issuer.clone(),
            fetched_at: sourced.fetched_at,
            jwks: sourced.set.to_jwks(),
        }
    }

    fn check(self, scope: &Scope, now: i64) -> Result<SourcedSet, StoreError> {
        if self.issuer != scope.issuer(self.version) {
            return Err(StoreError::OtherScope);
        }
        if self.fetched_at > now.saturating_add(MAX_CLOCK_ERROR) {
            return Err(StoreError::FromFuture);
        }
        let jwks = serde_json::to_vec(&self.jwks)?;
        let set = KeySet::from_jwks(self.version, &self.issuer, scope.tenant, &jwks)
            .map_err(|error| StoreError::Keys(self.version, error.to_string()))?;
        Ok(SourcedSet {
            set,
            source: Source::Disk,
            fetched_at: self.fetched_at,
        })
    }
}

impl From<Format> for u8 {
    fn from(_: Format) -> u8 {
        1
    }
}

impl TryFrom<u8> for Format {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Format, &'static str> {
        (number == 1).then_some(Format).ok_or("unknown format")
    }
}

#[cfg(test)]
mod tests {
    use entra_token::{Authority, SigningKey};

    use super::*;

    const NOW: i64 = 1_700_000_000_000_000;

    fn scope() -> Scope {
        let authority = Authority {
            cloud: Cloud::Public,
            host: Some("https://localhost:8443".into()),
        };
        Scope {
            authority,
            tenant: Uuid::from_u128(7),
        }
    }

    fn stored() -> String {
        let key = |key_id: &str, bytes: usize| {
            // Odd, with its highest bit set, and without the fingerprint of CVE-2017-15361.
            let modulus = (0..bytes).map(|i| (i * 37 + 201) as u8 | 1).collect();
            SigningKey {
                key_id: key_id.into(),
                modulus,
                exponent: vec![1, 0, 1],
            }
        };
        let set = |version, keys| SourcedSet {
            set: KeySet {
                version,
                issuer: scope().issuer(version),
                keys,
            },
            source: Source::Network,
            fetched_at: NOW,
        };
        let sets = [
            set(TokenVersion::V1, vec![key("a", 256), key("b", 512)]),
            set(TokenVersion::V2, vec![key("a", 256)]),
        ];
        String::from_utf8(write(&scope(), &sets).unwrap()).unwrap()
    }

    fn load(content: &str) -> Result<Vec<SourcedSet>, StoreError> {
        read(content.as_bytes(), &scope(), NOW)
    }

    #[test]
    fn what_was_written_is_read_as_of_then() {
        let sets = read(stored().as_bytes(), &scope(), NOW + 1).unwrap();
        assert_eq!(sets.len(), 2);
        assert_eq!(sets[0].set.keys.len(), 2);
        assert_eq!(sets[0].set.keys[1].modulus.len(), 512);
        assert!(
            sets.iter()
                .all(|set| set.source == Source::Disk && set.fetched_at == NOW)
        );
    }

    #[test]
    fn another_scope_discards() {
        for (is, becomes) in [
            ("\"public\"", "\"china\""),
            ("\"https://localhost:8443\"", "\"https://localhost:8444\""),
            ("\"https://localhost:8443\"", "null"),
            ("0000-000000000007\",", "0000-000000000008\","),
            ("7/v2.0\"", "8/v2.0\""),
        ] {
            let content = stored().replacen(is, becomes, 1);
            assert_ne!(content, stored(), "{is}");
            assert!(
                matches!(load(&content), Err(StoreError::OtherScope)),
                "{is}"
            );
        }
    }

    #[test]
    fn damage_discards() {
        let content = stored();
        for end in [0, 1, content.len() / 2, content.len() - 1] {
            assert!(
                matches!(load(&content[..end]), Err(StoreError::Malformed(_))),
                "{end}"
            );
        }
        for (is, becomes) in [
            ("\"format\": 1", "\"format\": 2"),
            ("\"cloud\"", "\"clouds\""),
            ("\"format\"", "\"more\": 0, \"format\""),
        ] {
            assert!(matches!(
                load(&content.replacen(is, becomes, 1)),
                Err(StoreError::Malformed(_))
            ));
        }
        let without_kid = content.replacen("\"kid\": \"b\"", "\"kid\": \"a\"", 1);
        assert!(matches!(
            load(&without_kid),
            Err(StoreError::Keys(TokenVersion::V1, _))
        ));
    }

    /// A set from the future would serve for longer than the maximum age.
    #[test]
    fn the_future_discards() {
        let at = |now| read(stored().as_bytes(), &scope(), now);
        assert!(at(NOW - MAX_CLOCK_ERROR).is_ok());
        assert!(matches!(
            at(NOW - MAX_CLOCK_ERROR - 1),
            Err(StoreError::FromFuture)
        ));
    }
}
