//! Whose privileges this code runs with, and what privileges roles have.

use std::ffi::{CStr, c_char, c_int};
use std::slice;

use pgrx::prelude::*;

use super::query;
use super::text::{self, SqlText};

/// Whether CREATEROLE lets a role grant, alter and drop every role that is not a superuser. Since
/// PostgreSQL 16 it also requires ADMIN OPTION on the role, and a grant can restrict what it confers (INHERIT, SET).
pub const CREATEROLE_IS_BROAD: bool = cfg!(feature = "pg15");

/// The superuser that initdb creates, which cannot be dropped (pg_authid.dat).
pub const BOOTSTRAP_SUPERUSER: pg_sys::Oid = pg_sys::Oid::from_u32(10);

#[pgrx::pg_guard]
unsafe extern "C-unwind" {
    fn aad_roles_behind(role: pg_sys::Oid, count: *mut c_int) -> *const pg_sys::Oid;
    fn aad_members(role: pg_sys::Oid, count: *mut c_int) -> *const Membership;
    fn aad_own_privileges(role: pg_sys::Oid) -> c_int;
    fn aad_privileges_without_grants(role: pg_sys::Oid) -> c_int;
    fn aad_lock_role(role: pg_sys::Oid);
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

/// The role, and then all roles that it is a direct or indirect member of, whatever these memberships allow.
pub fn roles_behind(role: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let mut count = 0;
    // SAFETY: reads memberships, inside the statement's transaction; the result has that many OIDs, palloc'd, and is
    // copied at once.
    unsafe {
        let roles = aad_roles_behind(role, &mut count);
        slice::from_raw_parts(roles, usize::try_from(count).unwrap_or_default()).to_vec()
    }
}

/// `AadMembership` of catalog.h.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Membership {
    pub member: pg_sys::Oid,
    pub grantor: pg_sys::Oid,
    /// It has ADMIN OPTION.
    pub administers: bool,
    /// It has INHERIT or SET, as all memberships before PostgreSQL 16.
    pub is_used: bool,
}

/// The memberships in the role, as they are committed now or made by this transaction, whatever its snapshot.
pub fn members_of(role: pg_sys::Oid) -> Vec<Membership> {
    let mut count = 0;
    // SAFETY: reads memberships, inside the statement's transaction; the result has that many, palloc'd, and is copied
    // at once.
    unsafe {
        let members = aad_members(role, &mut count);
        slice::from_raw_parts(members, usize::try_from(count).unwrap_or_default()).to_vec()
    }
}

/// What a role has, by itself, beyond privileges on databases and their objects: SUPERUSER, REPLICATION or
/// BYPASSRLS; it is `pg_read_all_data`, `pg_write_all_data`, `pg_read_server_files`, `pg_write_server_files`,
/// `pg_execute_server_program`, `pg_maintain`, `aadauth_auditor`, `aadauth_monitor`, `aadauth_pooler` or `azure_pg_admin`;
/// a configuration parameter was granted to it, or a function that reads or writes the server's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnPrivileges(c_int);

impl OwnPrivileges {
    pub const NONE: OwnPrivileges = OwnPrivileges(0);
    /// `AAD_REPLICATION` and `AAD_BYPASSRLS` of catalog.h.
    const ATTRIBUTES: c_int = 1 | 2;

    pub fn of(role: pg_sys::Oid) -> OwnPrivileges {
        // SAFETY: reads shared catalogs, inside the statement's transaction.
        OwnPrivileges(unsafe { aad_own_privileges(role) })
    }

    /// The same without what was granted to it, as it can be read before a database is chosen.
    pub fn without_grants(role: pg_sys::Oid) -> OwnPrivileges {
        // SAFETY: reads nailed shared catalogs, inside the transaction that every sign-in has.
        OwnPrivileges(unsafe { aad_privileges_without_grants(role) })
    }

    /// Without the attributes that `holder` has as well.
    pub fn without_attributes_of(self, holder: OwnPrivileges) -> OwnPrivileges {
        OwnPrivileges(self.0 & !(holder.0 & Self::ATTRIBUTES))
    }
}

/// The role of that name. What the database's encoding lacks is no role's name.
pub fn role_named(name: &str) -> Option<pg_sys::Oid> {
    let name = text::exact(name)?;
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
        (!name.is_null()).then(|| text::decode_c(CStr::from_ptr(name)))
    }
}

/// The role's name, which it keeps until the transaction ends; `None` when it has been dropped.
///
/// Statements name roles, and between two of them a name can become another role's. Renaming and dropping a role need
/// its row for themselves, and wait for this lock on it. GRANT takes none on its roles; the other lock, which DROP ROLE
/// takes as well (user.c, DropRole), keeps it from overlooking a membership that this transaction adds.
///
/// # Errors
/// The row cannot be locked: another session is renaming the role, in a transaction with an older snapshot.
pub fn pin(role: pg_sys::Oid) -> spi::Result<Option<String>> {
    // SAFETY: takes a lock that the lock manager releases at the end of the transaction (lmgr.c).
    unsafe { aad_lock_role(role) };
    let statement = "SELECT rolname::text FROM pg_catalog.pg_authid WHERE oid = $1 FOR KEY SHARE";
    let name = as_bootstrap_superuser(|| {
        Spi::connect_mut(|client| {
            let rows = query::update(client, statement, Some(1), &[role.into()])?;
            if rows.is_empty() {
                return Ok(None);
            }
            let name = rows.first().get::<SqlText>(1)?;
            Ok(name.map(|name| name.0))
        })
    });
    // The name that the caches have may be older.
    accept_invalidations();
    name
}

/// Runs one statement as the bootstrap superuser, in which unqualified names are those of pg_catalog.
///
/// The statement must not run other users' code: GRANT and REVOKE of roles, and reading catalogs, do not.
pub fn as_bootstrap_superuser<T>(statement: impl FnOnce() -> T) -> T {
    let _raised = Raised::now();
    statement()
}

/// The user, security context and settings to restore.
struct Raised {
    user: pg_sys::Oid,
    context: i32,
    settings: i32,
}

impl Raised {
    fn now() -> Self {
        let mut before = Raised {
            user: pg_sys::InvalidOid,
            context: 0,
            // SAFETY: opens a level of settings that the drop closes (guc.c).
            settings: unsafe { pg_sys::NewGUCNestLevel() },
        };
        // SAFETY: both pointers and strings are valid for the calls. As for a SECURITY DEFINER function (fmgr.c,
        // fmgr_security_definer), SECURITY_LOCAL_USERID_CHANGE forbids SET ROLE meanwhile.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut before.user, &mut before.context);
            pg_sys::SetUserIdAndSecContext(
                BOOTSTRAP_SUPERUSER,
                before.context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32,
            );
            // No operator or function of another user's (fmgr.c does the same for a function's settings).
            pg_sys::set_config_option(
                c"search_path".as_ptr(),
                c"pg_catalog, pg_temp".as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
        before
    }
}

/// Also while an ERROR unwinds, and before the transaction's abort, which would do the same (xact.c,
/// AbortTransaction).
impl Drop for Raised {
    fn drop(&mut self) {
        // SAFETY: restores what `now` read, and closes the level that it opened.
        unsafe {
            pg_sys::AtEOXact_GUC(true, self.settings);
            pg_sys::SetUserIdAndSecContext(self.user, self.context);
        }
    }
}
