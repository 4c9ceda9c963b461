//! A line of the spool as the audit worker reads it.
//!
//! It accepts more than is written: an event of another version of this library, with a reason or outcome that this
//! one does not know, is still an event. What is passed to SQL is typed, so that no line can make the statement fail.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// No event is longer: its texts have limits (see [`crate::text::SanitizedText`]).
const MAX_LINE_LENGTH: usize = 64 * 1024;

/// The columns of `aadauth.sign_in_audit`, by name.
#[derive(Debug, Serialize)]
pub struct Record {
    pub event_id: Uuid,
    /// Microseconds since the Unix epoch.
    pub at: i64,
    role: Text,
    outcome: Text,
    reason: Option<Text>,
    method: Text,
    principal_type: Option<Text>,
    object_id: Option<Uuid>,
    tenant_id: Option<Uuid>,
    upn: Option<Text>,
    app_id: Option<Uuid>,
    display_name: Option<Text>,
    group_id: Option<Uuid>,
    client_address: Option<IpAddr>,
    client_port: Option<u16>,
    database: Option<Text>,
    application_name: Option<Text>,
    tls: bool,
    token_id: Option<Text>,
    issued_at: Option<i64>,
    expires_at: Option<i64>,
    amr: Option<Vec<Text>>,
    key_id: Option<Text>,
    backend_pid: i32,
    decision_micros: i64,
    checks: Option<Value>,
    /// The number of attempts that it represents.
    pub count: i64,
}

/// A text without NUL, which neither text nor jsonb accepts.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Text(String);

#[derive(Deserialize)]
struct Line {
    id: Uuid,
    at: i64,
    role: Text,
    outcome: Text,
    reason: Option<Text>,
    method: Text,
    principal: Option<LinePrincipal>,
    group_id: Option<Uuid>,
    client_address: Option<Text>,
    client_port: Option<u16>,
    database: Option<Text>,
    application_name: Option<Text>,
    tls: bool,
    token: Option<LineToken>,
    backend_pid: i32,
    decision_micros: i64,
    #[serde(default)]
    checks: Vec<LineCheck>,
    count: i64,
}

#[derive(Deserialize)]
struct LinePrincipal {
    kind: Text,
    object_id: Uuid,
    tenant_id: Uuid,
    upn: Option<Text>,
    app_id: Option<Uuid>,
    display_name: Option<Text>,
}

#[derive(Deserialize)]
struct LineToken {
    token_id: Option<Text>,
    issued_at: i64,
    expires_at: i64,
    #[serde(default)]
    amr: Vec<Text>,
    key_id: Text,
}

#[derive(Deserialize, Serialize)]
struct LineCheck {
    name: Text,
    reason: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Text>,
}

impl Record {
    /// The same, for that many attempts.
    pub fn with_count(self, count: i64) -> Record {
        Record { count, ..self }
    }

    /// `None` when the line is not an event.
    pub fn parse(line: &[u8]) -> Option<Record> {
        if line.len() > MAX_LINE_LENGTH {
            return None;
        }
        let line: Line = serde_json::from_slice(line).ok()?;
        line.is_in_range().then(|| line.into_record())
    }
}

impl Line {
    /// Whether SQL types can hold the numbers, and a float the microseconds (2^53 is the year 2255).
    fn is_in_range(&self) -> bool {
        self.count > 0
            && (0..LAST_SECOND).contains(&self.decision_micros)
            && (0..LAST_SECOND * 1_000_000).contains(&self.at)
    }

