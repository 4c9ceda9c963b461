//! Byte strings of a fixed capacity, for shared memory.

/// At most `N` bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bytes<const N: usize> {
    length: u16,
    bytes: [u8; N],
}

impl<const N: usize> Bytes<N> {
    pub const EMPTY: Self = Bytes {
        length: 0,
        bytes: [0; N],
    };

    /// `None` when there are more than `N`.
    pub fn new(source: &[u8]) -> Option<Self> {
        let mut bytes = Self::EMPTY;
        bytes.bytes.get_mut(..source.len())?.copy_from_slice(source);
        bytes.length = source.len().try_into().ok()?;
        Some(bytes)
    }

    /// As much of the text as fits.
    pub fn cut(text: &str) -> Self {
        let end = (0..=N.min(text.len()))
            .rev()
            .find(|end| text.is_char_boundary(*end));
        Self::new(text.get(..end.unwrap_or(0)).unwrap_or_default().as_bytes())
            .unwrap_or(Self::EMPTY)
    }

    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length.into()).unwrap_or_default()
    }

    /// The text that it was made from; empty if that was not UTF-8.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_slice()).unwrap_or_default()
    }

    #[cfg(test)]
    pub fn is_zeros(&self) -> bool {
        self.length == 0 && self.bytes.iter().all(|byte| *byte == 0)
    }
}
