//! Aggregation of refusals: beyond the first few of a minute, equal ones are counted instead of recorded.
//!
//! Refused and interrupted attempts are counted by role, client address (of IPv6, the network), reason, outcome and the
//! object id of a verified token, in the aggregate table of this start of the server; if that has no free slot for them,
//! without the role, and then by reason and outcome only. Each attempt is in exactly one event of its own or one count.
//! The audit worker copies the counts to the audit's table, under ids that stay the same, so that copying twice changes
//! nothing.
//!
//! Events that cannot be written to the spool are counted here as well.

mod class;
mod slot;
mod table;

use std::fs;
use std::io;
use std::path::PathBuf;

use entra_token::Reason;
use uuid::Uuid;

use super::address;
use super::event::{self, Event};
use super::record::{self, Record};
use super::spool;
use crate::identity::Principal;
use crate::pg::server;
use crate::shared::outcome::Outcome;
use crate::shared::shmem;
use crate::shared::spool::Quota;
use crate::text::SanitizedText;
use crate::{clock, settings};
use class::Class;
use slot::Slot;
use table::Table;

pub use table::Admission;

/// Slots that are not found by key: for each reason one per outcome, then as many for no reason, and for what could not be
/// recorded.
const RESERVED: usize = (UNRECORDED + 1) * Outcome::COUNT;
const WITHOUT_REASON: usize = Reason::ALL.len();
const UNRECORDED: usize = WITHOUT_REASON + 1;

/// Of the tables' file names.
const EXTENSION: &str = "aggregate";

/// The role of an event that represents attempts on many roles.
const MANY: &str = "(many)";
/// The longest user principal name of a summary in bytes, so that it fits into a slot. Entra allows 113 characters.
const MAX_UPN: usize = 128;
/// The role of an event that represents attempts of which only the outcome is known.
pub const UNKNOWN: &str = "(not recorded)";

/// Creates the table of this start, and removes tables of earlier starts that have counted nothing. For the
/// postmaster, before it has child processes.
///
/// # Errors
/// There is no table; counting tries again to create it, unless there are no random bytes.
pub fn prepare(start: Uuid) -> io::Result<()> {
    let secret = server::random()?;
    shmem::change_spool(|state| state.aggregate_secret = Some(secret));
    remove_empty();
    Table::open(&path(start), RESERVED).map(drop)
}

/// The audit worker reports what cannot be read, and removes what is left.
fn remove_empty() {
    for id in spool::ids_of(EXTENSION).unwrap_or_default() {
        let entries = Table::open_existing(&path(id)).and_then(|table| table.entries());
        if entries.is_ok_and(|entries| entries.iter().all(|entry| entry.slot.count == 0)) {
            let _ = fs::remove_file(path(id));
        }
    }
}

/// Counts an attempt, unless it is one of the first of its kind in this minute: those the caller writes to the spool.
///
/// # Errors
/// It is not counted.
pub fn admit(event: &Event) -> io::Result<Admission> {
    admit_up_to(event, settings::audit_single_refusals())
}

/// Counts an attempt that could not be written to the spool.
///
/// # Errors
/// It is not counted.
pub fn count(event: &Event) -> io::Result<()> {
    admit_up_to(event, 0).map(drop)
}

fn admit_up_to(event: &Event, burst: u32) -> io::Result<Admission> {
    let (table, secret) = current_table()?;
    let minute = minute_of(event.at);
    let evict_half = |slot: &Slot| evict(slot, Quota::Half);
    let mut summary = summary(event);
    for class in Class::of(event) {
        let key = key(&summary);
        let candidates = class.candidates(&key, &secret);
        let new_event = || line(&summary);
        match table.admit(candidates, &key, minute, burst, new_event, evict_half) {
            Ok(Some(admission)) => return Ok(admission),
            // The event is too long for a slot, by its role's name.
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => return Err(error),
            Ok(None) | Err(_) => summary.role = SanitizedText::from(MANY),
        }
    }
    summary.client_address = None;
    summary.principal = None;
    let mut reasons = Reason::ALL.iter();
    let reason = reasons.position(|one| Some(*one) == event.reason);
    let number = reserved_slot(reason.unwrap_or(WITHOUT_REASON), event.outcome);
    table.count_at(number, 1, minute, || line(&summary), evict_half)?;
    Ok(Admission::Counted)
}

fn reserved_slot(of: usize, outcome: Outcome) -> usize {
    of * Outcome::COUNT + outcome.number()
}

