//! Text as forms, queries and paths carry it.

/// A name or value of a form or query: `+` means a space.
pub(super) fn form_decoded(text: &str) -> Option<String> {
    percent_decoded(&text.replace('+', " "))
}

/// A segment of a path. `None` where it is no text.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::{form_decoded, percent_decoded};

    #[test]
    fn forms_and_paths_differ_in_spaces() {
        assert_eq!(form_decoded("a%2Bb+c~").as_deref(), Some("a+b c~"));
        assert_eq!(percent_decoded("a%23b+c").as_deref(), Some("a#b+c"));
        assert_eq!(form_decoded("100%"), None);
        assert_eq!(percent_decoded("%zz"), None);
        assert_eq!(percent_decoded("%ff"), None);
    }
}
