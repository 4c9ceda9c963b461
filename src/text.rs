//! Text from outside, made safe to log and to show.

use std::fmt;

use serde::{Deserialize, Serialize};

pub mod escapes;

/// Text from outside that is safe to show: at most 255 characters, with escapes for control characters and invisible
/// ones that reorder or hide others. Different texts stay different, if they are not cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct SanitizedText(String);

impl SanitizedText {
    pub const MAX: usize = 255;

    pub fn new(text: &str) -> SanitizedText {
        SanitizedText::up_to(Self::MAX, text)
    }

    /// With at most that many characters when it is shown where the encoding lacks none.
    pub fn up_to(max: usize, text: &str) -> SanitizedText {
        /// Of a byte, `\xEB`, or a backslash; what is escaped as a character takes less for each byte. So no name is cut.
        const ESCAPE: usize = 4;
        let mut left = max;
        let mut sanitized = String::new();
        for character in text.chars() {
            let is_hidden = is_hidden(character);
            let length = match character {
                _ if is_hidden => character.len_utf8() * ESCAPE,
                '\\' => ESCAPE,
                _ if escapes::is_raw(character) => ESCAPE,
                _ => 1,
            };
            let Some(rest) = left.checked_sub(length) else {
                break;
            };
            left = rest;
            if is_hidden {
                sanitized.extend(escapes::to_escape(character));
            } else {
                sanitized.push(character);
            }
        }
        SanitizedText(sanitized)
    }
}

impl fmt::Display for SanitizedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for SanitizedText {
    fn from(text: &str) -> SanitizedText {
        SanitizedText::new(text)
    }
}

impl From<String> for SanitizedText {
    fn from(text: String) -> SanitizedText {
        SanitizedText::new(&text)
    }
}

/// The text as the value of a field in a log line, such as `UPN=`: with escapes for `=` and `"`, so that no part of it reads
/// like another field. A name that has such an escape itself looks the same; the audit has the names as they are.
pub fn in_field(text: &impl fmt::Display) -> String {
    text.to_string().replace('=', r"\x3D").replace('"', r"\x22")
}

/// Control characters (Unicode category Cc), line and paragraph separators, and the format characters
/// that change the direction or the visibility of their neighbors (UTS #55, section 2); and those that
/// show nothing (Default_Ignorable_Code_Point of UAX #44, and the empty Braille pattern).
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
                | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}'
                | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}'
        )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// As it is shown where the encoding lacks none of its characters.
    fn shown(text: &str) -> String {
        escapes::escape_marked(&SanitizedText::new(text).0)
    }

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        let evil = "a\u{0}\u{1b}[2Jb\n\u{202e}c\u{feff}\u{85}ü\u{E0041}\u{2065}\u{1BCA0}\u{1D173}";
        let escaped = r"a\x00\x1B[2Jb\x0A\u202Ec\uFEFF\u0085ü\U000E0041\u2065\U0001BCA0\U0001D173";
        assert_eq!(shown(evil), escaped);
    }

    #[test]
    fn different_names_are_shown_differently() {
        let names = [
            "someone",
            "some\u{200B}one",
            "some\u{200C}one",
            r"some\u200Bone",
            r"some\x5Cu200Bone",
            r"some\xE2\x80\x8Bone",
            "some\u{10FFE2}\u{10FF80}\u{10FF8B}one",
            "some\none",
            r"some\x0Aone",
            r"some\none",
        ];
        let names = names.map(|name| shown(&escapes::decode_utf8(name.as_bytes())));
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        assert!(names.contains(&r"some\u200Bone".to_owned()));
    }

    #[test]
    fn no_name_has_the_fields_of_a_log_line() {
        let field = in_field(&SanitizedText::new(r#"dba" oid=a11ce000 UPN=alice"#));
        let logged = escapes::escape_marked(&field);
        assert_eq!(logged, r"dba\x22 oid\x3Da11ce000 UPN\x3Dalice");
    }

    #[test]
    fn no_name_is_cut_and_no_escape_either() {
        for character in ["\u{7}", "\u{85}", "\u{200B}", "\u{E0041}", "\\"] {
            let name = character.repeat(63 / character.len());
            let sanitized = SanitizedText::new(&name);
            assert_eq!(
                escapes::unescape(&escapes::escape_marked(&sanitized.0)),
                sanitized.0
            );
            assert_ne!(sanitized, SanitizedText::new(&name[character.len()..]));
            let long = shown(&character.repeat(300));
            assert!(long.chars().count() <= SanitizedText::MAX, "{long}");
            let one = shown(character);
            assert_eq!(long, one.repeat(long.len() / one.len()));
            // As the audit worker reads it.
            assert_eq!(SanitizedText::from(sanitized.0.clone()), sanitized);
        }
        assert_eq!(shown(&"ü".repeat(300)).chars().count(), SanitizedText::MAX);
    }
}
