//! What is said of a refused sign-in: what was expected, what came, and what to do.

use entra_token::PrincipalKind;

/// Each is `None` if there is nothing to say beyond the reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Compared {
    pub expected: Option<String>,
    pub got: Option<String>,
    pub remedy: Option<String>,
}

impl Compared {
    pub fn new(expected: impl Into<String>, got: impl Into<String>) -> Compared {
        Compared {
            expected: Some(expected.into()),
            got: Some(got.into()),
            remedy: None,
        }
    }

    pub fn remedy(self, remedy: impl Into<String>) -> Compared {
        Compared {
            remedy: Some(remedy.into()),
            ..self
        }
    }
}

pub fn kind_of(principal: &str) -> Option<PrincipalKind> {
    principal.split(' ').next()?.parse().ok()
}
