//! Rust's clients: the package `pg_test/clients/rust`, with the page's functions in it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use pg_test::Result;
use pg_test::place::{source, target};
use pg_test::process::checked;
use pg_test::rig::{Rig, ensure};

use crate::page::block;
use crate::surroundings::{
    ALICE, EXPIRED, IDENTITY, Who, fails, prints, run, signs_in, signs_in_twice, verifies,
};
use crate::versions::of_crate;
use crate::{Installed, Test};

pub const TESTS: &[Test] = &[
    ("tokio_postgres", tokio_postgres),
    ("sqlx", sqlx),
    ("duroxide_pg", duroxide_pg),
];

pub const INSTALLED: &[Installed] = &[
    ("tokio-postgres", || of_crate("tokio-postgres")),
    ("sqlx", || of_crate("sqlx")),
    ("duroxide-pg", || of_crate("duroxide-pg")),
];

fn tokio_postgres(rig: &Rig) -> Result<()> {
    signs_in(rig, || program("tokio_postgres"))?;
    let mut two = program("tokio_postgres")?;
    two.arg("2");
    signs_in_twice(rig, two)
}

fn sqlx(rig: &Rig) -> Result<()> {
    signs_in(rig, || program("sqlx"))?;
    let mut renewed = program("sqlx")?;
    renewed.arg("renewed").env("AZ_EXPIRED", "first");
    let renewed = run(rig, renewed, Who::User(ALICE))?;
    let said = &renewed.printed.output;
    ensure(
        said.contains(EXPIRED) && said.ends_with(&format!("\n{ALICE}")),
        || format!("{renewed:?}"),
    )
}

/// It makes its tables as the first of them, and the other uses them.
fn duroxide_pg(rig: &Rig) -> Result<()> {
    rig.server.sql(&format!(
        "GRANT CREATE ON SCHEMA public TO \"{IDENTITY}\", \"{ALICE}\"; GRANT \"{IDENTITY}\" TO \"{ALICE}\""
    ))?;
    let (endpoint, header) = rig.emulator.identity_endpoint()?;
    let with_identity = |header: &str| -> Result<Command> {
        let mut program = program("duroxide_pg")?;
        program.env("IDENTITY_ENDPOINT", &endpoint);
        program.env("IDENTITY_HEADER", header);
        Ok(program)
    };
    prints(
        rig,
        with_identity(&header)?,
        Who::Identity(IDENTITY),
        IDENTITY,
    )?;
    // A machine whose identity endpoint has no identity: the Azure CLI is next.
    let mut renewed = with_identity("none")?;
    renewed.arg("renewed");
    signs_in_twice(rig, renewed)?;
    fails(rig, with_identity("none")?, Who::Late(ALICE), EXPIRED)?;
    verifies(rig, with_identity("none")?)
}

/// A program of the package, built with what the page has now.
fn program(name: &str) -> Result<Command> {
    static BUILT: LazyLock<std::result::Result<PathBuf, String>> =
        LazyLock::new(|| build().map_err(|error| error.to_string()));
    let programs = BUILT.as_ref().map_err(String::clone)?;
    Ok(Command::new(programs.join(name)))
}

fn build() -> Result<PathBuf> {
    let directory = target().join("clients");
    let page = directory.join("page");
    fs::create_dir_all(&page)?;
    for (client, file) in [
        ("tokio-postgres", "tokio_postgres.rs"),
        ("sqlx", "sqlx.rs"),
        ("duroxide-pg", "duroxide_pg.rs"),
    ] {
        fs::write(page.join(file), block(&format!("rust {client}"))?)?;
    }
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--locked", "--manifest-path"])
        .arg(source().join("pg_test/clients/rust/Cargo.toml"))
        .env("CARGO_TARGET_DIR", &directory)
        .env("PAGE", &page);
    checked(&mut cargo)?;
    Ok(directory.join("debug"))
}
