//! What is escaped wherever a text is shown: bytes that are not text, and characters that must not be shown as they are.
//! `pg::text` escapes them, with what the database's encoding lacks.

use std::fmt::Write as _;

/// A byte B that is not text, or must not be shown as such, is this character plus B. They are the last of a private use
/// area; where text has one of them, each of its bytes is taken for a byte that is not text.
const RAW: u32 = 0x10_FF00;

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

/// A byte of a text in which not all are text.
pub fn byte_of_text(byte: u8) -> char {
    if byte.is_ascii() {
        char::from(byte)
    } else {
        raw(byte)
    }
}

/// The text of which `pg::text::escape` has made this one, for what was recorded in a table. What was escaped will be again.
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

/// A character that is not printable ASCII, as bytes that are shown as one escape, though the encoding may have it. As a
/// name they are still the character.
pub fn to_escape(character: char) -> impl Iterator<Item = char> {
    let mut buffer = [0; 4];
    let length = character.encode_utf8(&mut buffer).len();
    buffer.into_iter().take(length).map(raw)
}

/// Escapes bytes that are not text, and backslashes that would begin an escape.
pub fn escape_marked(text: &str) -> String {
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

/// `\u30ED`, for example.
pub fn push_escape(text: &mut String, character: char) {
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

/// The byte that the character stands for.
pub fn raw_byte(character: char) -> Option<u8> {
    let byte = u8::try_from(u32::from(character).checked_sub(RAW)?).ok()?;
    (!byte.is_ascii() || byte.is_ascii_control()).then_some(byte)
}

/// Whether the character stands for a byte that is not text.
pub fn is_raw(character: char) -> bool {
    raw_byte(character).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_stay_apart() {
        let name = decode_utf8(b"zo\xEB@contoso.com");
        assert_eq!(escape_marked(&name), r"zo\xEB@contoso.com");
        assert_ne!(name, decode_utf8(b"zo\xE9@contoso.com"));
        assert_eq!(decode_utf8("zoë ロ".as_bytes()), "zoë ロ");
        // A character that stands for a byte is not text.
        let odd = decode_utf8("\u{10FFEB}\u{10FF07}".as_bytes());
        assert_eq!(escape_marked(&odd), r"\U0010FFEB\U0010FF07");
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
            assert_eq!(escape_marked(text), escaped);
            assert_eq!(unescape(escaped), text);
        }
    }

    #[test]
    fn escapes_are_those_of_string_constants() {
        let text = "ロ😀ÿ\u{7}";
        let escaped = r"\u30ED\U0001F600\u00FF\x07";
        let marked: String = text.chars().flat_map(to_escape).collect();
        assert_eq!(escape_marked(&marked), escaped);
        assert_eq!(unescape(escaped), marked);
        let next_to_a_byte = format!("{marked}{}", decode_utf8(b"\xEB"));
        assert_eq!(escape_marked(&next_to_a_byte), format!(r"{escaped}\xEB"));
    }
}
