//! One login, in PgBouncer's PAM thread.

use std::sync::Once;

use crate::exchange::{Question, Reply, Verdict};
use crate::ffi::pam::Client;
use crate::ffi::system;
use crate::log::{self, Level, printable};
use crate::running;
use crate::settings::{self, Wake};

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
    let mut length = 0;
    let (outcome, text) = match ask(client, &mut length) {
        Ok(reply) => judge(client, &reply, length),
        Err(reason) => (
            Outcome::Unavailable,
            format!("no verdict: {}: {reason}", role_of(client)),
        ),
    };
    let line = printable(&format!("{text}, client {}", client.address()));
    if outcome == Outcome::Accepted {
        log::line(Level::Info, &line);
    } else {
        log::line(Level::Warning, &line);
        // PgBouncer always asks for silence (PAM_SILENT), but this goes to its log, not to the client.
        client.report(&format!("pam_aadauth: {line}"));
    }
    outcome
}

/// Asks the server; `length` becomes the credential's, in bytes.
fn ask(client: &Client, length: &mut usize) -> Result<Reply, String> {
    let settings = settings::current(client.configuration());
    client.set_wake(
        settings
            .as_ref()
            .map_or(Wake::Socket, |settings| settings.wake),
    );
    let settings = settings?;

    let credential = client.credential().ok_or("PgBouncer gave no password")?;
    *length = credential.len();
    let question = Question {
        role: client.role(),
        credential,
        client: client.address(),
    };
    running::exchange(&settings)?.ask(question, &settings)
}

/// The outcome, and what is logged of it. `length` is the credential's, in bytes.
fn judge(client: &Client, reply: &Reply, length: usize) -> (Outcome, String) {
    let said = reply.notice.clone().unwrap_or_else(|| role_of(client));
    match reply.verdict {
        Verdict::Accepted => (Outcome::Accepted, format!("accepted: {said}")),
        Verdict::TryAgain => (
            Outcome::Unavailable,
            format!("refused, the next try may succeed: {said}"),
        ),
        Verdict::Refused if length == CUT => (
            Outcome::Refused,
            format!(
                "refused: {said}; token-cut-by-pooler: PgBouncer before 1.26 cuts tokens to {CUT} bytes"
            ),
        ),
        Verdict::Refused => (Outcome::Refused, format!("refused: {said}")),
    }
}

fn role_of(client: &Client) -> String {
    format!("role \"{}\"", String::from_utf8_lossy(&client.role()))
}
