//! Faults on request, inside the decision, for the tests that show what they lead to.

use std::ffi::CString;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;

static INJECT_FAULT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

pub fn init() {
    GucRegistry::define_string_guc(
        c"aadauth.inject_fault",
        c"Make the decision \"panic\" or raise an \"error\".",
        c"",
        &INJECT_FAULT,
        GucContext::Sighup,
        GucFlags::default(),
    );
}

/// Fails as the setting says.
///
/// # Panics
/// Always, unless the setting is empty; with `error`, by a genuine ERROR of PostgreSQL.
pub fn inject() {
    match INJECT_FAULT.get().as_deref().map(|fault| fault.to_bytes()) {
        Some(b"panic") => {
            #[allow(clippy::panic, reason = "that is what is asked for")]
            {
                panic!("a panic on request");
            }
        }
        Some(b"error") => {
            // SAFETY: more than MaxAllocSize, so that palloc raises an ERROR and allocates nothing (mcxt.c).
            unsafe { pg_sys::palloc(usize::MAX / 2) };
        }
        _ => (),
    }
}
