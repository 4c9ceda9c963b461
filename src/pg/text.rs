//! Text between Rust, whose strings are UTF-8, and PostgreSQL, whose strings are in the database's encoding.
//!
//! [`decode`] and [`exact`] are inverse, so that a name of a catalog stays the same name: bytes that are not text in the
//! database's encoding become characters of their own ([`crate::text::escapes`]), and what the encoding lacks is no name
//! in it. Texts to show go through [`escape`]: what the encoding lacks becomes `\u30ED` or `\U0001F600`, and such a byte
//! `\xEB`, as in PostgreSQL's string constants E'...'. A backslash that would begin one of these becomes `\x5C`, so that
//! different texts stay different.
//!
//! In databases with the encoding UTF8 or SQL_ASCII, and before a database is chosen, text is UTF-8.

mod sql;

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_int};

use pgrx::pg_sys;

pub use sql::SqlText;

use crate::text::escapes::{
    byte_of_text, decode_utf8, escape_marked, is_raw, push_escape, raw_byte,
};

const UTF8: c_int = pg_sys::pg_enc::PG_UTF8 as c_int;
const SQL_ASCII: c_int = pg_sys::pg_enc::PG_SQL_ASCII as c_int;

/// The text of bytes in the database's encoding.
pub fn decode(bytes: &[u8]) -> String {
    let encoding = database_encoding();
    if is_utf8(encoding) || bytes.is_ascii() {
        return decode_utf8(bytes);
    }
    if let Some(converted) = convert(bytes, encoding, UTF8) {
        return decode_utf8(&converted);
    }
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let (character, following) = split_character(rest, encoding);
        match convert(character, encoding, UTF8) {
            Some(converted) => text.push_str(&decode_utf8(&converted)),
            None => text.extend(character.iter().copied().map(byte_of_text)),
        }
        rest = following;
    }
    // Characters may be others together than each by itself, and then they are another name's.
    if exact(&text).is_some_and(|back| back.to_bytes() == bytes) {
        return text;
    }
    bytes.iter().copied().map(byte_of_text).collect()
}

/// The first character, or the first byte if that begins none.
fn split_character(bytes: &[u8], encoding: c_int) -> (&[u8], &[u8]) {
    let length = c_int::try_from(bytes.len()).unwrap_or(c_int::MAX);
    // SAFETY: reads at most `length` bytes, and returns how long the character is, or -1 (wchar.c).
    let end = unsafe { pg_sys::pg_encoding_verifymbchar(encoding, bytes.as_ptr().cast(), length) };
    let end = usize::try_from(end).unwrap_or(1).max(1);
    bytes.split_at_checked(end).unwrap_or((bytes, &[]))
}

/// [`decode`] of a C string.
pub fn decode_c(text: &CStr) -> String {
    decode(text.to_bytes())
}

/// The text in the database's encoding; `None` if the encoding lacks a character of it, or it has a NUL.
pub fn exact(text: &str) -> Option<CString> {
    let encoding = database_encoding();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(is_raw).unwrap_or(rest.len());
        let (plain, following) = rest.split_at_checked(end)?;
        if is_utf8(encoding) || plain.is_ascii() {
            bytes.extend_from_slice(plain.as_bytes());
        } else {
            bytes.extend(convert(plain.as_bytes(), UTF8, encoding)?);
        }
        let mut following = following.chars();
        bytes.extend(following.next().and_then(raw_byte));
        rest = following.as_str();
    }
    CString::new(bytes).ok()
}

/// Whether the text in the database's encoding is also valid UTF-8, and another text there.
pub fn is_other_in_utf8(text: &str) -> bool {
    let bytes = exact(text);
    let in_utf8 = bytes.as_deref().and_then(|bytes| bytes.to_str().ok());
    in_utf8.is_some_and(|other| other != text)
}

/// The text in the database's encoding, with escapes. NULs are left out.
pub fn encode(text: &str) -> CString {
    let text = text.replace('\0', "");
    exact(&escape(&text))
        .or_else(|| exact(&escape_error(&text)))
        .unwrap_or_default()
}

