//! Node's clients.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use pg_test::Result;
use pg_test::emulator::AUDIENCE;
use pg_test::place::{self, target};
use pg_test::rig::{Rig, ensure};
use serde_json::Value;

use crate::page::block;
use crate::surroundings::{ALICE, IDENTITY, OSSRDBMS, Who, prints, renews, run, signs_in};
use crate::{Installed, Test};

pub const TESTS: &[Test] = &[
    ("pg", |rig| client(rig, "pg", PG)),
    ("postgres", |rig| client(rig, "postgres", POSTGRES)),
    ("typeorm", |rig| client(rig, "typeorm", TYPEORM)),
    ("a_url_replaces_the_function", a_url_replaces_the_function),
    ("azure_postgresql_auth", |rig| {
        client(rig, "@azure/postgresql-auth", PG)
    }),
    ("azure_postgresql_auth_for_ossrdbms", ossrdbms),
];

pub const INSTALLED: &[Installed] = &[
    ("pg", || version("pg")),
    ("postgres", || version("postgres")),
    ("TypeORM", || version("typeorm")),
    ("@azure/postgresql-auth", || {
        version("@azure/postgresql-auth")
    }),
];

/// Before the last line of the page's code: two connections at once.
const PG: &str = "await Promise.all([pool.query('SELECT pg_sleep(0.1)'), pool.query('SELECT 1')]);";
const POSTGRES: &str = "await Promise.all([sql`SELECT pg_sleep(0.1)`, sql`SELECT 1`]);";
const TYPEORM: &str = "
await Promise.all([database.query('SELECT pg_sleep(0.1)'), database.query('SELECT 1')]);
";

/// The page's code signs in; with `pool` in it, a second connection gets a token of its own.
fn client(rig: &Rig, name: &str, pool: &str) -> Result<()> {
    let code = block(&format!("js {name}"))?;
    signs_in(rig, || node(rig, &code))?;
    prints(rig, node(rig, &code)?, Who::Identity(IDENTITY), IDENTITY)?;
    renews(rig, node(rig, &with(&code, pool)?)?, AUDIENCE)
}

fn ossrdbms(rig: &Rig) -> Result<()> {
    let code = block("js @azure/postgresql-auth")?.replace(", { scope }", "");
    signs_in(rig, || node(rig, &code))?;
    prints(rig, node(rig, &code)?, Who::Identity(IDENTITY), IDENTITY)?;
    renews(rig, node(rig, &with(&code, PG)?)?, OSSRDBMS)
}

/// As the page says of `pg` and TypeORM.
fn a_url_replaces_the_function(rig: &Rig) -> Result<()> {
    let url = "process.env.DATABASE_URL";
    let pg = block("js pg")?.replace(
        &format!("...parse({url})"),
        &format!("connectionString: {url}"),
    );
    let typeorm = block("js typeorm")?.replace("ssl: true", &format!("ssl: true, url: {url}"));
    for code in [pg, typeorm] {
        let ran = run(rig, node(rig, &code)?, Who::User(ALICE))?;
        ensure(!ran.printed.success && ran.az_calls == 0, || {
            format!("{ran:?}")
        })?;
    }
    Ok(())
}

/// The code with more of it before its last line.
fn with(code: &str, more: &str) -> Result<String> {
    let (begin, end) = code.trim_end().rsplit_once('\n').ok_or("one line")?;
    Ok(format!("{begin}\n{more}\n{end}\n"))
}

/// As a module, which finds packages in the directories above it only.
fn node(rig: &Rig, code: &str) -> Result<Command> {
    let project = tempfile::tempdir_in(rig.run().path())?.keep();
    symlink(packages(), project.join("node_modules"))?;
    let module = project.join("main.mjs");
    fs::write(&module, code)?;
    let mut command = Command::new(place::node());
    command.arg(module);
    Ok(command)
}

fn version(package: &str) -> Result<String> {
    let description = fs::read_to_string(packages().join(package).join("package.json"))?;
    let description: Value = serde_json::from_str(&description)?;
    let version = description["version"].as_str();
    Ok(version.ok_or("no version")?.to_owned())
}

pub fn packages() -> PathBuf {
    target().join("node/node_modules")
}
