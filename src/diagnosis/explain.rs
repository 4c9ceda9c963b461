//! `aadauth.explain_sign_in`: each check of one sign-in with its outcome, for support.
//!
//! Everything is read from the audit, so that no token has to be disclosed. SECURITY INVOKER: the caller's privileges on
//! the audit table decide.

mod checks;

use std::fmt::Write as _;

use entra_token::{Reason, Step};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde::Deserialize;

use crate::audit::aggregate::UNKNOWN;
use crate::settings;

extension_sql!(
    r#"
COMMENT ON FUNCTION aadauth.explain_sign_in(uuid) IS
    'each check of a sign-in with its outcome, and the remedy for those that failed; takes an event_id of aadauth.sign_in_audit';
REVOKE ALL ON FUNCTION aadauth.explain_sign_in(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION aadauth.explain_sign_in(uuid) TO aadauth_auditor;
"#,
    name = "explain_sign_in_rights",
    requires = [explain_sign_in]
);

/// Characters in a line of the explanation, so that psql's table fits a terminal of 80.
const WIDTH: usize = 38;

/// The sign-in as a whole, then each of its checks in order.
#[pg_extern(schema = "aadauth", stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
fn explain_sign_in(
    event: pgrx::Uuid,
) -> TableIterator<
    'static,
    (
        name!(checked, String),
        name!(outcome, String),
        name!(explanation, Option<String>),
    ),
> {
    let rows = match recorded(event) {
        Ok(Some(event)) => explain(&event),
        Ok(None) => unknown(event),
        Err(error) => fail(
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            format!("could not read sign-in event {event}: {error}"),
            "Report this as a bug.",
        ),
    };
    TableIterator::new(rows.into_iter().map(|row| {
        let explanation = (!row.explanation.is_empty()).then(|| wrap(&row.explanation, WIDTH));
        (row.checked, row.outcome, explanation)
    }))
}

/// One row of the result.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    checked: String,
    outcome: String,
    /// Empty, or text with lines of any length.
    explanation: String,
}

/// What the audit has recorded of a sign-in.
#[derive(Deserialize)]
struct Recorded {
    at: String,
    role: String,
    outcome: String,
    reason: Option<String>,
    method: String,
    principal: Option<String>,
    object_id: Option<String>,
    group_id: Option<String>,
    client: Option<String>,
    database: Option<String>,
    application_name: Option<String>,
    tls: bool,
    token_id: Option<String>,
    expires_at: Option<String>,
    #[serde(default)]
    checks: Option<Vec<RecordedCheck>>,
    count: i64,
}

#[derive(Deserialize)]
struct RecordedCheck {
    name: String,
    reason: Option<String>,
    /// If a membership was checked.
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    source: Option<String>,
}

impl RecordedCheck {
    /// The group of a membership check, and the source that was asked.
    fn membership(&self) -> Option<String> {
        let (group, source) = (self.group.as_deref()?, self.source.as_deref()?);
        let source = match source {
            "claim" => "the token's groups",
            "names" => "the token's groups, which have names instead of object ids",
            "cache" => "the cached answer of the directory",
            "directory" => "the directory",
            other => other,
        };
        Some(format!("group {group}\nsource: {source}"))
    }
}

/// Reads the event with the caller's privileges.
fn recorded(event: pgrx::Uuid) -> Result<Option<Recorded>, Box<dyn std::error::Error>> {
    let query = "
SELECT pg_catalog.json_build_object(
    'at', pg_catalog.date_trunc('second', a.occurred_at)::text, 'role', a.role, 'outcome', a.outcome,
    'reason', a.reason, 'method', a.method,
    'principal', pg_catalog.concat_ws(' ', a.principal_type,
        COALESCE(a.upn, a.display_name, a.app_id::text)),
    'object_id', a.object_id, 'group_id', a.group_id,
    'client', pg_catalog.host(a.client_address), 'database', a.database,
    'application_name', a.application_name, 'tls', a.tls, 'token_id', a.token_id,
    'expires_at', a.expires_at::timestamptz(0)::text, 'checks', a.checks, 'count', a.count)::text
FROM aadauth.sign_in_audit AS a WHERE a.event_id = $1";
    let found = Spi::connect(|client| {
        let rows = client.select(query, Some(1), &[event.into()])?;
        if rows.is_empty() {
            return Ok(None);
        }
        rows.first().get_one::<String>()
    })?;
    Ok(found.map(|json| serde_json::from_str(&json)).transpose()?)
}