/// The text without what the database's encoding lacks, which is escaped.
pub fn escape(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let encoding = database_encoding();
    let plain = escape_marked(text);
    if is_utf8(encoding) || plain.is_ascii() {
        return Cow::Owned(plain);
    }
    if convert(plain.as_bytes(), UTF8, encoding).is_some() {
        return Cow::Owned(plain);
    }
    let mut escaped = String::with_capacity(plain.len());
    for character in plain.chars() {
        let mut buffer = [0; 4];
        let bytes = character.encode_utf8(&mut buffer).as_bytes();
        if convert(bytes, UTF8, encoding).is_some() {
            escaped.push(character);
        } else {
            push_escape(&mut escaped, character);
        }
    }
    Cow::Owned(escaped)
}

/// [`escape`] for an error that pgrx raises, which takes the text for UTF-8 whatever the database's encoding.
pub fn escape_error(text: &str) -> String {
    let encoding = database_encoding();
    if is_utf8(encoding) {
        return escape_marked(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for character in escape_marked(text).chars() {
        if character.is_ascii() {
            escaped.push(character);
        } else {
            push_escape(&mut escaped, character);
        }
    }
    escaped
}

fn is_utf8(encoding: c_int) -> bool {
    encoding == UTF8 || encoding == SQL_ASCII
}

fn database_encoding() -> c_int {
    // SAFETY: reads a variable of this process, SQL_ASCII until it is connected to a database (mbutils.c).
    unsafe { pg_sys::GetDatabaseEncoding() }
}

/// Whether text needs no conversion.
pub fn is_database_utf8() -> bool {
    is_utf8(database_encoding())
}

/// The name of the database's encoding.
pub fn encoding_name() -> String {
    // SAFETY: the encoding is valid, and its name a constant.
    let name = unsafe { CStr::from_ptr(pg_sys::GetDatabaseEncodingName()) };
    name.to_string_lossy().into_owned()
}

/// Converts text, if that is possible in both directions: two texts of one encoding can be the same in another. Outside of a
/// transaction, and between encodings without a conversion, only ASCII is converted.
fn convert(bytes: &[u8], from: c_int, to: c_int) -> Option<Vec<u8>> {
    if bytes.is_ascii() {
        return Some(bytes.to_vec());
    }
    let converted = convert_one_way(bytes, from, to)?;
    (convert_one_way(&converted, to, from)? == bytes).then_some(converted)
}

fn convert_one_way(bytes: &[u8], from: c_int, to: c_int) -> Option<Vec<u8>> {
    /// MAX_CONVERSION_GROWTH (pg_wchar.h).
    const GROWTH: usize = 4;
    let mut converted = vec![0_u8; bytes.len().checked_mul(GROWTH)?.checked_add(1)?];
    let length = c_int::try_from(bytes.len()).ok()?;
    let size = c_int::try_from(converted.len()).ok()?;
    // SAFETY: conversions are looked up in catalogs, and so only inside a transaction. They read `length` bytes, write at
    // most `size`, which are enough for all of them, and end them with a NUL; `true` makes them stop at invalid bytes rather
    // than raise an ERROR (mbutils.c, pg_do_encoding_conversion_buf). An ERROR of the look-up, or of loading the library,
    // becomes a panic at pgrx's guard.
    let done = unsafe {
        if !pg_sys::IsTransactionState() {
            return None;
        }
        let conversion = pg_sys::FindDefaultConversionProc(from, to);
        if conversion == pg_sys::InvalidOid {
            return None;
        }
        pg_sys::pg_do_encoding_conversion_buf(
            conversion,
            from,
            to,
            bytes.as_ptr().cast_mut(),
            length,
            converted.as_mut_ptr(),
            size,
            true,
        )
    };
    converted.truncate(converted.iter().position(|byte| *byte == 0)?);
    (done == length).then_some(converted)
}
