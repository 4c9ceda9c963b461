//! How an attempt to sign in ended.

use serde::Serialize;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was accepted; PostgreSQL may still have refused it (no such database, CONNECTION LIMIT).
    Authenticated,
    Refused,
    /// It ended before it was decided.
    Interrupted,
}

impl Outcome {
    pub const COUNT: usize = 3;
    pub const ALL: [Outcome; Outcome::COUNT] = [
        Outcome::Authenticated,
        Outcome::Refused,
        Outcome::Interrupted,
    ];

    /// Its place in [`Outcome::ALL`].
    pub fn number(self) -> usize {
        self as usize
    }
}
