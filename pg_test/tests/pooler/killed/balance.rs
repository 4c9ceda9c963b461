//! What clients of PgBouncer saw, and what the module logged, against the audit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use pg_test::Result;
use pg_test::rig::{Rig, ensure};
use uuid::Uuid;

/// What a client knows of one attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Of a good attempt, no other has it.
    pub address: String,
    pub is_good: bool,
    pub answer: Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    In,
    /// Also because there was no verdict, or no connection to the server.
    Refused,
    /// PgBouncer has hung up.
    Nothing,
}

/// A row of the audit.
#[derive(Debug, Clone)]
pub struct Row {
    event_id: Uuid,
    address: String,
    outcome: String,
    reason: String,
    count: u64,
}

impl Row {
    /// Reads what psql prints.
    ///
    /// # Errors
    /// It isn't that.
    pub fn parse(line: &str) -> Result<Row> {
        match line.split('|').collect::<Vec<_>>()[..] {
            [event_id, address, outcome, reason, count] => Ok(Row {
                event_id: event_id.parse()?,
                address: address.to_owned(),
                outcome: outcome.to_owned(),
                reason: reason.to_owned(),
                count: count.parse()?,
            }),
            _ => Err(format!("not a row: {line}").into()),
        }
    }

    fn is_accepted(&self) -> bool {
        self.outcome == "authenticated"
    }
}

/// Why a server that has just started refuses a good token, or asks for another try.
const AT_START: [&str; 2] = ["key-refresh-timed-out", "revocations-unavailable"];

/// The events that PgBouncer's log names, each with its client's address. (Those of good sign-ins are named in syslog
/// only.) A line that was torn when PgBouncer was killed has none.
pub fn acknowledged(log: &str) -> BTreeMap<Uuid, String> {
    let of_line = |line: &str| {
        let (_, event) = line.split_once(", event ")?;
        let (id, client) = event.split_once(", client ")?;
        Some((id.parse().ok()?, client.trim().to_owned()))
    };
    let lines = log.lines().filter(|line| line.contains("pam_aadauth: "));
    lines.filter_map(of_line).collect()
}

/// How they agree.
#[derive(Debug, Default)]
pub struct Balance {
    pub logins: u64,
    /// Good attempts that did not get in.
    pub good_but_out: u64,
    /// Attempts with a bad credential that did not get in.
    pub kept_out: u64,
    pub accepted: u64,
    pub refused: u64,
    pub interrupted: u64,
    /// Events that were named to the module, as far as PgBouncer has logged it.
    pub acknowledged: u64,
    /// Events beyond one for each attempt. Bad ones share addresses, where one without an event hides another's second.
    pub asked_again: u64,
    pub lost: Vec<String>,
    pub doubled: Vec<String>,
    /// Who was let in wrongly, and events that cannot be.
    pub wrong: Vec<String>,
}

/// All attempts from one address.
#[derive(Default)]
struct Origin {
    is_good: bool,
    attempts: u64,
    logins: u64,
    accepted: u64,
    events: u64,
}

impl Balance {
    /// `broken` is how often the module's connection may have broken: each time, one question may be asked again.
    pub fn compare(
        attempts: &[Attempt],
        rows: &[Row],
        acknowledged: &BTreeMap<Uuid, String>,
        broken: u64,
    ) -> Balance {
        let mut balance = Balance::default();
        let mut origins: BTreeMap<&str, Origin> = BTreeMap::new();
        for attempt in attempts {
            let origin = origins.entry(&attempt.address).or_default();
            origin.is_good = attempt.is_good;
            origin.attempts += 1;
            match (attempt.is_good, attempt.answer) {
                (true, Answer::In) => {
                    origin.logins += 1;
                    balance.logins += 1;
                }
                (true, _) => balance.good_but_out += 1,
                (false, Answer::In) => balance.wrong.push(format!("let in: {attempt:?}")),
                (false, _) => balance.kept_out += 1,
            }
        }
        let mut seen = BTreeSet::new();
        for row in rows {
            if !seen.insert(row.event_id) {
                balance.doubled.push(format!("{row:?}"));
            }
            balance.enter(row, origins.get_mut(row.address.as_str()));
        }
        for (address, origin) in &origins {
            if origin.accepted < origin.logins {
                balance.lost.push(format!("a login from {address}"));
            }
            if origin.events > 2 * origin.attempts {
                balance
                    .doubled
                    .push(format!("{} events of {address}", origin.events));
            }
            balance.asked_again += origin.events.saturating_sub(origin.attempts);
        }
        if balance.asked_again > broken {
            balance.doubled.push(format!(
                "{} questions asked again after {broken} breaks",
                balance.asked_again
            ));
        }
        balance.acknowledged = acknowledged.len() as u64;
        for (event_id, address) in acknowledged {
            match rows.iter().find(|row| row.event_id == *event_id) {
                None => balance.lost.push(format!("event {event_id} of {address}")),
                Some(row) if row.address != *address => {
                    balance.wrong.push(format!("logged for {address}: {row:?}"));
                }
                Some(_) => {}
            }
        }
        balance
    }

