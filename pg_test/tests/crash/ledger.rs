//! What clients saw against what the audit has.

use std::collections::BTreeMap;

use entra_token::{Reason, client_text};
use pg_test::Result;
use pg_test::emulator::AUDIENCE;

/// What a client knows of one attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The application name, which no other attempt has.
    pub mark: String,
    pub role: String,
    /// Whether there is a role of that name.
    pub role_exists: bool,
    /// The client's address; empty for a local socket.
    pub address: String,
    pub answer: Answer,
}

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    /// Refused with that text.
    Refused(String),
    /// PostgreSQL itself turned the client away before authentication.
    TurnedAway,
    /// Nothing, or that the server is about to end.
    Nothing,
}

/// The role of a row for attempts as many roles. They are counted without their roles when there are more names than
/// the server counts one by one; names that no role has take no room of others.
pub const MANY: &str = "(many)";

/// A row of the audit.
#[derive(Debug, Clone)]
pub struct Row {
    pub mark: String,
    pub role: String,
    pub address: String,
    pub outcome: String,
    pub reason: String,
    pub count: u64,
}

/// All that a run of the test recorded, from the table as the superuser sees it. The test's own psql signs
/// in as `postgres`.
pub const ROWS: &str = "\
SELECT coalesce(application_name, ''), role, coalesce(host(client_address), ''), outcome,
       coalesce(reason, ''), count
FROM aadauth.sign_in_audit WHERE role <> 'postgres'";

impl Row {
    /// Reads what psql prints for [`ROWS`].
    ///
    /// # Errors
    /// It isn't that.
    pub fn parse(line: &str) -> Result<Row> {
        match line.split('|').collect::<Vec<_>>()[..] {
            [mark, role, address, outcome, reason, count] => Ok(Row {
                mark: mark.to_owned(),
                role: role.to_owned(),
                address: address.to_owned(),
                outcome: outcome.to_owned(),
                reason: reason.to_owned(),
                count: count.parse()?,
            }),
            _ => Err(format!("not a row: {line}").into()),
        }
    }

    /// What a client was told, if it was told anything.
    fn text(&self) -> Option<String> {
        let reason = Reason::from_code(&self.reason)?;
        (self.outcome == "refused").then(|| client_text(reason, &self.role, Some(AUDIENCE)))
    }
}

/// How attempts and rows agree.
#[derive(Debug, Default)]
pub struct Balance {
    /// Attempts with an answer that have a row of their own.
    pub recorded: u64,
    /// Attempts with an answer that are in the count of a row for several.
    pub counted: u64,
    /// Attempts without an answer.
    pub unanswered: u64,
    /// Those among them that have a row of their own.
    pub unanswered_recorded: u64,
    pub turned_away: u64,
    /// Rows for several attempts.
    pub aggregates: u64,
    /// Those among them that have no role.
    pub without_role: u64,
    /// Attempts with an answer that are in the counts of those.
    pub counted_without_role: u64,
    /// Attempts with an answer that are not recorded.
    pub lost: Vec<String>,
    /// Attempts that are recorded twice, and counts that are too high.
    pub doubled: Vec<String>,
    /// Rows that say something else than the client was told, or that belong to no attempt.
    pub wrong: Vec<String>,
}

/// Role and address: what all attempts that share a row have in common, beside the reason.
type Origin<'a> = (&'a str, &'a str);

/// How many attempts the rows for several count, by what clients were told.
#[derive(Default)]
struct Counts<'a>(BTreeMap<Origin<'a>, BTreeMap<Option<String>, u64>>);

impl<'a> Counts<'a> {
    fn add(&mut self, row: &'a Row) {
        let of_origin = self.0.entry((&row.role, &row.address)).or_default();
        *of_origin.entry(row.text()).or_default() += row.count;
    }

    /// Takes out as many as there are, `wanted` at most.
    fn take(&mut self, origin: Origin<'a>, text: &str, wanted: u64) -> u64 {
        let counted = self
            .0
            .get_mut(&origin)
            .and_then(|counts| counts.get_mut(&Some(text.to_owned())));
        let Some(counted) = counted else { return 0 };
        let found = wanted.min(*counted);
        *counted -= found;
        found
    }
}

