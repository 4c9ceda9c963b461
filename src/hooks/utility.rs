//! The hook that passes statements to the guards: those that change roles to `principals::guard`, and
//! those that drop the extension to `audit::guard`.

use pgrx::pg_sys;

use crate::pg::privileges::CREATEROLE_IS_BROAD;
use crate::{audit, principals};

type RoleCheck = unsafe extern "C-unwind" fn(pg_sys::Oid);
type DropCheck = unsafe extern "C-unwind" fn();

#[pgrx::pg_guard]
unsafe extern "C-unwind" {
    fn aad_guard_statements(
        on_grant: Option<RoleCheck>,
        on_alter: Option<RoleCheck>,
        on_drop: DropCheck,
    );
}

/// Installs the hook; called from `_PG_init`. Roles are guarded where CREATEROLE is broad.
pub fn init() {
    let (on_grant, on_alter) = if CREATEROLE_IS_BROAD {
        (Some(granting as RoleCheck), Some(altering as RoleCheck))
    } else {
        (None, None)
    };
    // SAFETY: _PG_init runs in the single-threaded postmaster; utility.h declares these signatures, and a
    // function pointer that may be NULL is an Option here.
    unsafe { aad_guard_statements(on_grant, on_alter, dropping) }
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
unsafe extern "C-unwind" fn dropping() {
    audit::guard::check_drop();
}
