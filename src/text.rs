//! Text from outside, made safe to log and to show.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Text from outside that is safe to show: at most 255 characters, none of them control
/// characters or invisible ones that reorder or hide others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct SanitizedText(String);

impl SanitizedText {
    pub const MAX: usize = 255;

    pub fn new(text: &str) -> SanitizedText {
        SanitizedText::up_to(Self::MAX, text)
    }

    /// With at most that many characters.
    pub fn up_to(max: usize, text: &str) -> SanitizedText {
        SanitizedText(text.chars().filter(|c| !is_hidden(*c)).take(max).collect())
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

/// Control characters (Unicode category Cc), line and paragraph separators, and the format characters
/// that change the direction or the visibility of their neighbors (UTS #55, section 2); and those that
/// show nothing (Default_Ignorable_Code_Point of UAX #44, and the empty Braille pattern).
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
                | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}'
                | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}'
        )
}
