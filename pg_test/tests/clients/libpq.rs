//! psql, which stands for all programs with libpq; with `aadauth-token` and with the real Azure CLI.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use pg_test::Result;
use pg_test::emulator::{AUDIENCE, AUDIENCE_V2, TENANT};
use pg_test::place::{source, target};
use pg_test::process::checked;
use pg_test::rig::Rig;

use crate::page::block;
use crate::python::package_version;
use crate::surroundings::{ALICE, EXPIRED, Who, fails, prints, signs_in, verifies};
use crate::{Installed, Test};

pub const TESTS: &[Test] = &[
    ("psql", psql),
    ("psql_with_a_service_and_a_password_file", service),
    ("the_azure_cli", |rig| azure_cli(rig, "")),
    ("the_azure_cli_with_a_browser", |rig| {
        // Python splits it as a shell does, and waits for no program that ends in &.
        azure_cli(rig, "browser %s &")
    }),
];

pub const INSTALLED: &[Installed] = &[("psql", psql_version), ("Azure CLI", azure_cli_version)];

fn psql(rig: &Rig) -> Result<()> {
    let code = block("sh psql")?;
    signs_in(rig, || Ok(shell(&code)))
}

/// The service names the host that the page names: libpq finds its address and port in PGHOSTADDR and PGPORT.
fn service(rig: &Rig) -> Result<()> {
    let file = rig.run().path().join("pg_service.conf");
    fs::write(&file, block("conf psql")?)?;
    let code = format!(
        "unset PGHOST PGDATABASE PGUSER PGSSLMODE\n{}",
        block("sh psql service")?
    );
    let program = || {
        let mut shell = shell(&code);
        shell
            .env("PGSERVICEFILE", &file)
            .env("PGHOSTADDR", "127.0.0.1");
        shell
    };
    prints(rig, program(), Who::User(ALICE), ALICE)?;
    fails(rig, program(), Who::Late(ALICE), EXPIRED)?;
    verifies(rig, program())
}

/// With the program `browser`, or by a device code without one; with tokens of version 1, which name the application by
/// its URI, of version 2, which name it by its id, and of Azure's database resource.
fn azure_cli(rig: &Rig, browser: &str) -> Result<()> {
    let code = block("sh az")?;
    let more = [
        code.replace(AUDIENCE, AUDIENCE_V2),
        code.replace(
            &format!("--resource {AUDIENCE}"),
            "--resource-type oss-rdbms",
        ),
    ];
    let login = source().join("pg_test/clients/az-login");
    let code = format!(
        "PATH={}:$PATH\n. {}\n{code}{}",
        azure_cli_programs().display(),
        login.display(),
        more.concat(),
    );
    let mut shell = shell(&code);
    shell
        .env("AUTHORITY", rig.emulator.authority())
        .env("TENANT", TENANT)
        .env("BROWSER", browser);
    prints(rig, shell, Who::User(ALICE), &[ALICE; 3].join("\n")).map(drop)
}

fn shell(code: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-euc", code]);
    shell
}

/// Only the major version: Debian's minor versions change with its updates.
fn psql_version() -> Result<String> {
    let says = checked(Command::new("psql").arg("--version"))?;
    let version = says.split([' ', '.']).nth(2);
    Ok(version.ok_or("no version")?.to_owned())
}

fn azure_cli_version() -> Result<String> {
    package_version(&azure_cli_programs().join("python"), "azure-cli")
}

fn azure_cli_programs() -> PathBuf {
    target().join("tools/az/bin")
}