    fn into_record(self) -> Record {
        let (principal, token) = (self.principal, self.token);
        let mut record = Record {
            event_id: self.id,
            at: self.at,
            role: self.role,
            outcome: self.outcome,
            reason: self.reason,
            method: self.method,
            principal_type: None,
            object_id: None,
            tenant_id: None,
            upn: None,
            app_id: None,
            display_name: None,
            group_id: self.group_id,
            client_address: self
                .client_address
                .and_then(|address| address.0.parse().ok()),
            client_port: self.client_port,
            database: self.database,
            application_name: self.application_name,
            tls: self.tls,
            token_id: None,
            issued_at: None,
            expires_at: None,
            amr: None,
            key_id: None,
            backend_pid: self.backend_pid,
            decision_micros: self.decision_micros,
            checks: (!self.checks.is_empty())
                .then(|| serde_json::to_value(self.checks).unwrap_or_default()),
            count: self.count,
        };
        if let Some(principal) = principal {
            record.principal_type = Some(principal.kind);
            record.object_id = Some(principal.object_id);
            record.tenant_id = Some(principal.tenant_id);
            record.upn = principal.upn;
            record.app_id = principal.app_id;
            record.display_name = principal.display_name;
        }
        if let Some(token) = token {
            record.token_id = token.token_id;
            record.issued_at = in_range(token.issued_at);
            record.expires_at = in_range(token.expires_at);
            record.amr = Some(token.amr);
            record.key_id = Some(token.key_id);
        }
        record
    }
}

/// Seconds since the Unix epoch up to the year 2255.
const LAST_SECOND: i64 = 9_000_000_000;

