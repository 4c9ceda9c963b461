//! Text settings with a check hook.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;

use super::log::text;
use super::shim;

/// The check of a text setting.
pub trait Rule {
    /// `Err` says what is accepted instead; it becomes the DETAIL of PostgreSQL's error.
    fn check(value: &str) -> Result<(), String>;
}

type Check = fn(&str) -> Result<(), String>;

thread_local! {
    // Filled in the postmaster, from which every process has its copy.
    static RULES: RefCell<Vec<(&'static CStr, Check)>> = const { RefCell::new(Vec::new()) };
}

/// Why that setting does not accept `value`; `None` if it accepts the value, or was not registered by [`define`].
pub fn check_error(name: &str, value: &str) -> Option<String> {
    let rule = RULES.with_borrow(|rules| {
        let mut rules = rules.iter();
        rules
            .find(|(own, _)| own.to_bytes().eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, check)| *check)
    })?;
    if value.is_empty() {
        return None;
    }
    rule(value).err()
}

/// Registers a text setting that takes effect on reload and accepts what its rule accepts. An empty text means unset
/// and is always accepted.
pub fn define<R: Rule>(
    name: &'static CStr,
    summary: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
) {
    define_in::<R>(GucContext::Sighup, name, summary, setting);
}

/// [`define`] for a setting that takes effect when the server starts.
pub fn define_for_start<R: Rule>(
    name: &'static CStr,
    summary: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
) {
    define_in::<R>(GucContext::Postmaster, name, summary, setting);
}

fn define_in<R: Rule>(
    context: GucContext,
    name: &'static CStr,
    summary: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
) {
    RULES.with_borrow_mut(|rules| rules.push((name, R::check)));
    // SAFETY: the check hook lets no panic out, as define_string_guc_with_hooks demands.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            name,
            summary,
            c"",
            setting,
            context,
            GucFlags::SUPERUSER_ONLY,
            Some(check::<R>),
            None,
            None,
        );
    }
}

/// Makes unknown settings with our prefixes an error. Called after all settings are defined.
pub fn reserve_prefixes() {
    for prefix in [c"aadauth", c"pgaadauth"] {
        // SAFETY: a NUL-terminated constant, which guc.c copies.
        unsafe { pg_sys::MarkGUCPrefixReserved(prefix.as_ptr()) };
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn check<R: Rule>(
    new_value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: guc.c (call_string_check_hook) passes the address of a NUL-terminated string or of NULL.
    let value = unsafe {
        match *new_value {
            value if value.is_null() => return true,
            value => CStr::from_ptr(value),
        }
    };
    let verdict = match value.to_str() {
        Ok("") => Ok(()),
        Ok(value) => R::check(value),
        Err(_) => Err("The value is not UTF-8.".to_owned()),
    };
    let Err(detail) = verdict else { return true };
    // SAFETY: a NUL-terminated string that the shim copies; guc.c reads the copy after we return false.
    unsafe { shim::aad_setting_refused(text(&detail).as_ptr()) };
    false
}
