//! Why a sign-in is refused, and what the client and the log are told.

use entra_token::{Reason, client_text, sqlstate};

use crate::audit::EventCheck;
use crate::pg::{hba_file, log, pam};
use crate::settings;

/// A refused sign-in.
#[derive(Clone)]
pub struct Refusal {
    pub reason: Reason,
    /// The outcome of every check, if the token's signature was valid.
    pub checks: Vec<EventCheck>,
    message: String,
    detail_log: String,
}

impl Refusal {
    /// The refusal of a sign-in as that role, for that reason.
    pub fn new(reason: Reason, role: &str) -> Refusal {
        let audience = settings::audiences().first().map(ToString::to_string);
        Refusal {
            reason,
            checks: Vec::new(),
            message: client_text(reason, role, audience.as_deref()),
            detail_log: format!(
                "Reason: {}. {}{}",
                reason.code(),
                reason.description(),
                advice(reason)
            ),
        }
    }

    /// Adds the outcome of every check of [`entra_token::judge`].
    pub fn with_checks(mut self, checks: Vec<EventCheck>) -> Refusal {
        self.checks = checks;
        self
    }

    /// Adds a sentence that only the server log shows.
    pub fn with_detail(mut self, detail: &str) -> Refusal {
        self.detail_log = format!("{} {detail}", self.detail_log);
        self
    }

    /// Tells the client what it is told of a role that is not mapped.
    pub fn told_as_unmapped(mut self) -> Refusal {
        self.message = client_text(Reason::RoleNotMapped, "", None);
        self
    }

    /// Names the claim that has the wrong type, if one has.
    pub fn with_claim(self, mistyped: Option<&str>) -> Refusal {
        match mistyped {
            Some(claim) => self.with_detail(&format!(
                "The token's claim \"{claim}\" has the wrong type."
            )),
            None => self,
        }
    }

    pub fn as_log(&self) -> log::Refusal<'_> {
        log::Refusal {
            sqlstate: sqlstate(self.reason),
            message: &self.message,
            detail_log: Some(&self.detail_log),
        }
    }
}

/// What an administrator can do about it. For the log only: a client must not learn how the records should be.
fn advice(reason: Reason) -> String {
    if reason != Reason::WrongLine {
        return String::new();
    }
    let place = if hba_file::is_set() {
        "record in the file named by aadauth.hba_file"
    } else {
        "pg_hba.conf record"
    };
    format!(
        " Connections of mapped roles must match a {place}, such as: {}.",
        sample_record()
    )
}

/// A record that asks for a token.
pub fn sample_record() -> String {
    if hba_file::is_set() {
        return "hostssl all all all trust".to_owned();
    }
    format!("hostssl all all all pam pamservice={}", pam::service())
}
