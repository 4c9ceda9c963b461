//! The table of table.md.

use pg_test::Result;
use pg_test::place::source;

use crate::rig::ensure;

const TABLE: &str = "pg_test/tests/sign_in/mistakes/table.md";

/// What is said of one mistake: texts that must be there, none if nothing may be said.
#[derive(Clone)]
pub struct Row {
    /// With a letter if a mistake has more than one form.
    pub number: String,
    pub mistake: String,
    pub client: Vec<String>,
    pub why: Vec<String>,
    pub check: Vec<String>,
}

impl Row {
    pub fn whole_number(&self) -> Option<u32> {
        let digits = self
            .number
            .trim_end_matches(|c: char| c.is_ascii_lowercase());
        digits.parse().ok()
    }
}

pub fn read() -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(source().join(TABLE))?;
    let lines = text.lines().filter(|line| line.starts_with('|'));
    // Below the heading of the table.
    lines.skip(2).map(row).collect()
}

fn row(line: &str) -> Result<Row> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [number, mistake, client, why, check] = cells[..] else {
        return Err(format!("{} cells: {line}", cells.len()).into());
    };
    Ok(Row {
        number: number.to_owned(),
        mistake: mistake.to_owned(),
        client: texts(client)?,
        why: texts(why)?,
        check: texts(check)?,
    })
}

/// The texts in backticks, with nothing but separators between them; a dash is for none.
fn texts(cell: &str) -> Result<Vec<String>> {
    if cell == "–" {
        return Ok(Vec::new());
    }
    let parts: Vec<&str> = cell.split('`').collect();
    let (mut texts, mut between) = (Vec::new(), Vec::new());
    for (index, part) in parts.iter().enumerate() {
        if index % 2 == 1 {
            texts.push((*part).to_owned());
        } else {
            between.push(*part);
        }
    }
    let is_quoted = !texts.is_empty() && parts.len() % 2 == 1;
    let is_separated = between.iter().all(|part| ["", ", ", ": "].contains(part));
    ensure(is_quoted && is_separated, || {
        format!("not compared: {cell}")
    })?;
    Ok(texts)
}
