//! The hook that shows the guard (`principals::guard`) every statement that changes roles.

use pgrx::pg_sys;

use crate::principals::guard;

type RoleCheck = unsafe extern "C-unwind" fn(pg_sys::Oid);

#[pgrx::pg_guard]
unsafe extern "C-unwind" {
    fn aad_guard_role_statements(on_grant: RoleCheck, on_alter: RoleCheck);
}

/// Installs the hook; called from `_PG_init`.
pub fn init() {
    // SAFETY: _PG_init runs in the single-threaded postmaster; utility.h declares this signature.
    unsafe { aad_guard_role_statements(granting, altering) }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn granting(role: pg_sys::Oid) {
    guard::granting(role);
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn altering(role: pg_sys::Oid) {
    guard::altering(role);
}
