//! Bytes that leave no copy behind.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use zeroize::Zeroizing;

/// All but the unreserved characters of RFC 3986 section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A buffer that is wiped, also where it stood before it grew.
#[derive(Default)]
pub struct Wiped(Zeroizing<Vec<u8>>);

impl Wiped {
    /// Appends bytes.
    pub fn append(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.next_power_of_two()));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }

    /// Appends `name=value`, percent-encoded, as in a form or the query of an address.
    pub fn append_field(&mut self, name: &str, value: &[u8]) {
        if !self.0.is_empty() {
            self.append(b"&");
        }
        self.append(name.as_bytes());
        self.append(b"=");
        for part in percent_encode(value, RESERVED) {
            self.append(part.as_bytes());
        }
    }

    /// How many bytes it holds.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, which are wiped when they are dropped.
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

/// A value as the path or the query of an address.
pub fn encode(value: &str) -> String {
    percent_encode(value.as_bytes(), RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_encoded_and_kept_apart() {
        let mut form = Wiped::default();
        form.append_field("grant_type", b"client_credentials");
        form.append_field("client_secret", b"a&b=c+d e~\xff'#");
        assert_eq!(
            form.into_bytes().as_slice(),
            b"grant_type=client_credentials&client_secret=a%26b%3Dc%2Bd%20e~%FF%27%23"
        );
    }

    #[test]
    fn a_buffer_that_grows_keeps_what_it_holds() {
        let mut buffer = Wiped::default();
        let mut expected = Vec::new();
        for byte in 0..=255 {
            buffer.append(&[byte; 3]);
            expected.extend([byte; 3]);
        }
        assert_eq!(buffer.into_bytes().as_slice(), expected);
    }
}
