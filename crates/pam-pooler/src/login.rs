//! One login, in PgBouncer's PAM thread.

use std::sync::Once;

use crate::exchange::{Question, Reply, Verdict};
use crate::ffi::pam::Client;
use crate::ffi::system;
use crate::log::{self, Level, printable};
use crate::{running, settings};

/// PgBouncer before 1.26 passes no more of a password (`MAX_PASSWORD` in its bouncer.h, with the NUL).
const CUT: usize = 2_047;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    Refused,
    /// There is no verdict, so the client is refused.
    Unavailable,
}

/// Asks the server about a client.
pub fn authenticate(client: &Client) -> Outcome {
    static PIN: Once = Once::new();
    PIN.call_once(system::keep_pam_modules_loaded);
    let role = client.role();
    let mut length = 0;
    let answer = role
        .as_deref()
        .ok_or_else(|| "the role's name is missing or is not UTF-8".to_owned())
        .and_then(|role| ask(client, role, &mut length));
    let (outcome, text) = match answer {
        Ok(reply) => judge(&reply, length),
        Err(reason) => (Outcome::Unavailable, format!("no verdict: {reason}")),
    };
    let role = role.as_deref().unwrap_or("?");
    let line = printable(&format!(
        "role \"{role}\" from {}: {text}",
        client.address()
    ));
    if outcome == Outcome::Accepted {
        log::line(Level::Info, &line);
    } else {
        log::line(Level::Warning, &line);
        // PgBouncer always asks for silence (PAM_SILENT), but this goes to its log, not to the client.
        client.report(&format!("pam_aadauth: {line}"));
    }
    outcome
}

fn ask(client: &Client, role: &str, length: &mut usize) -> Result<Reply, String> {
    let settings = settings::current(client.configuration())?;
    client.set_wake(settings.wake);
    let credential = client.credential().ok_or("PgBouncer gave no password")?;
    *length = credential.len();
    let question = Question {
        role: role.to_owned(),
        credential,
        client: client.address(),
    };
    running::exchange(&settings)?.ask(question, &settings)
}

/// The outcome, and what is logged of it. `length` is the credential's, in bytes.
fn judge(reply: &Reply, length: usize) -> (Outcome, String) {
    let said = reply.notice.as_deref().map(|notice| format!(": {notice}"));
    let said = said.unwrap_or_default();
    match reply.verdict {
        Verdict::Accepted => (Outcome::Accepted, format!("accepted{said}")),
        Verdict::TryAgain => (
            Outcome::Unavailable,
            format!("refused, and the next try may succeed{said}"),
        ),
        Verdict::Refused if length == CUT => (
            Outcome::Refused,
            format!(
                "refused (token-cut-by-pooler: PgBouncer before 1.26 cuts tokens to {CUT} bytes){said}"
            ),
        ),
        Verdict::Refused => (Outcome::Refused, format!("refused{said}")),
    }
}
