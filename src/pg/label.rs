//! The labels of the providers `pgaadauth` and `pgaadauth-int` in the shared catalog `pg_shseclabel`.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int};
use std::{ptr, slice};

use entra_token::{Mapping, Reason};
use pgrx::prelude::*;

use super::lock_holder::{self, Lock, LockHolder};
use super::role::{self, INTERNAL_PROVIDER, PUBLIC_PROVIDER};
use super::text;

/// One of our two label providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// `pgaadauth`, whose labels administrators write.
    Public,
    /// `pgaadauth-int`, whose labels decide.
    Internal,
}

impl Provider {
    pub fn name(self) -> &'static CStr {
        match self {
            Provider::Public => PUBLIC_PROVIDER,
            Provider::Internal => INTERNAL_PROVIDER,
        }
    }

    pub fn other(self) -> Self {
        match self {
            Provider::Public => Provider::Internal,
            Provider::Internal => Provider::Public,
        }
    }
}

/// The labels of one role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    pub public: Option<String>,
    pub internal: Option<String>,
}

impl Labels {
    /// What they map the role to; `Ok(None)` if it has neither.
    ///
    /// # Errors
    /// As [`Mapping::from_labels`].
    pub fn mapping(&self) -> Result<Option<Mapping>, Reason> {
        Mapping::from_labels(self.public.as_deref(), self.internal.as_deref())
    }
}

/// `AadLabel` of catalog.h.
#[repr(C)]
struct Row {
    role: pg_sys::Oid,
    internal: bool,
    text: *const c_char,
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" {
    fn aad_role_labels(count: *mut c_int) -> *const Row;
}

/// The role's labels, including those that this transaction has set.
pub fn read(role: pg_sys::Oid) -> Labels {
    Labels {
        public: role::label(role, PUBLIC_PROVIDER),
        internal: role::label(role, INTERNAL_PROVIDER),
    }
}

/// Every role that has a label of either provider, with its labels.
pub fn all() -> HashMap<pg_sys::Oid, Labels> {
    let mut count = 0;
    // SAFETY: aad_role_labels returns that many rows, palloc'd, so that they stay valid until this function
    // is done with them.
    let rows = unsafe {
        let rows = aad_role_labels(&mut count);
        slice::from_raw_parts(rows, usize::try_from(count).unwrap_or_default())
    };
    let mut roles: HashMap<pg_sys::Oid, Labels> = HashMap::new();
    for row in rows {
        // SAFETY: the texts are NUL-terminated, and palloc'd as well.
        let text = text::decode_c(unsafe { CStr::from_ptr(row.text) });
        let labels = roles.entry(row.role).or_default();
        *(if row.internal {
            &mut labels.internal
        } else {
            &mut labels.public
        }) = Some(text);
    }
    roles
}

/// Writes or, with `None`, deletes a label without calling its provider.
pub fn set(role: pg_sys::Oid, provider: Provider, label: Option<&str>) {
    let object = pg_sys::ObjectAddress {
        classId: pg_sys::AuthIdRelationId,
        objectId: role,
        objectSubId: 0,
    };
    let label = label.map(text::encode);
    let text = label.as_ref().map_or(ptr::null(), |label| label.as_ptr());
    // SAFETY: the address and the text outlive the call, which copies them (seclabel.c).
    unsafe { pg_sys::SetSecurityLabel(&object, provider.name().as_ptr(), text) }
}

/// Lets one transaction at a time change labels, until it ends.
///
/// # Errors
/// Another transaction still holds the lock after some seconds.
pub fn lock() -> Result<(), LockHolder> {
    lock_holder::lock_soon(Lock::Labels)
}
