//! The one spelling of an Entra identifier that is accepted anywhere.

use uuid::Uuid;

/// Reads a GUID in its hyphenated form of 36 characters, in either case.
///
/// Braces, `urn:uuid:` and the form without hyphens are refused: Entra writes none of them in a
/// token, and one spelling per identifier keeps comparisons honest. The nil GUID is refused too,
/// because it is what unset fields turn into, and must never match anything.
pub fn parse(text: &str) -> Option<Uuid> {
    if text.len() != 36 {
        return None;
    }
    Uuid::try_parse(text).ok().filter(|guid| !guid.is_nil())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hyphenated_form_is_read() {
        let canonical = "6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f5";
        let guid = Uuid::from_u128(0x6f1c2d3e_4a5b_4c6d_8e7f_a0b1c2d3e4f5);
        assert_eq!(parse(canonical), Some(guid));
        assert_eq!(parse(&canonical.to_uppercase()), Some(guid));
        for bad in [
            "",
            "6f1c2d3e4a5b4c6d8e7fa0b1c2d3e4f5",
            "{6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f5}",
            "urn:uuid:6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f5",
            "6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f",
            "6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f5 ",
            " 6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f",
            "6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4g5",
            "6f1c2d3e+4a5b-4c6d-8e7f-a0b1c2d3e4f5",
            "6f1c2d3e4-a5b-4c6d-8e7f-a0b1c2d3e4f5",
            "00000000-0000-0000-0000-000000000000",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
