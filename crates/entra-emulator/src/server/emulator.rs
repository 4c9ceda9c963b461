//! What the handlers share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use uuid::Uuid;

use super::authorize::AuthorizationCodes;
use super::faults::Faults;
use super::requests::Requests;
use super::token_endpoint::{DeviceCodes, RefreshTokens};
use crate::authority::Authority;
use crate::directory::{Change, ChangeError, Directory, Subject};
use crate::signing_keys::SigningKeys;
use crate::state::StateDirectory;
use crate::token::Token;

pub(super) struct Emulator {
    pub(super) state: StateDirectory,
    pub(super) directory: RwLock<Directory>,
    pub(super) authority: Authority,
    pub(super) keys: Mutex<SigningKeys>,
    pub(super) faults: Mutex<Faults>,
    pub(super) requests: Mutex<Requests>,
    /// Tokens of managed identities, by object id and resource: the endpoint hands out the same
    /// one for as long as it is good.
    pub(super) managed_tokens: Mutex<HashMap<(Uuid, String), Token>>,
    pub(super) identity_header: String,
    pub(super) refresh_tokens: Mutex<RefreshTokens>,
    pub(super) device_codes: Mutex<DeviceCodes>,
    pub(super) authorization_codes: Mutex<AuthorizationCodes>,
    /// Who enters every device code at once, and signs in wherever a browser is sent.
    pub(super) device_user: Option<Subject>,
}

pub(super) type Shared = Arc<Emulator>;

impl Emulator {
    pub(super) fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change that lasts until the emulator stops.
    pub(super) fn change_directory(&self, change: &Change) -> Result<Uuid, ChangeError> {
        let mut directory = self
            .directory
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        directory.apply(change)
    }

    pub(super) fn keys(&self) -> MutexGuard<'_, SigningKeys> {
        locked(&self.keys)
    }
}

/// A panic of another request leaves nothing here half done.
pub(super) fn locked<Value>(mutex: &Mutex<Value>) -> MutexGuard<'_, Value> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
