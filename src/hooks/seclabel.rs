//! What SECURITY LABEL calls: the label providers `pgaadauth` and `pgaadauth-int`.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

use crate::pg::label::Provider;
use crate::pg::role::{INTERNAL_PROVIDER, PUBLIC_PROVIDER};
use crate::pg::{server, text};
use crate::principals;

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

/// Called by `ExecSecLabelStmt` (seclabel.c) when it has locked the object and checked its ownership, before it
/// writes the label.
///
/// # Safety
/// `object` must be valid, and `label` NULL or NUL-terminated.
unsafe fn relabel(provider: Provider, object: *const pg_sys::ObjectAddress, label: *const c_char) {
    #[cfg(feature = "fault-injection")]
    crate::pg::fault::inject();
    // pg_upgrade replays both labels of each role as they were.
    if server::is_binary_upgrade() {
        return;
    }
    // SAFETY: the caller vouches for both pointers.
    let (object, label) = unsafe {
        let label = (!label.is_null()).then(|| text::decode_c(CStr::from_ptr(label)));
        (*object, label)
    };
    let role = (object.classId == pg_sys::AuthIdRelationId).then_some(object.objectId);
    principals::relabel(provider, role, label.as_deref());
}
