//! `aadauth.explain_sign_in`: each check of one sign-in with its outcome, for support.
//!
//! Everything is read from the audit, so that no token has to be disclosed. SECURITY INVOKER: the caller's privileges on
//! the audit table decide.

use std::fmt::Write as _;

use entra_token::{Reason, Step};
use pgrx::prelude::*;

use super::compared::compare;
use super::known::Known;
use super::recorded::{self, Recorded};
use crate::audit::aggregate::UNKNOWN;
use crate::audit::{EventMembership, MembershipSource, reader};
use crate::pg::log;
use crate::pg::text::SqlText;
use crate::text::SanitizedText;

extension_sql!(
    r#"
COMMENT ON FUNCTION aadauth.explain_sign_in(uuid) IS
    'each check of a sign-in with its outcome, and the remedy for those that failed; takes an event_id of aadauth.sign_ins, else explains the last refusal';
REVOKE ALL ON FUNCTION aadauth.explain_sign_in(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION aadauth.explain_sign_in(uuid) TO aadauth_auditor;
"#,
    name = "explain_sign_in_rights",
    requires = [explain_sign_in]
);

/// One row of the result: what was checked, the outcome, and an explanation.
type Row = (String, String, Option<String>);

/// The rows of a sign-in with a token, in order.
const STEPS: [(Step, &str); 10] = [
    (Step::Connection, "settings, role, connection"),
    (Step::Envelope, "form of the token"),
    (Step::Signature, "signature"),
    (Step::Issuer, "issuer and tenant"),
    (Step::Audience, "audience"),
    (Step::Time, "times"),
    (Step::Kind, "type of the token"),
    (Step::Principal, "principal"),
    (Step::Mfa, "multi-factor"),
    (Step::Revocation, "revocation"),
];

/// The sign-in as a whole, then, of a sign-in with a token, each step in order. Without an event, of the last refusal, if there is one.
///
/// Volatile and parallel unsafe, since it reads what has been recorded since the statement began.
#[pg_extern(schema = "aadauth")]
#[search_path(pg_catalog, pg_temp)]
fn explain_sign_in(
    event: default!(Option<pgrx::Uuid>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(checked, SqlText),
        name!(outcome, SqlText),
        name!(explanation, Option<SqlText>),
    ),
> {
    reader::drain_spool();
    let found = match event {
        Some(event) => recorded::by_id(event),
        None => recorded::last_refusal(),
    };
    let rows = match found {
        Ok(Some((_, event))) => explain(&event, &Known::read([event.role.as_str()].into_iter())),
        Ok(None) => event.map_or_else(Vec::new, |event| unknown(event)),
        Err(error) => fail(
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            format!("could not read the sign-in event: {error}"),
            "Report this as a bug.",
        ),
    };
    TableIterator::new(rows.into_iter().map(|(checked, outcome, explanation)| {
        (checked.into(), outcome.into(), explanation.map(SqlText))
    }))
}

/// Raises an error that there is no such event.
fn unknown(event: pgrx::Uuid) -> ! {
    fail(
        PgSqlErrorCode::ERRCODE_NO_DATA_FOUND,
        format!("there is no sign-in event {event}"),
        "Take the event_id from aadauth.sign_in_audit. Events are recorded there within seconds, those of a standby \
         when it is promoted.",
    )
}

fn fail(code: PgSqlErrorCode, message: String, hint: &str) -> ! {
    log::error(code, &message, None, Some(hint))
}

fn explain(event: &Recorded, known: &Known) -> Vec<Row> {
    if event.role == UNKNOWN {
        let text = format!(
            "{}\nrepresents {} attempts whose events could not be written; nothing else is known about them\n{}",
            event.at,
            event.count,
            advise(Reason::AuditUnavailable.code())
        );
        return vec![row("the sign-ins", &event.outcome, text)];
    }
    let mut rows = vec![row("the sign-in", &event.outcome, describe(event, known))];
    if event.is_with_token() {
        rows.extend(STEPS.map(|(step, name)| event.row_of(step, name, known)));
    }
    rows
}

impl Recorded {
    /// Otherwise its reason says all that is known.
    fn is_with_token(&self) -> bool {
        ["entra-token", "pooler"].contains(&self.method.as_str())
    }

    /// Whether the token's signature was verified. A row that counts several attempts has only the object id.
    fn is_verified(&self) -> bool {
        self.key_id.is_some() || self.object_id.is_some()
    }

    /// Whether that is its reason, or that of another check that failed.
    fn failed_for(&self, reason: Reason) -> bool {
        let code = Some(SanitizedText::from(reason.code()));
        let mut checks = self.checks.iter().flatten();
        self.reason == code || checks.any(|check| check.reason == code)
    }

    fn row_of(&self, step: Step, name: &str, known: &Known) -> Row {
        let checks = self.checks.iter().flatten();
        let memberships = checks
            .filter(|_| step == Step::Principal)
            .filter_map(|check| check.membership);
        let mut explanation: Vec<String> = memberships.map(describe_membership).collect();
        let mut outcome = self.without_failure(step);
        let reasons = Reason::ALL
            .iter()
            .filter(|reason| reason.step() == step && !leaves_open(**reason));
        for reason in reasons.filter(|reason| self.failed_for(**reason)) {
            // An expired token that a trusted pooler presented again.
            if self.outcome == "authenticated" {
                outcome = "excused";
                continue;
            }
            outcome = "failed";
            explanation.push(self.advise(*reason, known));
        }
        row(name, outcome, explanation.join("\n"))
    }

    /// What to do about that reason, and what was expected beside what came.
    fn advise(&self, reason: Reason, known: &Known) -> String {
        let compared = compare(self, reason, known);
        let lines = [
            compared.expected.map(|text| format!("expected: {text}")),
            compared.got.map(|text| format!("got: {text}")),
            compared.remedy,
        ];
        let mut text = advise(reason.code());
        for line in lines.into_iter().flatten() {
            let _ = write!(text, "\n{line}");
        }
        text
    }

    /// The outcome of a step of which no check is known to have failed.
    fn without_failure(&self, step: Step) -> &'static str {
        match self.known_reason() {
            None if self.outcome == "authenticated" => "passed",
            _ if step <= Step::Signature && self.is_verified() => "passed",
            // The token had been accepted.
            Some(
                Reason::RoleNotLogin
                | Reason::RoleExpired
                | Reason::MappingChanged
                | Reason::MethodRefused
                | Reason::NoVerdict
                | Reason::AuditUnavailable,
            ) => "passed",
            None => "not recorded",
            Some(reason) if leaves_open(reason) => "not recorded",
            Some(reason) if step < reason.step() => "passed",
            Some(reason) if reason.step() <= Step::Signature => "not reached",
            // After the signature, every check is made and recorded.
            Some(_) if self.has_known_checks() => "passed",
            Some(_) => "not recorded",
        }
    }

    /// Whether its checks were recorded, and failed for reasons that this version knows if they did.
    fn has_known_checks(&self) -> bool {
        let is_known = |code: &SanitizedText| Reason::from_code(&code.to_string()).is_some();
        self.checks.as_ref().is_some_and(|checks| {
            let mut reasons = checks.iter().filter_map(|check| check.reason.as_ref());
            reasons.all(is_known)
        })
    }
}

/// Whether the reason does not say which step failed.
fn leaves_open(reason: Reason) -> bool {
    matches!(reason, Reason::Interrupted | Reason::InternalError)
}

fn describe_membership(membership: EventMembership) -> String {
    let source = match membership.source {
        MembershipSource::Claim => "the token's groups",
        MembershipSource::Names => "the token's groups, which have names instead of object ids",
        MembershipSource::Cache => "the cached answer of the directory",
        MembershipSource::Directory => "the directory",
    };
    format!("group {}\nsource: {source}", membership.group)
}

/// What is known of the attempt apart from its steps.
fn describe(event: &Recorded, known: &Known) -> String {
    let mut text = format!("{}\nrole \"{}\"", event.at, event.role);
    let mut line = |name: &str, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let _ = write!(text, "\n{name} {value}");
        }
    };
    line("database", event.database.as_deref());
    line("application", event.application_name.as_deref());
    let is_one = event.count == 1;
    line(
        "from",
        event
            .client
            .as_deref()
            .or(is_one.then_some("a local socket")),
    );
    line("with", event.tls.then_some("TLS"));
    line("method", Some(&event.method));
    line("principal", event.principal.as_deref());
    line(
        "object id",
        event.object_id.map(|id| id.to_string()).as_deref(),
    );
    line("through group", event.group_id.as_deref());
    line("token", event.token_id.as_deref());
    line("token expires", event.expires_at.as_deref());
    if event.count > 1 {
        let _ = write!(text, "\nrepresents {} attempts", event.count);
    }
    if event.is_with_token() && event.without_failure(Step::Signature) != "passed" {
        text.push_str("\nNo signature was verified, so no claims of the token were recorded.");
    }
    let has_row = event.is_with_token()
        && event
            .known_reason()
            .is_some_and(|reason| !leaves_open(reason));
    if let Some(code) = event.reason.as_ref().filter(|_| !has_row) {
        let advice = event.known_reason().map_or_else(
            || advise(&code.to_string()),
            |reason| event.advise(reason, known),
        );
        let _ = write!(text, "\n{advice}");
    }
    text
}

