//! Roles and their security labels, read from the shared catalogs: the only ones that can be read before
//! a database is chosen (`pg_authid` and `pg_shseclabel` are nailed for this, relcache.c
//! `RelationCacheInitializePhase2`).

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

use pgrx::pg_sys;

use super::{shim, text};

/// The label provider whose labels Azure documents and administrators write.
pub const PUBLIC_PROVIDER: &CStr = c"pgaadauth";
/// The label provider that carries the resolved principal.
pub const INTERNAL_PROVIDER: &CStr = c"pgaadauth-int";

/// A role as a sign-in reads it. Two readings are equal if nothing has changed that a verdict depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub oid: pg_sys::Oid,
    pub can_login: bool,
    /// VALID UNTIL has passed.
    pub expired: bool,
    pub public_label: Option<String>,
    pub internal_label: Option<String>,
}

impl Role {
    /// Whether the role is mapped. A damaged label counts: a role that has either label is never treated as local.
    pub fn is_mapped(&self) -> bool {
        self.public_label.is_some() || self.internal_label.is_some()
    }
}

/// The role of that name, with what other sessions have committed by now; `None` if there is none.
///
/// # Panics
/// With PostgreSQL's ERROR when a catalog cannot be read, for example because a label was toasted.
pub fn read(name: &CStr) -> Option<Role> {
    // SAFETY: sign-in runs inside the transaction that InitPostgres opened (postinit.c), which is what
    // both calls need; the next catalog scan then takes a fresh snapshot.
    unsafe {
        pg_sys::AcceptInvalidationMessages();
        pg_sys::InvalidateCatalogSnapshot();
    }
    let mut row = MaybeUninit::<shim::Role>::uninit();
    // SAFETY: the name is NUL-terminated; the shim fills the whole struct, found or not.
    let (found, row) = unsafe {
        let found = shim::aad_role_by_name(name.as_ptr(), row.as_mut_ptr());
        (found, row.assume_init())
    };
    found.then(|| Role {
        oid: row.oid,
        can_login: row.can_login,
        expired: row.expired,
        public_label: label(row.oid, PUBLIC_PROVIDER),
        internal_label: label(row.oid, INTERNAL_PROVIDER),
    })
}

/// The role's label of that provider.
///
/// # Panics
/// As [`read`].
pub fn label(role: pg_sys::Oid, provider: &CStr) -> Option<String> {
    let object = pg_sys::ObjectAddress {
        classId: pg_sys::AuthIdRelationId,
        objectId: role,
        objectSubId: 0,
    };
    // SAFETY: the address outlives the call. GetSecurityLabel (seclabel.c) looks roles up in
    // pg_shseclabel and returns NULL or a palloc'd string of its own.
    unsafe {
        let label: *const c_char = pg_sys::GetSecurityLabel(&object, provider.as_ptr());
        (!label.is_null()).then(|| text::decode_c(CStr::from_ptr(label)))
    }
}
