//! Refusals that come in floods: beyond the first few of a minute, those that are alike are counted.
//!
//! What anybody can cause without a token that we verified, or a right password, is counted by role,
//! client address, reason and outcome, in the flood table of this start of the server; where that has no
//! slot left, by reason and outcome alone. Each attempt is in one event of its own or in one count. The
//! audit worker copies the counts to the table of the audit, under ids that stay the same, so that copying
//! twice changes nothing.
//!
//! What can't be written to the spool is counted here as well.

mod slot;
mod table;

use std::fs;
use std::io;
use std::path::PathBuf;

use entra_token::Reason;
use uuid::Uuid;

use super::event::{self, Event};
use super::record::Record;
use super::spool;
use crate::shared::outcome::Outcome;
use crate::shared::shmem;
use crate::shared::spool::Share;
use crate::text::Shown;
use crate::{clock, settings};
use slot::Slot;
use table::Table;

pub use table::Admission;

/// Slots with places of their own: for each reason (and none) with each outcome, then for each outcome what
/// could not be recorded.
const RESERVED: usize = (Reason::ALL.len() + 2) * Outcome::COUNT;

/// The role of an event that stands for attempts on many roles.
const MANY: &str = "(many)";
/// That of an event which stands for attempts of which nothing but the outcome is known.
pub const UNKNOWN: &str = "(not recorded)";

/// Makes the table of this start, and removes those of earlier ones that have counted nothing. For the
/// postmaster, while it is alone.
///
/// # Errors
/// There is no table, and there will be none until there is space.
pub fn prepare(start: Uuid) -> io::Result<()> {
    for id in spool::ids_of("flood")? {
        // One that can't be read is for the audit worker to complain of.
        let kept = Table::open_old(&path(id)).and_then(|table| table.kept());
        if kept.is_ok_and(|kept| kept.iter().all(|kept| kept.slot.count == 0)) {
            fs::remove_file(path(id))?;
        }
    }
    Table::open(&path(start), RESERVED).map(drop)
}

/// Counts an attempt unless it is one of the first of its kind in this minute, which the caller writes to
/// the spool.
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

fn admit_up_to(event: &Event, singles: u32) -> io::Result<Admission> {
    let table = own()?;
    let minute = minute_of(event.at);
    let begin = || line(&summary(event, event.role.clone(), true));
    let spill = |slot: &Slot| spill(slot, Share::Half);
    let admission = match table.admit(&key(event), minute, singles, begin, spill) {
        Ok(Some(admission)) => return Ok(admission),
        // A name that is too long for a slot is one of many.
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => return Err(error),
        Ok(None) | Err(_) => Admission::Counted,
    };
    let reason = Reason::ALL
        .iter()
        .position(|one| Some(*one) == event.reason);
    let number = reason.map_or(Reason::ALL.len(), |place| place) * Outcome::COUNT;
    let begin = || line(&summary(event, Shown::from(MANY), false));
    let spill = |slot: &Slot| self::spill(slot, Share::Half);
    table.count_at(number + event.outcome.number(), 1, minute, begin, spill)?;
    Ok(admission)
}

/// Counts attempts with that outcome of which nothing else can be recorded.
///
/// # Errors
/// They are not counted.
pub fn count_unrecorded(outcome: Outcome, attempts: u64) -> io::Result<()> {
    let number = (Reason::ALL.len() + 1) * Outcome::COUNT + outcome.number();
    let mut event = Event::new(outcome, UNKNOWN, "unknown");
    event.reason = Some(Reason::AuditUnavailable);
    event.backend_pid = 0;
    let begin = || line(&event);
    let spill = |slot: &Slot| spill(slot, Share::Whole);
    own()?.count_at(number, attempts, minute_of(event.at), begin, spill)
}

/// The event that stands for others like this one.
fn summary(event: &Event, role: Shown, has_address: bool) -> Event {
    Event {
        id: event::new_id(),
        role,
        client_address: event.client_address.clone().filter(|_| has_address),
        client_port: None,
        database: None,
        application_name: None,
        backend_pid: 0,
        decision_micros: 0,
        principal: None,
        group_id: None,
        token: None,
        checks: Vec::new(),
        ..event.clone()
    }
}

fn key(event: &Event) -> Vec<u8> {
    let address = event.client_address.as_ref().map(ToString::to_string);
    let reason = event.reason.map_or("", Reason::code);
    format!(
        "{}\n{reason}\n{}\n{}",
        address.unwrap_or_default(),
        event.outcome.number(),
        event.role
    )
    .into_bytes()
}

fn line(event: &Event) -> Vec<u8> {
    // Without an event the slot can't be written, which is an error of its own.
    serde_json::to_vec(event).unwrap_or_default()
}

/// Writes a count to the spool, whose slot is wanted for something else.
fn spill(slot: &Slot, share: Share) -> io::Result<()> {
    let mut event: serde_json::Value = serde_json::from_slice(&slot.event)?;
    if let Some(event) = event.as_object_mut() {
        event.insert("count".to_owned(), slot.count.into());
    }
    spool::append(&event, share).map(drop)
}

fn own() -> io::Result<Table> {
    let id = shmem::spool(|state| state.start);
    let id = id.ok_or_else(|| io::Error::other("there is no flood table"))?;
    Table::open(&path(id), RESERVED)
}

/// What the audit worker has read of a table.
pub struct Counts {
    id: Uuid,
    kept: Vec<table::Kept>,
}

impl Counts {
    /// What all tables have counted, those of earlier starts included.
    ///
    /// # Errors
    /// A table can't be read.
    pub fn read() -> io::Result<Vec<Counts>> {
        let ids = spool::ids_of("flood")?.into_iter();
        ids.map(|id| {
            let kept = Table::open_old(&path(id))?.kept()?;
            Ok(Counts { id, kept })
        })
        .collect()
    }

    pub fn records(&self) -> Vec<Record> {
        let counted = self.kept.iter().filter(|kept| kept.slot.count > 0);
        counted
            .filter_map(|kept| {
                let count = i64::try_from(kept.slot.count).unwrap_or(i64::MAX);
                Record::parse(&kept.slot.event).map(|record| record.with_count(count))
            })
            .collect()
    }

    /// Frees what has been copied to the audit's table and will not change any more.
    ///
    /// # Errors
    /// The table can't be changed; copying it again does no harm.
    pub fn settle(&self) -> io::Result<()> {
        if shmem::spool(|state| state.start) == Some(self.id) {
            let table = Table::open_old(&path(self.id))?;
            table.free(&self.kept, minute_of(clock::micros()))
        } else {
            fs::remove_file(path(self.id))
        }
    }
}

/// Bytes of counts that are not settled in the audit's table; those that can't be read are none.
pub fn backlog() -> u64 {
    let tables = Counts::read().unwrap_or_default();
    let counts = tables.iter().flat_map(|counts| &counts.kept);
    let waiting = counts.filter(|kept| kept.slot.count > 0).count();
    (waiting * slot::SIZE) as u64
}

fn minute_of(micros: i64) -> i64 {
    micros.div_euclid(60_000_000)
}

fn path(id: Uuid) -> PathBuf {
    spool::directory().join(format!("{id}.flood"))
}
