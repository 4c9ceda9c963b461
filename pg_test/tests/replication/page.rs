//! The commands of docs/replication.md, at the addresses and paths of the tests.

use std::fs;
use std::path::Path;
use std::process::Command;

use pg_test::Result;
use pg_test::client::without_pg_variables;
use pg_test::document::{block_with, blocks};
use pg_test::place::{pg_config_says, source};
use pg_test::process::as_postgres;
use pg_test::rig::{Rig, ensure};

use crate::Test;

/// The password file of the page.
pub const PASSFILE: &str = "/run/aadauth-token/passfile";

pub const PRIMARY: &str = "sql primary";
pub const STANDBY: &str = "sh standby";
pub const PUBLISHER: &str = "sql publisher";
pub const SUBSCRIBER: &str = "sql subscriber";
pub const DUMP: &str = "sh dump";
const RUN: [&str; 5] = [PRIMARY, STANDBY, PUBLISHER, SUBSCRIBER, DUMP];

pub const TESTS: &[Test] = &[("every_block_is_run_by_a_test", every_block)];

fn every_block(_: &Rig) -> Result<()> {
    let kinds: Vec<String> = blocks(&text()?).into_iter().map(|one| one.kind).collect();
    ensure(kinds == RUN, || format!("the page has {kinds:?}"))
}

/// The block of this kind, with other paths and names than the page's.
pub fn block(kind: &str, instead: &[(&str, &Path)]) -> Result<String> {
    let block = blocks(&text()?).into_iter().find(|one| one.kind == kind);
    let block = block.ok_or_else(|| format!("the page has no block {kind:?}"))?;
    replaced(&block.text, instead)
}

/// The command that the unit in docs/token.md runs.
pub fn service(instead: &[(&str, &Path)]) -> Result<String> {
    let unit = block_with(
        &fs::read_to_string(source().join("docs/token.md"))?,
        "ExecStart=",
    )?;
    let (_, command) = unit.text.split_once("ExecStart=").ok_or("no command")?;
    let lines = command.split_inclusive('\n');
    let more = lines.clone().take_while(|line| line.ends_with("\\\n"));
    let command: String = lines.take(more.count() + 1).collect();
    replaced(&command, instead)
}

/// What bash makes of a block of the page, as `postgres`; that is not run yet.
pub fn shell(script: &str, port: u16, authorities: &Path) -> Result<Command> {
    let path = format!("{}:/usr/bin:/bin", pg_config_says("--bindir")?);
    let mut command = as_postgres("bash")?;
    without_pg_variables(&mut command)
        .args(["-euc", &script.replace("sudo -u postgres ", "exec ")])
        .env("PATH", path)
        .envs(reach(port, authorities));
    Ok(command)
}

/// What libpq finds in the environment of a program where db.example.com leads to this port.
pub fn reach(port: u16, authorities: &Path) -> [(&'static str, String); 4] {
    [
        ("HOME", "/nonexistent".to_owned()),
        ("PGHOSTADDR", "127.0.0.1".to_owned()),
        ("PGPORT", port.to_string()),
        ("PGSSLROOTCERT", authorities.display().to_string()),
    ]
}

fn replaced(text: &str, instead: &[(&str, &Path)]) -> Result<String> {
    let mut text = text.to_owned();
    for (of_page, ours) in instead {
        ensure(text.contains(of_page), || format!("no {of_page} in {text}"))?;
        text = text.replace(of_page, &ours.display().to_string());
    }
    Ok(text)
}

fn text() -> Result<String> {
    Ok(fs::read_to_string(source().join("docs/replication.md"))?)
}
