//! Problems that end the program.

/// Why the program ends, and with which status.
pub struct Problem {
    pub status: u8,
    pub text: String,
}

impl Problem {
    /// Options or the environment lack something, or have something wrong.
    pub fn usage(text: String) -> Problem {
        Problem { status: 2, text }
    }
}

/// There is no token, or it does not get to where it should.
impl From<String> for Problem {
    fn from(text: String) -> Problem {
        Problem { status: 1, text }
    }
}
