//! Why a background worker cannot work.

/// The kind of problem. The numbers are for shared memory; 0 means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ProblemKind {
    /// The database lacks the extension, or its tables.
    NoExtension = 1,
    /// The database, the schema or a table is not owned by a superuser.
    NotOwned,
    /// Another transaction holds a lock on a table.
    Locked,
    /// See the server log.
    Other,
}

impl ProblemKind {
    pub fn from_number(number: u32) -> Option<ProblemKind> {
        [Self::NoExtension, Self::NotOwned, Self::Locked, Self::Other]
            .into_iter()
            .find(|kind| *kind as u32 == number)
    }
}
