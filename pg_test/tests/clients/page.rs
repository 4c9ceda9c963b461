//! docs/clients.md: the code that the tests run, and the table of versions.

use std::fs;

use pg_test::Result;
use pg_test::document::blocks;
use pg_test::place::source;
use pg_test::rig::{Rig, ensure};

use crate::surroundings::VARIABLES;
use crate::{INSTALLED, Test};

pub const TESTS: &[Test] = &[
    ("versions", versions),
    ("every_block_is_run_by_a_test", every_block),
];

/// The blocks that the tests of clients run.
const RUN: [&str; 25] = [
    "sh psql",
    "conf psql",
    "sh psql service",
    "sh az",
    "python psycopg",
    "python psycopg2",
    "python asyncpg",
    "python sqlalchemy",
    "python django",
    "python django settings",
    "python django pool",
    "python pg8000",
    "python azure-postgresql-auth",
    "python azure-postgresql-auth own audience",
    "json pgadmin",
    "js pg",
    "js postgres",
    "js typeorm",
    "js @azure/postgresql-auth",
    "python psqlODBC",
    "java JDBC",
    "go pgx",
    "rust tokio-postgres",
    "rust sqlx",
    "rust duroxide-pg",
];

/// The text of the page's block with this info string.
///
/// # Errors
/// The page has none, or several.
pub fn block(info: &str) -> Result<String> {
    let mut found = blocks(&text()?)
        .into_iter()
        .filter(|block| block.kind == info)
        .map(|block| block.text);
    match (found.next(), found.next()) {
        (Some(block), None) => Ok(block),
        (found, _) => {
            let many = if found.is_some() { "several" } else { "no" };
            Err(format!("docs/clients.md has {many} blocks {info:?}").into())
        }
    }
}

/// What the page gives an environment variable.
///
/// # Errors
/// The page has no line with it.
pub fn variable(name: &str) -> Result<String> {
    text()?
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .map(str::to_owned)
        .ok_or_else(|| format!("docs/clients.md gives {name} no value").into())
}

/// And every variable is set as the page has it, except for who signs in.
fn every_block(_: &Rig) -> Result<()> {
    let (variables, code): (Vec<_>, Vec<_>) = blocks(&text()?)
        .into_iter()
        .partition(|block| block.kind == "text");
    let kinds: Vec<&str> = code.iter().map(|block| block.kind.as_str()).collect();
    ensure(kinds == RUN, || format!("the page has {kinds:?}"))?;
    let mut names: Vec<&str> = variables
        .iter()
        .flat_map(|block| block.text.lines())
        .map(|line| line.split_once('=').map_or(line, |(name, _)| name))
        .collect();
    names.retain(|name| *name != "AZURE_TOKEN_CREDENTIALS");
    ensure(names == VARIABLES, || format!("the page sets {names:?}"))
}

/// The table has a row for each client, with the version that is installed.
fn versions(_: &Rig) -> Result<()> {
    let text = text()?;
    let rows: Vec<Vec<&str>> = text
        .lines()
        .skip_while(|line| !line.starts_with("| Client |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let mut wrong = Vec::new();
    for (client, version) in INSTALLED.iter().copied().flatten() {
        let version = version()?;
        let row = rows.iter().find(|row| plain(row) == *client);
        let there = row.and_then(|row| row.get(1).copied()).unwrap_or_default();
        if there != version {
            let rest = row.and_then(|row| row.get(2..)).unwrap_or_default();
            let name = row.and_then(|row| row.first()).unwrap_or(client);
            wrong.push(format!("| {name} | {version} | {} |", rest.join(" | ")));
        }
    }
    ensure(wrong.is_empty(), || {
        format!(
            "docs/clients.md should have these rows:\n{}",
            wrong.join("\n")
        )
    })?;
    let untested = rows.iter().find(|row| {
        let is_this = |(client, _): &(&str, _)| *client == plain(row);
        !INSTALLED.iter().copied().flatten().any(is_this)
    });
    ensure(untested.is_none(), || {
        format!("docs/clients.md has a row without a test: {untested:?}")
    })
}

/// The client that a row is about: its name may be a link to its section.
fn plain<'a>(row: &[&'a str]) -> &'a str {
    let cell = row.first().copied().unwrap_or_default();
    cell.strip_prefix('[')
        .and_then(|cell| cell.split(']').next())
        .unwrap_or(cell)
}

fn text() -> Result<String> {
    Ok(fs::read_to_string(source().join("docs/clients.md"))?)
}
