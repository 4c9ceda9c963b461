//! What keeps a background worker from its work.

/// What kind of thing keeps a worker from its work. The numbers are for shared memory; 0 is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ProblemKind {
    /// The database lacks the extension, or its tables.
    NoExtension = 1,
    /// The database, the schema or a table is not a superuser's.
    NotOwned,
    /// The server log says what.
    Other,
}

impl ProblemKind {
    pub fn from_number(number: u32) -> Option<ProblemKind> {
        [Self::NoExtension, Self::NotOwned, Self::Other]
            .into_iter()
            .find(|kind| *kind as u32 == number)
    }
}