/// Raises an error that there is no such event, with a hint where it could be.
fn unknown(event: pgrx::Uuid) -> ! {
    let here = Spi::get_one::<String>("SELECT pg_catalog.current_database()::text");
    let (here, kept_in) = (
        here.ok().flatten().unwrap_or_default(),
        settings::database(),
    );
    if here == kept_in {
        fail(
            PgSqlErrorCode::ERRCODE_NO_DATA_FOUND,
            format!("there is no sign-in event {event}"),
            "Take the event_id from aadauth.sign_in_audit. Events are recorded there within seconds, those of a standby \
             when it is promoted.",
        )
    } else {
        fail(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("sign-ins are not recorded in database \"{here}\""),
            &format!("Connect to database \"{kept_in}\" (aadauth.database)."),
        )
    }
}

fn fail(code: PgSqlErrorCode, message: String, hint: &str) -> ! {
    ErrorReport::new(code, message, "explain_sign_in")
        .set_hint(hint)
        .report(PgLogLevel::ERROR);
    unreachable!("an ERROR unwinds")
}

fn explain(event: &Recorded) -> Vec<Row> {
    let reason = event.reason.as_deref().and_then(Reason::from_code);
    if event.role == UNKNOWN {
        let text = format!(
            "{}\nrepresents {} attempts whose events could not be written; nothing else is known about them\n{}",
            event.at,
            event.count,
            advise(Reason::AuditUnavailable.code())
        );
        return vec![Row::new("the sign-ins", &event.outcome, &text)];
    }
    let checks = checks::expected(&event.method, reason);
    let failing = checks
        .iter()
        .position(|check| reason.is_some_and(|reason| check.reasons.contains(&reason)));
    let by_name = |name: &str| {
        event
            .checks
            .iter()
            .flatten()
            .find(|check| check.name == name)
    };
    let is_accepted = event.outcome == "authenticated";
    // A valid sign-in that could not be recorded was verified as well.
    let is_verified = is_accepted
        || reason == Some(Reason::AuditUnavailable)
        || reason.is_some_and(|reason| reason.step() > Step::Signature);
    // This many checks are known to have passed.
    let passed = match failing {
        Some(failing) => failing,
        None if is_accepted => checks.len(),
        None if is_verified => checks
            .iter()
            .take_while(|check| !check.reasons.is_empty())
            .count(),
        None => 0,
    };
    let outcome = |place: usize, name| match (by_name(name), reason) {
        (Some(RecordedCheck { reason: None, .. }), _) => ("passed", None),
        (Some(RecordedCheck { reason, .. }), _) => ("failed", reason.as_deref()),
        (None, Some(reason)) if failing == Some(place) => ("failed", Some(reason.code())),
        _ if place < passed => ("passed", None),
        _ if failing.is_some() || is_verified && place + 1 == checks.len() => ("not reached", None),
        _ => ("not recorded", None),
    };
    let mut rows: Vec<Row> = checks
        .iter()
        .enumerate()
        .map(|(place, check)| {
            let (outcome, code) = outcome(place, check.name);
            let membership = by_name(check.name).and_then(RecordedCheck::membership);
            let explanation: Vec<String> = membership.into_iter().chain(code.map(advise)).collect();
            Row::new(check.name, outcome, &explanation.join("\n"))
        })
        .collect();
    let is_shown = rows.iter().any(|row| row.outcome == "failed");
    let mut summary = describe(event, is_verified);
    if let Some(code) = event.reason.as_deref().filter(|_| !is_shown) {
        summary.push('\n');
        summary.push_str(&advise(code));
    }
    rows.insert(0, Row::new("the sign-in", &event.outcome, &summary));
    rows
}

