//! Text between Rust, whose strings are UTF-8, and PostgreSQL, whose strings are in the database's encoding.
//!
//! [`decode`] and [`exact`] are inverse, so that a name of a catalog stays the same name: bytes that are not text in the
//! database's encoding become characters of their own ([`RAW`]), and what the encoding lacks is no name in it. Texts to
//! show go through [`escape`]: what the encoding lacks becomes `\u30ED` or `\U0001F600`, and such a byte `\xEB`, as in
//! PostgreSQL's string constants E'...'. A backslash that would begin one of these becomes `\x5C`, so that different texts
//! stay different. [`to_escape`] has a character escaped that the encoding does not lack.
//!
//! In databases with the encoding UTF8 or SQL_ASCII, and before a database is chosen, text is UTF-8.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_int};
use std::fmt::Write as _;

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{Datum, FromDatum, IntoDatum};
use pgrx::pg_sys;

const UTF8: c_int = pg_sys::pg_enc::PG_UTF8 as c_int;
const SQL_ASCII: c_int = pg_sys::pg_enc::PG_SQL_ASCII as c_int;

/// A byte B that is not text, or must not be shown as such, is this character plus B. They are the last of a private use
/// area; where text has one of them, each of its bytes is taken for a byte that is not text.
const RAW: u32 = 0x10_FF00;

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

fn byte_of_text(byte: u8) -> char {
    if byte.is_ascii() {
        char::from(byte)
    } else {
        raw(byte)
    }
}

/// The first character, or the first byte if that begins none.
fn split_character(bytes: &[u8], encoding: c_int) -> (&[u8], &[u8]) {
    let length = c_int::try_from(bytes.len()).unwrap_or(c_int::MAX);
    // SAFETY: reads at most `length` bytes, and returns how long the character is, or -1 (wchar.c).
    let end = unsafe { pg_sys::pg_encoding_verifymbchar(encoding, bytes.as_ptr().cast(), length) };
    let end = usize::try_from(end).unwrap_or(1).max(1);
    bytes.split_at_checked(end).unwrap_or((bytes, &[]))
}

/// The text of bytes from outside the database, for example a startup packet.
pub fn decode_utf8(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if raw_byte(character).is_some() {
                text.extend(to_escape(character));
            } else {
                text.push(character);
            }
        }
        text.extend(chunk.invalid().iter().copied().map(raw));
    }
    text
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
    let plain = escape_raw(text);
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
        return escape_raw(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for character in escape_raw(text).chars() {
        if character.is_ascii() {
            escaped.push(character);
        } else {
            push_escape(&mut escaped, character);
        }
    }
    escaped
}

/// The text of which [`escape`] has made this one, for what was recorded in a table. What was escaped will be again.
pub fn unescape(text: &str) -> String {
    let mut unescaped = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match (character == '\\').then(|| read_escape(rest.as_str())) {
            Some(Some((original, following))) => {
                match original {
                    '\\' => unescaped.push('\\'),
                    byte if is_raw(byte) => unescaped.push(byte),
                    other => unescaped.extend(to_escape(other)),
                }
                rest = following.chars();
            }
            _ => unescaped.push(character),
        }
    }
    unescaped
}

/// A character that is not printable ASCII as bytes that [`escape`] shows as one escape, though the encoding may have it,
/// and of which [`exact`] makes the character.
pub fn to_escape(character: char) -> impl Iterator<Item = char> {
    let mut buffer = [0; 4];
    let length = character.encode_utf8(&mut buffer).len();
    buffer.into_iter().take(length).map(raw)
}

/// Escapes bytes that are not text, and backslashes that would begin an escape.
pub(crate) fn escape_raw(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if let Some(byte) = raw_byte(character) {
            bytes.push(byte);
            continue;
        }
        push_bytes(&mut escaped, &bytes);
        bytes.clear();
        if character == '\\' && read_escape(rest.as_str()).is_some() {
            escaped.push_str("\\x5C");
        } else {
            escaped.push(character);
        }
    }
    push_bytes(&mut escaped, &bytes);
    escaped
}

fn push_bytes(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            push_escape(text, character);
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02X}");
        }
    }
}

/// What the escape, without its backslash, at the beginning of the text stands for, and the text behind it.
fn read_escape(text: &str) -> Option<(char, &str)> {
    let (digits, following) = match text.chars().next()? {
        'x' => (text.get(1..3)?, text.get(3..)?),
        'u' => (text.get(1..5)?, text.get(5..)?),
        'U' => (text.get(1..9)?, text.get(9..)?),
        _ => return None,
    };
    let is_digit = |digit: u8| matches!(digit, b'0'..=b'9' | b'A'..=b'F');
    if !digits.bytes().all(is_digit) {
        return None;
    }
    let number = u32::from_str_radix(digits, 16).ok()?;
    let original = match digits.len() {
        2 if number == 0x5C => '\\',
        2 => Some(raw(u8::try_from(number).ok()?)).filter(|byte| is_raw(*byte))?,
        _ => char::from_u32(number).filter(|character| !character.is_ascii())?,
    };
    Some((original, following))
}