    fn enter(&mut self, row: &Row, origin: Option<&mut Origin>) {
        match row.outcome.as_str() {
            "authenticated" => self.accepted += 1,
            "refused" => self.refused += 1,
            _ => self.interrupted += 1,
        }
        let is_right = match origin {
            None => false,
            Some(origin) => {
                origin.events += 1;
                origin.accepted += u64::from(row.is_accepted());
                let is_refused = row.outcome == "refused";
                let may_be = AT_START.contains(&row.reason.as_str());
                row.count == 1
                    && !(origin.is_good && is_refused && !may_be)
                    && (origin.is_good || !row.is_accepted())
            }
        };
        if !is_right {
            self.wrong.push(format!("{row:?}"));
        }
    }

    /// # Errors
    /// Something is lost, doubled or wrong: what, the first few of each.
    pub fn check(&self) -> Result<()> {
        let found = [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("wrong", &self.wrong),
        ];
        let problems = found.into_iter().filter(|(_, found)| !found.is_empty());
        let problems: Vec<_> = problems
            .map(|(name, found)| {
                format!(
                    "{} {name}: {:#?}",
                    found.len(),
                    &found[..found.len().min(10)]
                )
            })
            .collect();
        ensure(problems.is_empty(), || problems.join("\n"))
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} logins, {} good ones not let in, {} bad ones kept out\n\
             events: {} accepted, {} refused, {} interrupted; {} of questions that were asked again; \
             {} named in PgBouncer's log\n\
             lost: {}, twice: {}, wrong: {}",
            self.logins,
            self.good_but_out,
            self.kept_out,
            self.accepted,
            self.refused,
            self.interrupted,
            self.asked_again,
            self.acknowledged,
            self.lost.len(),
            self.doubled.len(),
            self.wrong.len(),
        )
    }
}

const GOOD: &str = "127.10.0.1";
const BAD: &str = "127.200.0.1";

fn row(number: u128, address: &str, outcome: &str, reason: &str) -> Row {
    Row {
        event_id: Uuid::from_u128(number),
        address: address.to_owned(),
        outcome: outcome.to_owned(),
        reason: reason.to_owned(),
        count: 1,
    }
}

/// What an agreement is made into must be noticed as that one thing.
pub fn notices(_: &Rig) -> Result<()> {
    type Change = fn(&mut Vec<Attempt>, &mut Vec<Row>);
    let changes: [(&str, Change); 10] = [
        ("", |_, _| ()),
        // Decided once more after a break, or at a start; or nobody answered.
        ("", |_, rows| rows.push(row(3, GOOD, "authenticated", ""))),
        ("", |_, rows| {
            rows.push(row(3, GOOD, "refused", AT_START[0]))
        }),
        ("", |attempts, rows| {
            attempts[0].answer = Answer::Nothing;
            rows.remove(0);
        }),
        ("lost", |_, rows| drop(rows.remove(0))),
        ("lost", |_, rows| drop(rows.remove(1))),
        ("doubled", |_, rows| rows.push(rows[1].clone())),
        ("wrong", |attempts, _| attempts[1].answer = Answer::In),
        ("wrong", |_, rows| {
            rows[1].outcome = "authenticated".to_owned()
        }),
        ("wrong", |_, rows| {
            rows[0].count = 2;
        }),
    ];
    let logged = acknowledged(&format!(
        "x pam_aadauth: refused: role \"a\": expired, event {}, client {BAD}\n\
         x pam_aadauth: refused: role \"a\": expired, event 0000",
        Uuid::from_u128(2)
    ));
    ensure(logged.len() == 1, || format!("{logged:?}"))?;
    for (number, (expected, change)) in changes.into_iter().enumerate() {
        let attempt = |address: &str, answer| Attempt {
            address: address.to_owned(),
            is_good: address == GOOD,
            answer,
        };
        let mut attempts = vec![attempt(GOOD, Answer::In), attempt(BAD, Answer::Refused)];
        let mut rows = vec![
            row(1, GOOD, "authenticated", ""),
            row(2, BAD, "refused", "expired"),
        ];
        change(&mut attempts, &mut rows);
        let balance = Balance::compare(&attempts, &rows, &logged, 1);
        let found = [
            ("lost", balance.lost.len()),
            ("doubled", balance.doubled.len()),
            ("wrong", balance.wrong.len()),
        ];
        let noticed: Vec<_> = found.iter().filter(|(_, count)| *count > 0).collect();
        let names: Vec<_> = noticed.iter().map(|(name, _)| *name).collect();
        ensure(names.join(",") == expected, || {
            format!("change {number}: {balance:#?}")
        })?;
        ensure(balance.check().is_ok() == expected.is_empty(), || {
            format!("change {number} is not reported")
        })?;
    }
    Ok(())
}
