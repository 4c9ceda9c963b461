//! From the spool to the table: rows and offset commit in one transaction, so that each event is recorded exactly
//! once, even if a process is killed at any time.
//!
//! The statements run with the search path that [`worker::connect`] pins, where only pg_catalog is
//! searched; the extension's tables are qualified with their schema.

use std::collections::BTreeMap;
use std::io;

use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use uuid::Uuid;

use super::partition::{self, Week};
use super::record::{self, Record};
use super::spool;
use crate::pg::json;
use crate::pg::query::{self, Value};
use crate::pg::uuid::uuid_argument;
use crate::pg::worker::{self, Failure, FailureKind};

/// What has been done with a part of one spool file.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Lines that were not events.
    pub skipped: u64,
    /// The offset has moved, so that there may be more.
    pub has_moved: bool,
    /// How far the file has been read now.
    pub read_to: u64,
    /// The file has been read to its end, and no process appends to it.
    pub is_finished: bool,
}

/// Moves the next events of the file into the table.
///
/// A line that the table does not accept is tried again by itself and then skipped, so that it cannot block the
/// others.
///
/// # Errors
/// Nothing has changed; another attempt may succeed.
pub fn advance(id: Uuid) -> Result<Progress, Failure> {
    match worker::transaction(|| advance_by(id, usize::MAX)) {
        Err(failure) if failure.kind == FailureKind::Data => {}
        result => return result,
    }
    // One at a time, until the line at fault has been skipped; the caller repeats the call for the rest.
    let mut skipped = 0;
    let last = loop {
        match worker::transaction(|| advance_by(id, 1)) {
            Ok(progress) if progress.has_moved => skipped += progress.skipped,
            Err(failure) if failure.kind == FailureKind::Data => {
                break worker::transaction(|| skip_line(id))?;
            }
            result => break result?,
        }
    };
    Ok(Progress {
        skipped: skipped + last.skipped,
        has_moved: true,
        ..last
    })
}

/// Inserts up to `most` lines and moves the offset behind them.
fn advance_by(id: Uuid, most: usize) -> Result<Progress, Failure> {
    Spi::connect_mut(|client| {
        let start = offset(client, id)?;
        let (lines, end, is_finished) = next(id, start, most)?;
        let records: Vec<Record> = lines
            .iter()
            .filter_map(|line| record::parse(line))
            .collect();
        let skipped = (lines.len() - records.len()) as u64;
        insert(client, &records)?;
        move_offset(client, id, start, end, skipped)?;
        Ok(Progress {
            skipped,
            has_moved: end != start,
            read_to: end,
            is_finished,
        })
    })
}

/// Moves the offset behind the next line without reading it.
fn skip_line(id: Uuid) -> Result<Progress, Failure> {
    Spi::connect_mut(|client| {
        let start = offset(client, id)?;
        let (_, end, is_finished) = next(id, start, 1)?;
        move_offset(client, id, start, end, 1)?;
        Ok(Progress {
            skipped: 1,
            has_moved: end != start,
            read_to: end,
            is_finished,
        })
    })
}

/// At most that many lines, the offset behind them, and whether they are the last.
fn next(id: Uuid, start: u64, most: usize) -> Result<(Vec<Vec<u8>>, u64, bool), Failure> {
    let mut chunk = match spool::read(id, start) {
        Ok(chunk) => chunk,
        // Nothing has been appended since the server started.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((Vec::new(), start, false));
        }
        Err(error) => {
            let message = format!("could not read the spool file {id}: {error}");
            return Err(Failure {
                message,
                kind: FailureKind::Other,
            });
        }
    };
    if chunk.lines.len() > most {
        chunk.lines.truncate(most);
        chunk.end = chunk.lines.last().map_or(start, |(_, end)| *end);
        chunk.is_last = false;
    }
    let lines = chunk.lines.into_iter().map(|(line, _)| line).collect();
    Ok((lines, chunk.end, chunk.is_last))
}

/// How far the file has been read. Locks the offset until the transaction ends.
fn offset(client: &mut SpiClient<'_>, id: Uuid) -> Result<u64, Failure> {
    let statement = "SELECT s.read_to FROM aadauth.audit_spool AS s \
                 WHERE s.spool_id = $1 FOR UPDATE";
    let rows = query::update(client, statement, Some(1), &[uuid_argument(id)])?;
    if rows.is_empty() {
        return Ok(0);
    }
    let offset = rows.first().get_one::<i64>()?.unwrap_or(0);
    Ok(offset.try_into().unwrap_or(0))
}

