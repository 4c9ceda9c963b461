//! The options of a connection string, as libpq parses it.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use pq_sys as pq;

/// An option that libpq knows.
pub struct ConnectionOption {
    pub name: String,
    /// The environment variable that libpq takes it from otherwise.
    pub variable: Option<String>,
    /// What libpq uses if neither is given.
    pub compiled_in: Option<String>,
    /// What the connection string says.
    pub value: Option<String>,
}

/// # Errors
/// It is not a connection string; libpq's message.
pub fn parse(conninfo: &str) -> Result<Vec<ConnectionOption>, String> {
    let conninfo =
        CString::new(conninfo).map_err(|_| "the connection string contains a NUL".to_owned())?;
    let mut error: *mut c_char = ptr::null_mut();
    // SAFETY: a NUL-terminated string; `error` receives a message or NULL.
    let first = unsafe { pq::PQconninfoParse(conninfo.as_ptr(), &raw mut error) };
    if first.is_null() {
        // SAFETY: NULL, or a message that is ours.
        let message = unsafe { text(error) };
        // SAFETY: as before; not used again.
        unsafe { pq::PQfreemem(error.cast()) };
        let message = message.unwrap_or_else(|| "out of memory".to_owned());
        return Err(message.trim_end().to_owned());
    }
    let mut options = Vec::new();
    let mut next = first;
    loop {
        // SAFETY: within the array, which ends with an element whose keyword is NULL (PQconndefaults in libpq's
        // manual).
        let option = unsafe { &*next };
        // SAFETY: the four strings of an element are NULL or NUL-terminated, and live until the array is freed.
        let strings = unsafe {
            (
                text(option.keyword),
                text(option.envvar),
                text(option.compiled),
                text(option.val),
            )
        };
        let (Some(name), variable, compiled_in, value) = strings else {
            break;
        };
        options.push(ConnectionOption {
            name,
            variable,
            compiled_in,
            value,
        });
        // SAFETY: this element was not the last.
        next = unsafe { next.add(1) };
    }
    // SAFETY: the array of PQconninfoParse, of which nothing is referred to any more.
    unsafe { pq::PQconninfoFree(first) };
    Ok(options)
}

/// # Safety
/// `text` is NULL or NUL-terminated.
unsafe fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not NULL, so it is NUL-terminated.
    let text = unsafe { CStr::from_ptr(text) };
    Some(text.to_string_lossy().into_owned())
}
