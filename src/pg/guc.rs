//! Settings: how they are declared and registered, and the check hooks.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ops::RangeInclusive;

use pgrx::guc::{GucContext, GucEnum, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;

use super::{shim, text};

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

/// Why that setting does not accept `value`; `None` if it accepts the value, or has no rule.
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

/// Declares settings, each with its type, default and how it is registered, and a function `init` that registers them.
macro_rules! define_settings {
    ($($setting:ident: $value:ty = $default:expr, $define:ident$(::<$rule:ty>)?($($argument:expr),+ $(,)?);)+) => {
        $(static $setting: pgrx::guc::GucSetting<$value> = pgrx::guc::GucSetting::<$value>::new($default);)+

        /// Registers these settings.
        pub fn init() {
            $(crate::pg::guc::$define$(::<$rule>)?(&$setting, $($argument),+);)+
        }
    };
}
pub(crate) use define_settings;

pub type Text = Option<CString>;

pub fn switch(setting: &'static GucSetting<bool>, name: &'static CStr, summary: &'static CStr) {
    let (context, flags) = (GucContext::Sighup, GucFlags::empty());
    GucRegistry::define_bool_guc(name, summary, c"", setting, context, flags);
}

/// A switch of another product's, which has no effect here and everybody may set. ALTER SYSTEM and files must not have it:
/// the server reads them before it loads libraries, and does not start with an unknown name that has no prefix (guc-file.l).
pub fn switch_without_effect(
    setting: &'static GucSetting<bool>,
    name: &'static CStr,
    summary: &'static CStr,
    detail: &'static CStr,
) {
    RULES.with_borrow_mut(|rules| rules.push((name, |_| Err(IN_FILE.to_owned()))));
    let (context, flags) = (GucContext::Userset, GucFlags::DISALLOW_IN_FILE);
    let hook = Some(refuse_file as _);
    // SAFETY: the check hook lets no panic out, as define_bool_guc_with_hooks demands.
    unsafe {
        GucRegistry::define_bool_guc_with_hooks(
            name, summary, detail, setting, context, flags, hook, None, None,
        );
    }
}

pub fn choice<T: GucEnum>(
    setting: &'static GucSetting<T>,
    name: &'static CStr,
    summary: &'static CStr,
    detail: &'static CStr,
) {
    let (context, flags) = (GucContext::Sighup, GucFlags::empty());
    GucRegistry::define_enum_guc(name, summary, detail, setting, context, flags);
}

pub fn number(
    setting: &'static GucSetting<i32>,
    name: &'static CStr,
    summary: &'static CStr,
    detail: &'static CStr,
    range: RangeInclusive<i32>,
    unit: GucFlags,
) {
    let (least, most) = range.into_inner();
    let context = GucContext::Sighup;
    GucRegistry::define_int_guc(name, summary, detail, setting, least, most, context, unit);
}

pub fn seconds(
    setting: &'static GucSetting<i32>,
    name: &'static CStr,
    summary: &'static CStr,
    range: RangeInclusive<i32>,
) {
    number(setting, name, summary, c"", range, GucFlags::UNIT_S);
}

/// A limit in days, for which PostgreSQL has no unit. -1 is no limit; 0 could be taken for that and is refused.
pub fn days(
    setting: &'static GucSetting<i32>,
    name: &'static CStr,
    summary: &'static CStr,
    detail: &'static CStr,
    most: i32,
) {
    RULES.with_borrow_mut(|rules| rules.push((name, check_days)));
    let (context, flags) = (GucContext::Sighup, GucFlags::empty());
    let hook = Some(refuse_zero as _);
    // SAFETY: the check hook lets no panic out, as define_int_guc_with_hooks demands.
    unsafe {
        GucRegistry::define_int_guc_with_hooks(
            name, summary, detail, setting, -1, most, context, flags, hook, None, None,
        );
    }
}

/// A text that its rule accepts. An empty text means unset and is always accepted.
pub fn text<R: Rule>(
    setting: &'static GucSetting<Text>,
    name: &'static CStr,
    summary: &'static CStr,
) {
    text_in::<R>(GucContext::Sighup, setting, name, summary);
}

/// [`text`] that takes effect when the server starts.
pub fn text_at_start<R: Rule>(
    setting: &'static GucSetting<Text>,
    name: &'static CStr,
    summary: &'static CStr,
) {
    text_in::<R>(GucContext::Postmaster, setting, name, summary);
}

fn text_in<R: Rule>(
    context: GucContext,
    setting: &'static GucSetting<Text>,
    name: &'static CStr,
    summary: &'static CStr,
) {
    RULES.with_borrow_mut(|rules| rules.push((name, R::check)));
    let flags = GucFlags::SUPERUSER_ONLY;
    let hook = Some(check::<R> as _);
    // SAFETY: the check hook lets no panic out, as define_string_guc_with_hooks demands.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            name, summary, c"", setting, context, flags, hook, None, None,
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
    verdict.map_or_else(|detail| refuse(&detail), |()| true)
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn refuse_zero(
    new_value: *mut c_int,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: guc.c (call_int_check_hook) passes the address of an integer.
    match unsafe { *new_value } {
        0 => refuse(DAYS),
        _ => true,
    }
}

const IN_FILE: &str = "Remove it from the file: the server does not start with it.";

/// At a start, the file is read before there is this hook; here, it is a reload.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn refuse_file(
    _new_value: *mut bool,
    _extra: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    source != pg_sys::GucSource::PGC_S_FILE || refuse(IN_FILE)
}

const DAYS: &str = "The value must be a number of days, 1 or more, or -1 for no limit.";

fn check_days(value: &str) -> Result<(), String> {
    match value.trim().parse() {
        Ok(-1 | 1_i32..) => Ok(()),
        _ => Err(DAYS.to_owned()),
    }
}

/// What a check hook returns for a value that it does not accept.
fn refuse(detail: &str) -> bool {
    // SAFETY: a NUL-terminated string that the shim copies; guc.c reads the copy after the hook returns false.
    unsafe { shim::aad_setting_refused(text::encode(detail).as_ptr()) };
    false
}

#[cfg(test)]
mod tests {
    use super::check_days;

    #[test]
    fn a_limit_in_days_is_positive_or_off() {
        for accepted in ["-1", "1", "400", " 36600 "] {
            assert_eq!(check_days(accepted), Ok(()), "{accepted}");
        }
        for refused in ["0", "-2", "400d", "1.5", "forever"] {
            assert!(check_days(refused).is_err(), "{refused}");
        }
    }
}