fn push_escape(text: &mut String, character: char) {
    let number = u32::from(character);
    let _ = match number {
        0..=0x7F => write!(text, "\\x{number:02X}"),
        0x80..=0xFFFF => write!(text, "\\u{number:04X}"),
        _ => write!(text, "\\U{number:08X}"),
    };
}

fn raw(byte: u8) -> char {
    char::from_u32(RAW + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn raw_byte(character: char) -> Option<u8> {
    let byte = u8::try_from(u32::from(character).checked_sub(RAW)?).ok()?;
    (!byte.is_ascii() || byte.is_ascii_control()).then_some(byte)
}

/// Whether the character stands for a byte that is not text.
pub fn is_raw(character: char) -> bool {
    raw_byte(character).is_some()
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
    // most `size`, which are enough for all of them, and end them with a NUL; `true` makes them stop rather than raise an
    // ERROR (mbutils.c, pg_do_encoding_conversion_buf).
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

/// SQL's type `text`. Arguments and results of functions and of statements are this, never `String` or `&str`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SqlText(pub String);

impl<T: Into<String>> From<T> for SqlText {
    fn from(text: T) -> SqlText {
        SqlText(text.into())
    }
}

impl FromDatum for SqlText {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        type_oid: pg_sys::Oid,
    ) -> Option<SqlText> {
        // SAFETY: the caller vouches for the datum; text has the layout of bytea.
        unsafe { <&[u8]>::from_polymorphic_datum(datum, is_null, type_oid) }
            .map(|bytes| SqlText(decode(bytes)))
    }
}

impl IntoDatum for SqlText {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        encode(&self.0).to_bytes().into_datum()
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::TEXTOID
    }

    fn is_compatible_with(other: pg_sys::Oid) -> bool {
        [pg_sys::TEXTOID, pg_sys::VARCHAROID].contains(&other)
    }
}

// SAFETY: reads the argument as its FromDatum does, as pgrx's own types do.
unsafe impl<'fcx> ArgAbi<'fcx> for SqlText {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> SqlText {
        // SAFETY: the caller vouches for the argument's type; NULL is an Option's.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or_default()
    }
}

// SAFETY: returns the datum that the call returns, as pgrx's own types do.
unsafe impl BoxRet for SqlText {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        match self.into_datum() {
            // SAFETY: the datum is of the type that SQL was told of.
            Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
            None => fcinfo.return_null(),
        }
    }
}

pgrx::impl_sql_translatable!(SqlText, "TEXT");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_stay_apart() {
        let name = decode_utf8(b"zo\xEB@contoso.com");
        assert_eq!(escape_raw(&name), r"zo\xEB@contoso.com");
        assert_ne!(name, decode_utf8(b"zo\xE9@contoso.com"));
        assert_eq!(decode_utf8("zoë ロ".as_bytes()), "zoë ロ");
        // A character that stands for a byte is not text.
        let odd = decode_utf8("\u{10FFEB}\u{10FF07}".as_bytes());
        assert_eq!(escape_raw(&odd), r"\U0010FFEB\U0010FF07");
    }

    #[test]
    fn what_looks_like_an_escape_is_escaped() {
        for (text, escaped) in [
            (r"C:\users\x", r"C:\users\x"),
            (r"\xEB", r"\x5CxEB"),
            (r"\x5C", r"\x5Cx5C"),
            (r"\x07", r"\x5Cx07"),
            (r"\xeb \x41", r"\xeb \x41"),
            (r"\u30ED", r"\x5Cu30ED"),
            (r"\u0041 \uD800", r"\u0041 \uD800"),
            (r"\U0001F600", r"\x5CU0001F600"),
            (r"\\xEB", r"\\x5CxEB"),
            (r"\xé", r"\xé"),
        ] {
            assert_eq!(escape_raw(text), escaped);
            assert_eq!(unescape(escaped), text);
        }
    }

    #[test]
    fn escapes_are_those_of_string_constants() {
        let text = "ロ😀ÿ\u{7}";
        let escaped = r"\u30ED\U0001F600\u00FF\x07";
        let marked: String = text.chars().flat_map(to_escape).collect();
        assert_eq!(escape_raw(&marked), escaped);
        assert_eq!(unescape(escaped), marked);
        let next_to_a_byte = format!("{marked}{}", decode_utf8(b"\xEB"));
        assert_eq!(escape_raw(&next_to_a_byte), format!(r"{escaped}\xEB"));
    }
}
