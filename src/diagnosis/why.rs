//! `aadauth.why`: why somebody could not sign in, with what was expected beside what came.
//!
//! Everything is read from the audit, the labels and the settings, with the caller's privileges on the audit table.

use std::error::Error;
use std::fmt::Write as _;

use entra_token::Reason;
use pgrx::prelude::*;
use uuid::Uuid;

use super::compared;
use super::comparison::Compared;
use super::known::{Known, Role};
use super::recorded::{self, Recorded};
use super::unmapped;
use crate::audit::reader;
use crate::pg::log;
use crate::pg::text::SqlText;
use crate::pg::uuid::sql_uuid;
use crate::text::escapes;

extension_sql!(
    r#"
COMMENT ON FUNCTION aadauth.why(text) IS
    'the last refusals of a role, principal or object id, with what was expected and what came, and what to do';
REVOKE ALL ON FUNCTION aadauth.why(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION aadauth.why(text) TO aadauth_auditor;
"#,
    name = "why_rights",
    requires = [why]
);

struct Row {
    /// Of a refusal; `None` for what is so now.
    event: Option<(TimestampWithTimeZone, Uuid)>,
    role: String,
    reason: String,
    compared: Compared,
}

/// First what is wrong with the name or object id itself, if anything is; then the refusals, newest first.
#[pg_extern(schema = "aadauth")]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity, reason = "pgrx must see the columns here")]
fn why(
    who: SqlText,
) -> TableIterator<
    'static,
    (
        name!(time, Option<TimestampWithTimeZone>),
        name!(event_id, Option<pgrx::Uuid>),
        name!(role, SqlText),
        name!(reason, SqlText),
        name!(expected, Option<SqlText>),
        name!(got, Option<SqlText>),
        name!(remedy, Option<SqlText>),
    ),
> {
    reader::drain_spool();
    // Even if EXECUTE was granted: it shows settings and labels as well.
    if !reader::may_read() {
        log::error(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "permission denied to see why sign-ins were refused",
            Some("Only members of the role \"aadauth_auditor\" may see it."),
            None,
        );
    }
    let rows = rows(&escapes::unescape(&who.0)).unwrap_or_else(|error| {
        log::error(
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            &format!("could not read the refused sign-ins: {error}"),
            None,
            Some("Report this as a bug."),
        )
    });
    TableIterator::new(rows.into_iter().map(|row| {
        let (time, event_id) = row.event.unzip();
        let Compared {
            expected,
            got,
            remedy,
        } = row.compared;
        (
            time,
            event_id.map(sql_uuid),
            row.role.into(),
            row.reason.into(),
            expected.map(SqlText),
            got.map(SqlText),
            remedy.map(SqlText),
        )
    }))
}

fn rows(who: &str) -> Result<Vec<Row>, Box<dyn Error>> {
    let id = Uuid::parse_str(who).ok();
    let mut known = Known::read([who].into_iter());
    let (mut names, mut ids) = (vec![who.to_owned()], Vec::from_iter(id));
    if let Some(id) = id {
        names = known
            .role_of(Some(id), Some(id))
            .map(str::to_owned)
            .into_iter()
            .collect();
    } else if let Role::Mapped(mapping) = known.role(who) {
        ids.push(mapping.object_id);
    }
    let events = recorded::refusals_of(&names, &ids)?;
    known.look_up(events.iter().map(|(_, event)| event.role.as_str()));
    let mut rows = Vec::new();
    match id {
        Some(id) if names.is_empty() => rows.push(Row::now(who, unmapped::object_id(id))),
        Some(_) => (),
        None => rows.extend(unmapped::name(who, &known).map(|problem| Row::now(who, problem))),
    }
    rows.extend(
        events
            .into_iter()
            .map(|(time, event)| Row::of(time, event, &known)),
    );
    Ok(rows)
}

impl Row {
    fn now(who: &str, (reason, compared): (Reason, Compared)) -> Row {
        Row {
            event: None,
            role: who.to_owned(),
            reason: reason.code().to_owned(),
            compared,
        }
    }

    fn of(time: TimestampWithTimeZone, event: Recorded, known: &Known) -> Row {
        let reason = event.known_reason();
        let mut compared = reason.map_or_else(Compared::default, |reason| {
            compared::compare(&event, reason, known)
        });
        if let Some(reason) = reason {
            let got = compared
                .got
                .get_or_insert_with(|| reason.description().to_owned());
            if event.count > 1 {
                let _ = write!(got, " ({} times within a minute)", event.count);
            }
            let remedy = compared.remedy.take();
            compared.remedy = Some(match remedy {
                Some(remedy) if compared::replaces_advice(reason) => remedy,
                Some(remedy) => format!("{}\n{remedy}", reason.advice()),
                None => reason.advice().to_owned(),
            });
        }
        Row {
            event: Some((time, event.event_id)),
            reason: event
                .reason
                .map(|code| code.to_string())
                .unwrap_or_default(),
            role: event.role,
            compared,
        }
    }
}
