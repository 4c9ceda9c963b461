//! The label providers `pgaadauth` and `pgaadauth-int`: what SECURITY LABEL calls, and the labels
//! in the shared catalog `pg_shseclabel`.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int};
use std::{ptr, slice};

use pgrx::pg_sys;

use super::role::{self, INTERNAL_PROVIDER, PUBLIC_PROVIDER};
use super::{log, server};
use crate::principals;

/// One of our two label providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// `pgaadauth`, whose labels people write.
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
    fn aad_lock_labels();
}

/// Registers both providers; `_PG_init` calls it, so that every backend has them.
pub fn init() {
    // SAFETY: register_label_provider copies the name (seclabel.c), and the functions are of the
    // type it asks for.
    unsafe {
        pg_sys::register_label_provider(PUBLIC_PROVIDER.as_ptr(), Some(relabel_public));
        pg_sys::register_label_provider(INTERNAL_PROVIDER.as_ptr(), Some(relabel_internal));
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn relabel_public(
    object: *const pg_sys::ObjectAddress,
    label: *const c_char,
) {
    // SAFETY: passed on as ExecSecLabelStmt gave them.
    unsafe { relabel(Provider::Public, object, label) }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn relabel_internal(
    object: *const pg_sys::ObjectAddress,
    label: *const c_char,
) {
    // SAFETY: as above.
    unsafe { relabel(Provider::Internal, object, label) }
}

/// Called by `ExecSecLabelStmt` (seclabel.c) when it has locked the object and found its owner's
/// rights in order, and before it writes the label.
///
/// # Safety
/// `object` must be valid, and `label` NULL or NUL-terminated.
unsafe fn relabel(provider: Provider, object: *const pg_sys::ObjectAddress, label: *const c_char) {
    #[cfg(feature = "fault-injection")]
    super::fault::inject();
    // pg_upgrade replays both labels of each role as they were.
    if server::is_binary_upgrade() {
        return;
    }
    // SAFETY: the caller vouches for both pointers.
    let (object, label) = unsafe {
        let label = (!label.is_null()).then(|| CStr::from_ptr(label).to_string_lossy());
        (*object, label)
    };
    let role = (object.classId == pg_sys::AuthIdRelationId).then_some(object.objectId);
    principals::relabel(provider, role, label.as_deref());
}

/// The role's labels, those that this transaction has set included.
pub fn of(role: pg_sys::Oid) -> Labels {
    Labels {
        public: role::label(role, PUBLIC_PROVIDER),
        internal: role::label(role, INTERNAL_PROVIDER),
    }
}

/// Every role that has a label of ours, with its labels.
pub fn all() -> HashMap<pg_sys::Oid, Labels> {
    let mut count = 0;
    // SAFETY: aad_role_labels returns that many rows, palloc'd, so that they stay where they are until
    // this function is done with them.
    let rows = unsafe {
        let rows = aad_role_labels(&mut count);
        slice::from_raw_parts(rows, usize::try_from(count).unwrap_or_default())
    };
    let mut roles: HashMap<pg_sys::Oid, Labels> = HashMap::new();
    for row in rows {
        // SAFETY: the texts are NUL-terminated, and palloc'd as well.
        let text = unsafe { CStr::from_ptr(row.text) }
            .to_string_lossy()
            .into_owned();
        let labels = roles.entry(row.role).or_default();
        *(if row.internal {
            &mut labels.internal
        } else {
            &mut labels.public
        }) = Some(text);
    }
    roles
}

/// Writes or, with `None`, deletes a label, asking nobody.
pub fn set(role: pg_sys::Oid, provider: Provider, label: Option<&str>) {
    let object = pg_sys::ObjectAddress {
        classId: pg_sys::AuthIdRelationId,
        objectId: role,
        objectSubId: 0,
    };
    let label = label.map(log::text);
    let text = label.as_ref().map_or(ptr::null(), |label| label.as_ptr());
    // SAFETY: the address and the text outlive the call, which copies them (seclabel.c).
    unsafe { pg_sys::SetSecurityLabel(&object, provider.name().as_ptr(), text) }
}

/// Lets one transaction at a time change labels, until it ends.
pub fn lock() {
    // SAFETY: takes a lock that the lock manager releases at the end of the transaction (lmgr.c).
    unsafe { aad_lock_labels() }
}
