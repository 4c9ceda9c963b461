//! Sign-ins as the audit has recorded them.

use std::error::Error;

use entra_token::Reason;
use pgrx::prelude::*;
use serde::Deserialize;

use crate::audit::EventCheck;
use crate::pg::query::{self, Value};
use crate::pg::text::SqlText;
use crate::pg::uuid::sql_uuid;
use crate::pg::{json, snapshot};
use crate::text::{SanitizedText, escapes};

/// What the audit has recorded of a sign-in.
#[derive(Default, Deserialize)]
pub struct Recorded {
    pub event_id: uuid::Uuid,
    pub at: String,
    pub role: String,
    pub outcome: String,
    pub reason: Option<SanitizedText>,
    pub method: String,
    /// What it is, and its name.
    pub principal: Option<String>,
    pub object_id: Option<uuid::Uuid>,
    pub app_id: Option<uuid::Uuid>,
    pub tenant_id: Option<uuid::Uuid>,
    pub group_id: Option<String>,
    pub client: Option<String>,
    pub database: Option<String>,
    pub application_name: Option<String>,
    pub tls: bool,
    pub token_id: Option<String>,
    pub issued_at: Option<String>,
    pub expires_at: Option<String>,
    pub token_audience: Option<String>,
    pub token_version: Option<String>,
    pub amr: Option<Vec<String>>,
    pub key_id: Option<String>,
    pub checks: Option<Vec<EventCheck<SanitizedText>>>,
    pub count: i64,
}

impl Recorded {
    pub fn known_reason(&self) -> Option<Reason> {
        Reason::from_code(&self.reason.as_ref()?.to_string())
    }
}

/// A sign-in, and when it was decided.
pub type Event = (TimestampWithTimeZone, Recorded);

const COLUMNS: &str = "
SELECT a.occurred_at, pg_catalog.to_json(r)::text FROM aadauth.sign_in_audit AS a CROSS JOIN LATERAL (SELECT
    a.event_id, pg_catalog.date_trunc('second', a.occurred_at)::text AS at, a.role, a.outcome, a.reason, a.method,
    pg_catalog.concat_ws(' ', a.principal_type, COALESCE(a.upn, a.display_name, a.app_id::text)) AS principal,
    a.object_id, a.app_id, a.tenant_id, a.group_id, pg_catalog.abbrev(a.client_address) AS client, a.database,
    a.application_name, a.tls, a.token_id, a.issued_at::timestamptz(0)::text AS issued_at,
    a.expires_at::timestamptz(0)::text AS expires_at, a.token_audience, a.token_version, a.amr, a.key_id, a.checks, a.count
) AS r";

/// How many refusals [`refusals_of`] returns.
const LAST: i64 = 10;

/// The event of that id. Like the others, read with the caller's privileges.
pub fn by_id(event: pgrx::Uuid) -> Result<Option<Event>, Box<dyn Error>> {
    read("WHERE a.event_id = $1", &[event.into()]).map(|found| found.into_iter().next())
}

/// The last sign-in that was refused.
pub fn last_refusal() -> Result<Option<Event>, Box<dyn Error>> {
    let last = "WHERE a.outcome = 'refused' ORDER BY a.occurred_at DESC, a.event_id DESC LIMIT 1";
    read(last, &[]).map(|found| found.into_iter().next())
}

/// The last refusals as roles or of principals of these names, whatever their letters' case, or of principals with these
/// object ids, newest first. Older ones than a month are left out, so that the search ends.
pub fn refusals_of(
    names: &[String],
    object_ids: &[uuid::Uuid],
) -> Result<Vec<Event>, Box<dyn Error>> {
    let names: Vec<SqlText> = names.iter().map(SqlText::from).collect();
    let ids: Vec<pgrx::Uuid> = object_ids.iter().copied().map(sql_uuid).collect();
    let of_them = "
WHERE a.outcome = 'refused' AND a.occurred_at > pg_catalog.now() - interval '30 days' AND (
    pg_catalog.lower(a.role) IN (SELECT pg_catalog.lower(n) FROM pg_catalog.unnest($1) AS n)
    OR pg_catalog.lower(COALESCE(a.upn, a.display_name)) IN (SELECT pg_catalog.lower(n) FROM pg_catalog.unnest($1) AS n)
    OR a.object_id = ANY ($2) OR a.principal_type = 'service' AND a.app_id = ANY ($2))
ORDER BY a.occurred_at DESC, a.event_id DESC LIMIT $3";
    read(of_them, &[names.into(), ids.into(), LAST.into()])
}

/// Volatile: it reads what has been recorded since the statement began.
fn read(condition: &str, values: &[Value]) -> Result<Vec<Event>, Box<dyn Error>> {
    let statement = format!("{COLUMNS} {condition}");
    let rows = snapshot::with_latest(|| -> spi::Result<Vec<_>> {
        Spi::connect(|client| {
            let rows = query::select(client, &statement, None, values)?;
            rows.map(|row| Ok((row.get(1)?, row.get::<SqlText>(2)?)))
                .collect()
        })
    })?;
    let mut events = Vec::new();
    for (at, row) in rows {
        let (Some(at), Some(SqlText(row))) = (at, row) else {
            continue;
        };
        let mut row = serde_json::from_str(&row)?;
        json::map_texts(&mut row, &|text| escapes::unescape(text));
        events.push((at, serde_json::from_value(row)?));
    }
    Ok(events)
}