/// Counts attempts with that outcome of which nothing else can be recorded.
///
/// # Errors
/// They are not counted.
pub fn count_unrecorded(outcome: Outcome, attempts: u64) -> io::Result<()> {
    let number = reserved_slot(UNRECORDED, outcome);
    let mut event = Event::new(outcome, UNKNOWN, "unknown");
    event.reason = Some(Reason::AuditUnavailable);
    event.backend_pid = 0;
    let new_event = || line(&event);
    let evict_full = |slot: &Slot| evict(slot, Quota::Full);
    let minute = minute_of(event.at);
    let (table, _) = current_table()?;
    table.count_at(number, attempts, minute, new_event, evict_full)
}

/// The event that represents this one and others like it, with the id of this one.
fn summary(event: &Event) -> Event {
    let principal = event.principal.clone().map(|principal| Principal {
        upn: principal.upn.filter(|upn| upn.to_string().len() <= MAX_UPN),
        display_name: None,
        ..principal
    });
    let address = event.client_address.clone().map(|address| {
        let network = address::network_of(&address.to_string());
        network.map_or(address, |network| SanitizedText::from(network.as_str()))
    });
    Event {
        client_address: address,
        client_port: None,
        database: None,
        application_name: None,
        backend_pid: 0,
        decision_micros: 0,
        principal,
        group_id: None,
        token: None,
        checks: Vec::new(),
        ..event.clone()
    }
}

/// What attempts that are counted together have in common.
fn key(summary: &Event) -> Vec<u8> {
    let address = summary.client_address.as_ref().map(ToString::to_string);
    let principal = summary.principal.as_ref();
    let pooler = summary.pooler.as_ref().map(ToString::to_string);
    format!(
        "{}\n{}\n{}\n{}\n{}\n{}",
        pooler.unwrap_or_default(),
        address.unwrap_or_default(),
        summary.reason.map_or("", Reason::code),
        summary.outcome.number(),
        principal.map_or(Uuid::nil(), |principal| principal.object_id),
        summary.role
    )
    .into_bytes()
}

/// The summary as a line of the spool, with an id of its own.
fn line(summary: &Event) -> Vec<u8> {
    let summary = Event {
        id: event::new_id(),
        ..summary.clone()
    };
    // A slot without an event is not written, as if it were too long.
    serde_json::to_vec(&summary).unwrap_or_default()
}

/// Writes a slot's count to the spool, so that the slot can be reused.
fn evict(slot: &Slot, quota: Quota) -> io::Result<()> {
    let mut event: serde_json::Value = serde_json::from_slice(&slot.event)?;
    if let Some(event) = event.as_object_mut() {
        event.insert("count".to_owned(), slot.count.into());
    }
    spool::append(&event, quota).map(drop)
}

/// The table of this start, and its secret.
fn current_table() -> io::Result<(Table, [u8; 16])> {
    let current = shmem::spool(|state| state.start.zip(state.aggregate_secret));
    let (id, secret) = current.ok_or_else(|| io::Error::other("there is no aggregate table"))?;
    Ok((Table::open(&path(id), RESERVED)?, secret))
}

/// What the audit worker has read from a table.
pub struct Counts {
    id: Uuid,
    entries: Vec<table::Entry>,
}

impl Counts {
    /// The counts of all tables, including those of earlier starts.
    ///
    /// # Errors
    /// A table cannot be read.
    pub fn read() -> io::Result<Vec<Counts>> {
        let ids = spool::ids_of(EXTENSION)?.into_iter();
        ids.map(|id| {
            let entries = Table::open_existing(&path(id))?.entries()?;
            Ok(Counts { id, entries })
        })
        .collect()
    }

    pub fn records(&self) -> Vec<Record> {
        let counted = self.entries.iter().filter(|entry| entry.slot.count > 0);
        counted
            .filter_map(|entry| {
                let count = i64::try_from(entry.slot.count).unwrap_or(i64::MAX);
                record::parse(&entry.slot.event).map(|record| Record { count, ..record })
            })
            .collect()
    }

    /// Frees the slots that have been copied to the audit's table and no longer change.
    ///
    /// # Errors
    /// The table cannot be changed; copying it again does no harm.
    pub fn acknowledge(&self) -> io::Result<()> {
        if shmem::spool(|state| state.start) == Some(self.id) {
            let table = Table::open_existing(&path(self.id))?;
            table.free(&self.entries, minute_of(clock::micros()))
        } else {
            fs::remove_file(path(self.id))
        }
    }
}

/// Bytes of counts that are not yet in the audit's table; a table that cannot be read counts as empty.
pub fn backlog() -> u64 {
    let tables = Counts::read().unwrap_or_default();
    let entries = tables.iter().flat_map(|counts| &counts.entries);
    let pending = entries.filter(|entry| entry.slot.count > 0).count();
    (pending * slot::SIZE) as u64
}

fn minute_of(micros: i64) -> i64 {
    micros.div_euclid(60_000_000)
}

fn path(id: Uuid) -> PathBuf {
    spool::directory().join(format!("{id}.{EXTENSION}"))
}

#[cfg(test)]
mod tests;