impl Balance {
    /// Compares them.
    ///
    /// An attempt is recorded by a row of its own, which bears its mark; a refusal otherwise by the count of a row for
    /// its role, address and text. If there is no such role, the row may be one for many roles, which has the address or
    /// not even that. Of attempts without an answer, such counts may have any number.
    pub fn compare(attempts: &[Attempt], rows: &[Row]) -> Balance {
        let mut balance = Balance::default();
        let mut own: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        let mut counts = Counts::default();
        for row in rows {
            if row.count == 1 && !row.mark.is_empty() {
                own.entry(&row.mark).or_default().push(row);
                continue;
            }
            balance.aggregates += 1;
            balance.without_role += u64::from(row.role == MANY);
            if row.outcome == "authenticated" {
                balance
                    .wrong
                    .push(format!("several sign-ins in one row: {row:?}"));
            }
            counts.add(row);
        }
        let mut missing: BTreeMap<(Origin<'_>, bool, &str), Vec<&str>> = BTreeMap::new();
        let mut open: BTreeMap<(Origin<'_>, bool), u64> = BTreeMap::new();
        for attempt in attempts {
            let rows = own.remove(attempt.mark.as_str()).unwrap_or_default();
            let origin = (attempt.role.as_str(), attempt.address.as_str());
            match (&attempt.answer, &rows[..]) {
                (_, [_, _, ..]) => balance.doubled.push(format!("{attempt:?}: {rows:?}")),
                (Answer::TurnedAway, []) => balance.turned_away += 1,
                (Answer::Nothing, []) => {
                    balance.unanswered += 1;
                    *open.entry((origin, attempt.role_exists)).or_default() += 1;
                }
                (Answer::Nothing, [_]) => {
                    balance.unanswered += 1;
                    balance.unanswered_recorded += 1;
                }
                (Answer::Accepted, []) => balance.lost.push(format!("{attempt:?}")),
                (Answer::Refused(text), []) => {
                    let alike = missing.entry((origin, attempt.role_exists, text));
                    alike.or_default().push(&attempt.mark);
                }
                (Answer::Accepted, [row]) if row.outcome == "authenticated" => {
                    balance.recorded += 1;
                }
                (Answer::Refused(text), [row]) if row.text().as_ref() == Some(text) => {
                    balance.recorded += 1;
                }
                (_, [row]) => balance.wrong.push(format!("{attempt:?}: {row:?}")),
            }
        }
        for rows in own.into_values() {
            balance.wrong.push(format!("of no attempt: {rows:?}"));
        }
        balance.look_for(missing, &mut counts);
        balance.explain(counts, open);
        balance
    }

    /// Looks in the counts for attempts without a row of their own, first in those that say the most.
    fn look_for<'a>(
        &mut self,
        missing: BTreeMap<(Origin<'a>, bool, &str), Vec<&str>>,
        counts: &mut Counts<'a>,
    ) {
        for ((origin, role_exists, text), marks) in missing {
            let (role, address) = origin;
            let wanted = marks.len() as u64;
            let mut found = counts.take(origin, text, wanted);
            if !role_exists {
                let text = text.replace(role, MANY);
                for address in [address, ""] {
                    let taken = counts.take((MANY, address), &text, wanted - found);
                    self.counted_without_role += taken;
                    found += taken;
                }
            }
            self.counted += found;
            if found < wanted {
                self.lost.push(format!(
                    "{} of {wanted} attempts from {origin:?} that were told {text:?}: {marks:?}",
                    wanted - found
                ));
            }
        }
    }

    /// What is left in the counts must be attempts without an answer.
    fn explain<'a>(&mut self, counts: Counts<'a>, open: BTreeMap<(Origin<'a>, bool), u64>) {
        let mut left: BTreeMap<Origin<'a>, u64> = BTreeMap::new();
        for (origin, counts) in &counts.0 {
            left.insert(*origin, counts.values().sum());
        }
        // Again first where the most is said.
        let mut of_address: BTreeMap<&str, u64> = BTreeMap::new();
        for ((origin, role_exists), mut open) in open {
            fill(left.get_mut(&origin), &mut open);
            if !role_exists {
                *of_address.entry(origin.1).or_default() += open;
            }
        }
        for (address, mut open) in of_address {
            fill(left.get_mut(&(MANY, address)), &mut open);
            fill(left.get_mut(&(MANY, "")), &mut open);
        }
        for (origin, left) in left {
            if left > 0 {
                self.doubled.push(format!(
                    "counted {left} more from {origin:?} than there were: {:?}",
                    counts.0.get(&origin)
                ));
            }
        }
    }

    /// # Errors
    /// Something is lost, doubled or wrong: what, the first few of each.
    pub fn check(&self) -> Result<()> {
        let mut problems = String::new();
        for (name, found) in [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("wrong", &self.wrong),
        ] {
            if !found.is_empty() {
                problems.push_str(&format!("{} {name}:\n", found.len()));
                for line in found.iter().take(10) {
                    problems.push_str(&format!("  {line}\n"));
                }
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems.into())
        }
    }
}

/// Takes off what is left as many as are open.
fn fill(left: Option<&mut u64>, open: &mut u64) {
    if let Some(left) = left {
        let filled = (*left).min(*open);
        *left -= filled;
        *open -= filled;
    }
}