fn move_offset(
    client: &mut SpiClient<'_>,
    id: Uuid,
    start: u64,
    end: u64,
    skipped: u64,
) -> Result<(), Failure> {
    if end == start {
        return Ok(());
    }
    let statement = "INSERT INTO aadauth.audit_spool AS s (spool_id, read_to, skipped_lines) \
                 VALUES ($1, $2, $3) \
                 ON CONFLICT (spool_id) DO UPDATE SET \
                     read_to = excluded.read_to, \
                     skipped_lines = s.skipped_lines + excluded.skipped_lines, \
                     read_at = pg_catalog.now()";
    let number = |number: u64| Value::from(i64::try_from(number).unwrap_or(i64::MAX));
    query::update(
        client,
        statement,
        None,
        &[uuid_argument(id), number(end), number(skipped)],
    )?;
    Ok(())
}

/// Updates the counts of an aggregate table, which only grow. Returns how many the table does not accept; these do not
/// block the others.
///
/// # Errors
/// Not all of them are in the table; another attempt may succeed.
pub fn update_counts(records: &[Record]) -> Result<u64, Failure> {
    let insert =
        |records: &[Record]| worker::transaction(|| Spi::connect_mut(|c| insert(c, records)));
    match insert(records) {
        Err(failure) if failure.kind == FailureKind::Data => {}
        result => return result.map(|()| 0),
    }
    let mut refused = 0;
    for record in records {
        match insert(std::slice::from_ref(record)) {
            Err(failure) if failure.kind == FailureKind::Data => refused += 1,
            result => result?,
        }
    }
    Ok(refused)
}

/// Inserts into the partition of each event's week. An event that exists already is left unchanged, unless it now
/// represents more attempts: after a restore, a spool file may be older than the table, and counts come from the
/// aggregate table as well as from the spool.
fn insert(client: &mut SpiClient<'_>, records: &[Record]) -> Result<(), Failure> {
    // One statement cannot change a row twice.
    let mut weeks: BTreeMap<Week, BTreeMap<Uuid, &Record>> = BTreeMap::new();
    for record in records {
        let of_week = weeks.entry(Week::of(record.at)).or_default();
        let known = of_week.entry(record.id).or_insert(record);
        if known.count < record.count {
            *known = record;
        }
    }
    for (week, records) in weeks {
        let table = partition::ensure(client, week)?;
        let records: Vec<&Record> = records.into_values().collect();
        let json = json::for_sql(&records).map_err(|error| Failure {
            message: error.to_string(),
            kind: FailureKind::Data,
        })?;
        let statement = format!("INSERT INTO {table} AS known {COLUMNS_AND_SOURCE}");
        query::update(client, &statement, None, &[json.into()])?;
    }
    Ok(())
}

const COLUMNS_AND_SOURCE: &str = "\
(
    event_id, occurred_at, role, outcome, reason, method, pooler,
    principal_type, object_id, tenant_id, upn, app_id, display_name, group_id,
    client_address, client_port, database, application_name, tls,
    token_id, issued_at, expires_at, token_audience, token_version, amr, key_id,
    backend_pid, decision_time, checks, count)
SELECT
    id, timestamptz 'epoch' + interval '1 microsecond' * e.at,
    role, outcome, reason, method, pooler,
    kind, object_id, tenant_id, upn, app_id, display_name, group_id,
    client_address, client_port, database, application_name, tls,
    token_id, timestamptz 'epoch' + interval '1 second' * issued_at,
    timestamptz 'epoch' + interval '1 second' * expires_at, audience, version, amr, key_id,
    backend_pid, interval '1 microsecond' * decision_micros, checks, count
FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS e (
    id uuid, at bigint, role text, outcome text, reason text, method text, pooler text,
    principal jsonb, group_id uuid,
    client_address inet, client_port integer, database text, application_name text,
    tls boolean, token jsonb,
    backend_pid integer, decision_micros bigint, checks jsonb, count bigint)
LEFT JOIN LATERAL pg_catalog.jsonb_to_record(e.principal) AS principal (
    kind text, object_id uuid, tenant_id uuid, upn text, app_id uuid,
    display_name text) ON true
LEFT JOIN LATERAL pg_catalog.jsonb_to_record(e.token) AS token (
    token_id text, issued_at bigint, expires_at bigint, audience text, version text, amr text[], key_id text) ON true
ON CONFLICT (event_id) DO UPDATE SET count = excluded.count
WHERE known.count < excluded.count";