/// A time that a token claims, if SQL can hold it: the event must not be lost otherwise.
fn in_range(seconds: i64) -> Option<i64> {
    (0..LAST_SECOND).contains(&seconds).then_some(seconds)
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        let mut text = String::deserialize(deserializer)?;
        text.retain(|c| c != '\0');
        Ok(Text(text))
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use entra_token::{PrincipalKind, Reason};

    use super::*;
    use crate::audit::event::{Event, EventCheck, EventMembership, MembershipSource};
    use crate::identity::{Principal, Token};
    use crate::shared::outcome::Outcome;
    use crate::text::SanitizedText;

    fn event() -> Event {
        Event {
            id: Uuid::from_u128(1),
            at: 1_700_000_000_000_001,
            role: SanitizedText::from("alice"),
            outcome: Outcome::Refused,
            reason: Some(Reason::MfaMissing),
            method: SanitizedText::from("entra-token"),
            principal: Some(Principal {
                kind: PrincipalKind::Group,
                object_id: Uuid::from_u128(2),
                tenant_id: Uuid::from_u128(3),
                upn: Some(SanitizedText::from("alice@contoso.com")),
                app_id: Some(Uuid::from_u128(4)),
                display_name: Some(SanitizedText::from("Alice")),
            }),
            group_id: Some(Uuid::from_u128(5)),
            client_address: Some(SanitizedText::from("2001:db8::1")),
            client_port: Some(65_535),
            database: Some(SanitizedText::from("app")),
            application_name: Some(SanitizedText::from(r"psql \u0000")),
            tls: true,
            token: Some(Token {
                token_id: Some(SanitizedText::from("uti")),
                issued_at: 10,
                expires_at: 20,
                amr: vec![SanitizedText::from("pwd"), SanitizedText::from("mfa")],
                key_id: SanitizedText::from("key"),
            }),
            backend_pid: 42,
            decision_micros: 1234,
            checks: vec![
                EventCheck {
                    name: SanitizedText::from("mfa"),
                    reason: Some(Reason::MfaMissing),
                    membership: None,
                },
                EventCheck {
                    name: SanitizedText::from("principal"),
                    reason: None,
                    membership: Some(EventMembership {
                        group: Uuid::from_u128(6),
                        source: MembershipSource::Cache,
                    }),
                },
            ],
            count: 1,
        }
    }

    fn written(event: &Event) -> String {
        serde_json::to_string(event).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let record = Record::parse(written(&event()).as_bytes()).unwrap();
        let row = serde_json::to_value(&record).unwrap();
        assert_eq!(
            row,
            serde_json::json!({
                "event_id": Uuid::from_u128(1), "at": 1_700_000_000_000_001_i64,
                "role": "alice", "outcome": "refused", "reason": "mfa-missing",
                "method": "entra-token", "principal_type": "group",
                "object_id": Uuid::from_u128(2), "tenant_id": Uuid::from_u128(3),
                "upn": "alice@contoso.com", "app_id": Uuid::from_u128(4), "display_name": "Alice",
                "group_id": Uuid::from_u128(5), "client_address": "2001:db8::1",
                "client_port": 65_535, "database": "app", "application_name": r"psql \u0000",
                "tls": true, "token_id": "uti", "issued_at": 10, "expires_at": 20,
                "amr": ["pwd", "mfa"], "key_id": "key", "backend_pid": 42,
                "decision_micros": 1234,
                "checks": [
                    { "name": "mfa", "reason": "mfa-missing" },
                    { "name": "principal", "reason": null,
                      "group": Uuid::from_u128(6), "source": "cache" }
                ],
                "count": 1
            })
        );
    }

    #[test]
    fn an_event_of_another_version_is_an_event() {
        let other = written(&event())
            .replace("mfa-missing", "a-later-reason")
            .replace("\"refused\"", "\"a-later-outcome\"")
            .replace("\"tls\"", "\"later\":{},\"tls\"");
        let row = serde_json::to_value(Record::parse(other.as_bytes()).unwrap()).unwrap();
        assert_eq!(row["reason"], "a-later-reason");
        assert_eq!(row["outcome"], "a-later-outcome");
    }

    #[test]
    fn what_sql_does_not_accept_is_not_passed_on() {
        let line = written(&event());
        for (is, becomes) in [
            ("\"count\":1", "\"count\":0"),
            ("\"count\":1", "\"count\":99999999999999999999"),
            ("1700000000000001", "9000000000000000"),
            ("1700000000000001", "-1"),
            ("\"decision_micros\":1234", "\"decision_micros\":-1"),
            (
                "\"decision_micros\":1234",
                "\"decision_micros\":9223372036854775807",
            ),
            ("\"backend_pid\":42", "\"backend_pid\":4294967296"),
            ("\"client_port\":65535", "\"client_port\":65536"),
            ("\"alice\"", "null"),
            ("}", ""),
        ] {
            let line = line.replacen(is, becomes, 1);
            assert!(Record::parse(line.as_bytes()).is_none(), "{becomes}");
        }
        // What a token claims must not cost the event.
        let odd = line.replacen("\"issued_at\":10", "\"issued_at\":-9223372036854775808", 1);
        assert_ne!(odd, line);
        let record = Record::parse(odd.as_bytes()).expect("the event is kept");
        assert_eq!(
            serde_json::to_value(&record).unwrap()["issued_at"],
            Value::Null
        );
        assert!(Record::parse(b"").is_none());
        assert!(Record::parse(b"{\"id\":").is_none());
        assert!(Record::parse(b"\xff\xfe").is_none());
        let mut long = line.clone();
        long.push_str(&" ".repeat(MAX_LINE_LENGTH));
        assert!(Record::parse(long.as_bytes()).is_none());

        let with_nul = line
            .replace("Alice", "A\\u0000lice")
            .replace("2001:db8::1", "fe80::1%eth0");
        let row = serde_json::to_value(Record::parse(with_nul.as_bytes()).unwrap()).unwrap();
        assert_eq!(row["display_name"], "Alice");
        assert_eq!(row["client_address"], Value::Null);
    }

    #[test]
    fn shown_texts_are_short_and_visible() {
        let evil = "a\u{0}\u{1b}[2Jb\n\u{202e}c\u{feff}\u{85}ü";
        assert_eq!(SanitizedText::from(evil).to_string(), "a[2Jbcü");
        assert_eq!(
            SanitizedText::from("ü".repeat(300).as_str())
                .to_string()
                .chars()
                .count(),
            SanitizedText::MAX
        );
    }
}
