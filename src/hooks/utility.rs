//! The hook that passes statements to the guards: those that change roles to `principals::guard`, and
//! those that drop the extension or take its database away to `audit::guard`.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

use crate::pg::text;
use crate::{audit, principals};

/// `AadGuards` of utility.h.
#[repr(C)]
struct Guards {
    granting: unsafe extern "C-unwind" fn(pg_sys::Oid),
    altering: unsafe extern "C-unwind" fn(pg_sys::Oid),
    naming: unsafe extern "C-unwind" fn(*const c_char),
    labeling: unsafe extern "C-unwind" fn(pg_sys::Oid),
    is_privileged: unsafe extern "C-unwind" fn(pg_sys::Oid) -> bool,
    changed: unsafe extern "C-unwind" fn(pg_sys::Oid),
    password_given: unsafe extern "C-unwind" fn(pg_sys::Oid),
    dropping: unsafe extern "C-unwind" fn(),
    dropping_owned: unsafe extern "C-unwind" fn(pg_sys::Oid),
    losing_database: unsafe extern "C-unwind" fn(),
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" {
    fn aad_guard_statements(guards: Guards);
}

/// Installs the hook; called from `_PG_init`.
pub fn init() {
    let guards = Guards {
        granting,
        altering,
        naming,
        labeling,
        is_privileged,
        changed,
        password_given,
        dropping,
        dropping_owned,
        losing_database,
    };
    // SAFETY: _PG_init runs in the single-threaded postmaster; utility.h declares this struct.
    unsafe { aad_guard_statements(guards) }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn granting(role: pg_sys::Oid) {
    principals::guard::granting(role);
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn altering(role: pg_sys::Oid) {
    principals::guard::altering(role);
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn naming(name: *const c_char) {
    // SAFETY: the name in a statement's parse tree.
    let name = text::decode_c(unsafe { CStr::from_ptr(name) });
    principals::guard::naming(&name);
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn labeling(role: pg_sys::Oid) {
    principals::guard::labeling(role);
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn is_privileged(role: pg_sys::Oid) -> bool {
    principals::guard::is_privileged(role)
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn changed(role: pg_sys::Oid) {
    principals::guard::changed(role);
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn password_given(role: pg_sys::Oid) {
    principals::guard::password_given(role);
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn dropping() {
    audit::guard::check_drop();
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn dropping_owned(role: pg_sys::Oid) {
    audit::guard::check_drop_owned(role);
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn losing_database() {
    audit::guard::keep_database();
}
