//! Whose privileges this code runs with, and what privileges roles have.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

/// Whether CREATEROLE lets a role grant, alter and drop every role that is not a superuser. Since
/// PostgreSQL 16 it also requires ADMIN OPTION on the role, and a grant can restrict what it confers (INHERIT, SET).
pub const CREATEROLE_IS_BROAD: bool = cfg!(feature = "pg15");

/// The superuser that initdb creates, which cannot be dropped (pg_authid.dat).
pub const BOOTSTRAP_SUPERUSER: pg_sys::Oid = pg_sys::Oid::from_u32(10);

#[pgrx::pg_guard]
unsafe extern "C-unwind" {
    fn aad_privilege_behind(role: pg_sys::Oid) -> pg_sys::Oid;
    fn aad_lock_role(role: pg_sys::Oid) -> bool;
}

/// The role whose privileges apply: the session's, unless SET ROLE or a SECURITY DEFINER function
/// changed it.
pub fn current_user() -> pg_sys::Oid {
    // SAFETY: a plain read (miscinit.c); sessions that run SQL have it set.
    unsafe { pg_sys::GetUserId() }
}

/// The session's role; only a superuser's SET SESSION AUTHORIZATION changes it.
pub fn session_user() -> pg_sys::Oid {
    // SAFETY: as above.
    unsafe { pg_sys::GetSessionUserId() }
}

/// Whether the current user was set by a SECURITY DEFINER function, or by maintenance of another role's table.
pub fn is_user_switched() -> bool {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: both pointers are valid for the call (miscinit.c).
    unsafe { pg_sys::GetUserIdAndSecContext(&mut user, &mut context) };
    context != 0
}

/// Whether the role has SUPERUSER itself, which is not inherited.
pub fn is_superuser(role: pg_sys::Oid) -> bool {
    // SAFETY: a syscache lookup, made inside a transaction; an unknown OID is not a superuser (superuser.c).
    unsafe { pg_sys::superuser_arg(role) }
}

/// Whether `member` may grant `role` to others, being a superuser or having ADMIN OPTION on it.
pub fn is_admin_of(member: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: syscache lookups, made inside a transaction (acl.c).
    unsafe { pg_sys::is_admin_of_role(member, role) }
}

/// Whether `member` has the privileges of `role`: is it, is a superuser, or inherits them.
pub fn has_privileges_of(member: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: as above.
    unsafe { pg_sys::has_privs_of_role(member, role) }
}

/// The privileged role that `role` is, or is a direct or indirect member of.
///
/// Privileged means more than privileges on databases and their objects: SUPERUSER, REPLICATION, BYPASSRLS,
/// `pg_read_all_data`, `pg_write_all_data`, `pg_read_server_files`, `pg_write_server_files`,
/// `pg_execute_server_program`, and `aadauth_auditor`.
pub fn privilege_behind(role: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: reads pg_authid and memberships, inside the statement's transaction.
    let found = unsafe { aad_privilege_behind(role) };
    (found != pg_sys::InvalidOid).then_some(found)
}

/// The role of that name.
pub fn role_named(name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: the name is NUL-terminated; `true` makes an unknown one InvalidOid (acl.c).
    let role = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
    (role != pg_sys::InvalidOid).then_some(role)
}

/// Lets the following look-ups see what other sessions have committed meanwhile.
pub fn accept_invalidations() {
    // SAFETY: called inside a transaction, as every lock that is taken does it (inval.c).
    unsafe { pg_sys::AcceptInvalidationMessages() }
}

/// The role's name; `None` when it has been dropped.
pub fn name_of(role: pg_sys::Oid) -> Option<String> {
    // SAFETY: `true` makes an unknown OID NULL, else the result is palloc'd and NUL-terminated
    // (miscinit.c).
    unsafe {
        let name: *const c_char = pg_sys::GetUserNameFromId(role, true);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}

/// Keeps the role from being dropped until the transaction ends; `false` if it was dropped already.
pub fn lock_role(role: pg_sys::Oid) -> bool {
    // SAFETY: takes a lock that the lock manager releases at the end of the transaction (lmgr.c).
    unsafe { aad_lock_role(role) }
}

/// Runs one statement as the bootstrap superuser.
///
/// The statement must not run other users' code: GRANT and REVOKE of roles do not.
pub fn as_bootstrap_superuser<T>(statement: impl FnOnce() -> T) -> T {
    let _raised = Raised::now();
    statement()
}

/// The user and security context to restore.
struct Raised {
    user: pg_sys::Oid,
    context: i32,
}

impl Raised {
    fn now() -> Self {
        let mut before = Raised {
            user: pg_sys::InvalidOid,
            context: 0,
        };
        // SAFETY: both pointers are valid for the call. As for a SECURITY DEFINER function (fmgr.c,
        // fmgr_security_definer), SECURITY_LOCAL_USERID_CHANGE forbids SET ROLE meanwhile.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut before.user, &mut before.context);
            pg_sys::SetUserIdAndSecContext(
                BOOTSTRAP_SUPERUSER,
                before.context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32,
            );
        }
        before
    }
}

/// Also while an ERROR unwinds, and before the transaction's abort, which would do the same (xact.c,
/// AbortTransaction).
impl Drop for Raised {
    fn drop(&mut self) {
        // SAFETY: restores what `now` read in this call.
        unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.context) }
    }
}
