//! A line of the spool as the audit worker reads it.
//!
//! It accepts more than is written: an event of another version of this library, with a reason or outcome that this
//! one does not know, is still an event. What is passed to SQL is typed, so that no line can make the statement fail.

use super::address;
use super::event::Event;
use crate::text::SanitizedText;

/// No event is longer: its texts have limits (see [`crate::text::SanitizedText`]).
const MAX_LINE_LENGTH: usize = 64 * 1024;

/// Seconds since the Unix epoch up to the year 2255, whose microseconds a float can hold (2^53).
const LAST_SECOND: i64 = 9_000_000_000;

/// An event of any version.
pub type Record = Event<SanitizedText, SanitizedText>;

/// `None` when the line is not an event, or one whose numbers the types of SQL cannot hold.
pub fn parse(line: &[u8]) -> Option<Record> {
    if line.len() > MAX_LINE_LENGTH {
        return None;
    }
    let mut record: Record = serde_json::from_slice(line).ok()?;
    record
        .client_address
        .take_if(|text| !address::is_valid(&text.to_string()));
    // What a token claims must not cost the event.
    if let Some(token) = &mut record.token {
        for time in [&mut token.issued_at, &mut token.expires_at] {
            time.take_if(|seconds| !(0..LAST_SECOND).contains(seconds));
        }
    }
    let is_in_range = record.count > 0
        && (0..LAST_SECOND).contains(&record.decision_micros)
        && (0..LAST_SECOND * 1_000_000).contains(&record.at);
    is_in_range.then_some(record)
}

#[cfg(test)]
mod tests {
    use entra_token::{PrincipalKind, Reason};
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;
    use crate::audit::event::{EventCheck, EventMembership, MembershipSource};
    use crate::identity::{Principal, Token};
    use crate::shared::outcome::Outcome;
    use crate::text::SanitizedText;

    fn event() -> Event {
        Event {
            id: Uuid::from_u128(1),
            at: 1_700_000_000_000_001,
            role: SanitizedText::from("alice"),
            role_can_login: true,
            outcome: Outcome::Refused,
            reason: Some(Reason::MfaMissing),
            method: SanitizedText::from("entra-token"),
            pooler: Some(SanitizedText::from("pgb1")),
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
                issued_at: Some(10),
                expires_at: Some(20),
                audience: Some(SanitizedText::from("api://other")),
                version: Some(SanitizedText::from("2.0")),
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
        let record = parse(written(&event()).as_bytes()).unwrap();
        let row = serde_json::to_value(&record).unwrap();
        assert_eq!(
            row,
            serde_json::json!({
                "id": Uuid::from_u128(1), "at": 1_700_000_000_000_001_i64,
                "role": "alice", "outcome": "refused", "reason": "mfa-missing",
                "method": "entra-token", "pooler": "pgb1",
                "principal": {
                    "kind": "group", "object_id": Uuid::from_u128(2),
                    "tenant_id": Uuid::from_u128(3), "upn": "alice@contoso.com",
                    "app_id": Uuid::from_u128(4), "display_name": "Alice"
                },
                "group_id": Uuid::from_u128(5), "client_address": "2001:db8::1",
                "client_port": 65_535, "database": "app", "application_name": r"psql \u0000",
                "tls": true,
                "token": {
                    "token_id": "uti", "issued_at": 10, "expires_at": 20,
                    "audience": "api://other", "version": "2.0",
                    "amr": ["pwd", "mfa"], "key_id": "key"
                },
                "backend_pid": 42, "decision_micros": 1234,
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
        let row = serde_json::to_value(parse(other.as_bytes()).unwrap()).unwrap();
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
            assert!(parse(line.as_bytes()).is_none(), "{becomes}");
        }
        // What a token claims must not cost the event.
        let odd = line.replacen("\"issued_at\":10", "\"issued_at\":-9223372036854775808", 1);
        assert_ne!(odd, line);
        let record = parse(odd.as_bytes()).expect("the event is kept");
        let token = record.token.expect("the token is kept");
        assert_eq!((token.issued_at, token.expires_at), (None, Some(20)));
        assert!(parse(b"").is_none());
        assert!(parse(b"{\"id\":").is_none());
        assert!(parse(b"\xff\xfe").is_none());
        let mut long = line.clone();
        long.push_str(&" ".repeat(MAX_LINE_LENGTH));
        assert!(parse(long.as_bytes()).is_none());

        let with_nul = line
            .replace("Alice", "A\\u0000lice")
            .replace("2001:db8::1", "fe80::1%eth0");
        let row = serde_json::to_value(parse(with_nul.as_bytes()).unwrap()).unwrap();
        let shown = serde_json::to_value(SanitizedText::from("A\0lice")).unwrap();
        assert_eq!(row["principal"]["display_name"], shown);
        assert_eq!(row["client_address"], Value::Null);
    }
}