/// What is known of the attempt apart from its checks.
fn describe(event: &Recorded, is_verified: bool) -> String {
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
    line("object id", event.object_id.as_deref());
    line("through group", event.group_id.as_deref());
    line("token", event.token_id.as_deref());
    line("token expires", event.expires_at.as_deref());
    if event.count > 1 {
        let _ = write!(text, "\nrepresents {} attempts", event.count);
    }
    if event.method == "entra-token" && !is_verified {
        text.push_str("\nNo signature was verified, so no claims of the token were recorded.");
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

impl Row {
    fn new(checked: &str, outcome: &str, explanation: &str) -> Row {
        Row {
            checked: checked.to_owned(),
            outcome: outcome.to_owned(),
            explanation: explanation.to_owned(),
        }
    }
}

/// Breaks lines at spaces, and long words anywhere.
fn wrap(text: &str, width: usize) -> String {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let characters: Vec<char> = word.chars().collect();
            for piece in characters.chunks(width) {
                let has_room = line.chars().count() + 1 + piece.len() <= width;
                if !line.is_empty() && has_room {
                    line.push(' ');
                } else if !line.is_empty() {
                    lines.push(std::mem::take(&mut line));
                }
                line.extend(piece);
            }
        }
        lines.push(line);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn event(method: &str, outcome: &str, reason: Option<&str>) -> Recorded {
        Recorded {
            at: "2026-01-01 00:00:00+00".into(),
            role: "alice".into(),
            outcome: outcome.into(),
            reason: reason.map(Into::into),
            method: method.into(),
            principal: None,
            object_id: None,
            group_id: None,
            client: None,
            database: None,
            application_name: None,
            tls: true,
            token_id: None,
            expires_at: None,
            checks: None,
            count: 1,
        }
    }

    fn outcome(rows: &[Row], checked: &str) -> String {
        let row = rows.iter().find(|row| row.checked == checked);
        row.map_or_else(|| "no such check".into(), |row| row.outcome.clone())
    }

    #[test]
    fn checks_before_the_failure_passed_and_checks_after_it_were_not_reached() {
        let rows = explain(&event("entra-token", "refused", Some("key-unknown")));
        assert_eq!(outcome(&rows, "the sign-in"), "refused");
        assert_eq!(outcome(&rows, "claims readable"), "passed");
        assert_eq!(outcome(&rows, "signing key"), "failed");
        assert_eq!(outcome(&rows, "signature"), "not reached");
        assert_eq!(outcome(&rows, "principal"), "not reached");
        assert!(rows[0].explanation.contains("No signature was verified"));
        let failed = rows.iter().find(|row| row.outcome == "failed").unwrap();
        assert!(failed.explanation.contains(Reason::KeyUnknown.advice()));
    }

    #[test]
    fn recorded_checks_count_as_they_are() {
        let mut refused = event("entra-token", "refused", Some("expired"));
        let check = |name: &str, reason: Option<&str>| RecordedCheck {
            name: name.into(),
            reason: reason.map(Into::into),
            group: None,
            source: None,
        };
        refused.checks = Some(vec![
            check("audience", None),
            check("not expired", Some("expired")),
            check("principal", Some("object-id-mismatch")),
        ]);
        let rows = explain(&refused);
        for (name, expected) in [
            ("signature", "passed"),
            ("audience", "passed"),
            ("not expired", "failed"),
            ("principal", "failed"),
            ("lifetime", "not recorded"),
            ("final check", "not reached"),
        ] {
            assert_eq!(outcome(&rows, name), expected, "{name}");
        }
        assert!(!rows[0].explanation.contains("No signature"));
    }

    #[test]
    fn a_membership_names_its_source() {
        let mut accepted = event("entra-token", "authenticated", None);
        accepted.checks = Some(vec![RecordedCheck {
            name: "principal".into(),
            reason: None,
            group: Some("a-group".into()),
            source: Some("cache".into()),
        }]);
        let rows = explain(&accepted);
        assert!(rows[1..].iter().all(|row| row.outcome == "passed"));
        let principal = rows.iter().find(|row| row.checked == "principal").unwrap();
        assert!(principal.explanation.contains("a-group"));
        assert!(principal.explanation.contains("the cached answer"));
    }

    #[test]
    fn an_interrupted_sign_in_shows_that_nothing_is_recorded() {
        let rows = explain(&event("pam", "interrupted", Some("interrupted")));
        assert!(rows[1..].iter().all(|row| row.outcome == "not recorded"));
        assert!(rows[0].explanation.contains(Reason::Interrupted.advice()));
    }

    #[test]
    fn a_reason_of_another_version_is_named() {
        let rows = explain(&event("entra-token", "refused", Some("from-the-future")));
        assert!(rows[0].explanation.contains("from-the-future"));
        assert!(rows[1..].iter().all(|row| row.outcome == "not recorded"));
    }

    #[test]
    fn lines_break_at_spaces_and_long_words_anywhere() {
        assert_eq!(wrap("one two three", 8), "one two\nthree");
        assert_eq!(wrap("a\n0123456789 b", 4), "a\n0123\n4567\n89 b");
        assert_eq!(wrap("", 4), "");
    }
}