/// The code, its meaning and its remedy.
fn advise(code: &str) -> String {
    match Reason::from_code(code) {
        Some(reason) => format!("{code}\n{}\n{}", reason.description(), reason.advice()),
        None => format!("{code}\nThis version of aadauth does not know this reason."),
    }
}

fn row(checked: &str, outcome: &str, explanation: String) -> Row {
    let explanation = Some(explanation).filter(|text| !text.is_empty());
    (checked.to_owned(), outcome.to_owned(), explanation)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::audit::EventCheck;

    fn event(method: &str, outcome: &str, reason: Option<&str>) -> Recorded {
        Recorded {
            at: "2026-01-01 00:00:00+00".into(),
            role: "alice".into(),
            outcome: outcome.into(),
            reason: reason.map(Into::into),
            method: method.into(),
            tls: true,
            count: 1,
            ..Recorded::default()
        }
    }

    fn check(name: &str, reason: Option<&str>) -> EventCheck<SanitizedText> {
        EventCheck {
            name: name.into(),
            reason: reason.map(Into::into),
            membership: None,
        }
    }

    fn outcome(rows: &[Row], name: &str) -> String {
        let row = rows.iter().find(|(checked, ..)| checked == name);
        row.map_or_else(|| "no such row".into(), |(_, outcome, _)| outcome.clone())
    }

    fn explanation(rows: &[Row], name: &str) -> String {
        let row = rows.iter().find(|(checked, ..)| checked == name);
        row.and_then(|(.., text)| text.clone()).unwrap_or_default()
    }

    fn expect(rows: &[Row], expected: &[(&str, &str)]) {
        for (name, state) in expected {
            assert_eq!(outcome(rows, name), *state, "{name}");
        }
    }

    #[test]
    fn every_reason_has_a_row_and_the_rows_are_in_order() {
        assert!(STEPS.is_sorted_by_key(|(step, _)| *step));
        for reason in Reason::ALL {
            let rows = explain(
                &event("entra-token", "refused", Some(reason.code())),
                &Known::default(),
            );
            let row = rows.iter().filter(|(.., text)| {
                text.as_ref()
                    .is_some_and(|text| text.contains(reason.advice()))
            });
            let shown: Vec<&str> = row.map(|(_, outcome, _)| outcome.as_str()).collect();
            let expected = if leaves_open(*reason) {
                "refused"
            } else {
                "failed"
            };
            assert_eq!(shown, [expected], "{reason}");
        }
    }

    #[test]
    fn steps_before_the_failure_passed_and_steps_after_it_were_not_reached() {
        let rows = explain(
            &event("entra-token", "refused", Some("key-unknown")),
            &Known::default(),
        );
        expect(
            &rows,
            &[
                ("the sign-in", "refused"),
                ("form of the token", "passed"),
                ("signature", "failed"),
                ("issuer and tenant", "not reached"),
                ("principal", "not reached"),
            ],
        );
        assert!(explanation(&rows, "the sign-in").contains("No signature was verified"));
        assert!(explanation(&rows, "signature").contains(Reason::KeyUnknown.advice()));
    }

    #[test]
    fn after_the_signature_every_check_that_failed_is_shown() {
        let mut refused = event("entra-token", "refused", Some("expired"));
        refused.checks = Some(vec![
            check("audience", None),
            check("not expired", Some("expired")),
            check("lifetime", Some("lifetime-too-long")),
            check("principal", Some("object-id-mismatch")),
        ]);
        let rows = explain(&refused, &Known::default());
        expect(
            &rows,
            &[
                ("signature", "passed"),
                ("audience", "passed"),
                ("times", "failed"),
                ("type of the token", "passed"),
                ("principal", "failed"),
                ("revocation", "passed"),
            ],
        );
        for reason in [Reason::Expired, Reason::LifetimeTooLong] {
            assert!(explanation(&rows, "times").contains(reason.advice()));
        }
        assert!(!explanation(&rows, "the sign-in").contains("No signature"));
        // A count has no checks, and one of another version may fail at any step.
        let other = vec![check("later", Some("from-the-future"))];
        for checks in [None, Some(other)] {
            refused.checks = checks;
            let rows = explain(&refused, &Known::default());
            expect(
                &rows,
                &[
                    ("audience", "passed"),
                    ("times", "failed"),
                    ("principal", "not recorded"),
                ],
            );
        }
    }

    #[test]
    fn a_token_that_was_accepted_passed_every_step() {
        let mut accepted = event("entra-token", "authenticated", None);
        accepted.checks = Some(vec![EventCheck {
            membership: Some(EventMembership {
                group: Uuid::from_u128(5),
                source: MembershipSource::Cache,
            }),
            ..check("principal", None)
        }]);
        let rows = explain(&accepted, &Known::default());
        assert!(rows[1..].iter().all(|(_, outcome, _)| outcome == "passed"));
        let principal = explanation(&rows, "principal");
        assert!(principal.contains(&Uuid::from_u128(5).to_string()));
        assert!(principal.contains("the cached answer"));
        // Even if the sign-in was refused for something else after that.
        let rows = explain(
            &event("entra-token", "refused", Some("mapping-changed")),
            &Known::default(),
        );
        assert!(rows[2..].iter().all(|(_, outcome, _)| outcome == "passed"));
        assert_eq!(rows[1].1, "failed");
    }

    #[test]
    fn an_interrupted_sign_in_shows_what_is_recorded() {
        let mut interrupted = event("entra-token", "interrupted", Some("interrupted"));
        let rows = explain(&interrupted, &Known::default());
        assert!(
            rows[1..]
                .iter()
                .all(|(_, outcome, _)| outcome == "not recorded")
        );
        assert!(explanation(&rows, "the sign-in").contains(Reason::Interrupted.advice()));
        interrupted.key_id = Some("key".into());
        let rows = explain(&interrupted, &Known::default());
        expect(
            &rows,
            &[("signature", "passed"), ("audience", "not recorded")],
        );
    }

    #[test]
    fn a_row_that_counts_verified_tokens_says_that_they_were() {
        for (outcome, reason) in [("interrupted", "interrupted"), ("refused", "expired")] {
            let mut counted = event("entra-token", outcome, Some(reason));
            counted.object_id = Some(Uuid::from_u128(2));
            counted.count = 200;
            let rows = explain(&counted, &Known::default());
            expect(&rows, &[("signature", "passed")]);
            assert!(!explanation(&rows, "the sign-in").contains("No signature"));
        }
    }

    #[test]
    fn without_a_token_the_reason_is_all() {
        let rows = explain(
            &event("password", "refused", Some("password-failed")),
            &Known::default(),
        );
        assert_eq!(rows.len(), 1);
        assert!(explanation(&rows, "the sign-in").contains(Reason::PasswordFailed.advice()));
    }

    #[test]
    fn a_reason_of_another_version_is_named() {
        let rows = explain(
            &event("entra-token", "refused", Some("from-the-future")),
            &Known::default(),
        );
        assert!(explanation(&rows, "the sign-in").contains("from-the-future"));
        assert!(
            rows[1..]
                .iter()
                .all(|(_, outcome, _)| outcome == "not recorded")
        );
    }
}
