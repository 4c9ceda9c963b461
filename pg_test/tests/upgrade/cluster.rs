//! `pg_upgrade` to a newer major version.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use pg_test::Result;
use pg_test::place::source;
use pg_test::plan::Plan;
use pg_test::process::{as_postgres, checked};
use pg_test::rig::ensure;
use pg_test::server::Server;

use crate::{Servers, Test, mappings};

pub const TESTS: &[Test] = &[
    ("everything_goes_along", everything),
    (
        "the_check_says_that_the_library_is_missing",
        without_library,
    ),
    ("labels_alone_need_the_library_too", labels_alone),
];

/// Those that need a newer server with PAM.
pub const PAM_TESTS: &[Test] = &[(
    "the_pam_service_of_the_old_version_refuses",
    service_of_another_version,
)];

fn everything(servers: &Servers) -> Result<()> {
    let Servers { rig, newer } = servers;
    let mut old = rig.server("old", |plan| plan)?;
    mappings::create(&old)?;
    mappings::check(rig, &old)?;
    mappings::drain(&old)?;
    let expected = mappings::records(&old)?;
    // Minor releases since November 2026 (15.20) keep an option with each column that earlier ones of newer
    // versions (17.11) don't know, and that ends pg_upgrade.
    old.sql(
        "SET allow_system_table_mods = on;
         UPDATE pg_attribute SET attoptions = NULL WHERE attoptions[1] LIKE 'pg_attver=%'",
    )?;
    old.stop()?;

    let mut new = newer.plan(rig, "new")?.set_up(rig.run())?;
    for arguments in ["--check", ""] {
        let output = pg_upgrade(&old, &new, arguments)?;
        ensure(output.status.success(), || said(&output))?;
    }
    new.start()?;
    rig.await_keys(&new)?;
    let records = mappings::records(&new)?;
    ensure(records == expected, || {
        format!("{expected}\nbecame\n{records}")
    })?;
    mappings::check(rig, &new)?;

    administered_again(servers, &new)
}

/// A `pg_hba.conf` that is copied from the old server names the old server's PAM service.
fn service_of_another_version(servers: &Servers) -> Result<()> {
    let Servers { rig, newer } = servers;
    let mut server = rig.start_plan(newer.plan(rig, "copied-lines")?)?;
    rig.prepare(&server)?;
    mappings::create(&server)?;
    mappings::check(rig, &server)?;
    server.set_hba(&["hostssl all all all pam pamservice=aadauth-15"])?;
    let refused = rig.sign_in(&server, "alice@contoso.com", &rig.alice()?)?;
    ensure(refused.outcome.refusal().is_some(), || {
        format!("{:?}", refused.outcome)
    })?;
    let codes = server.sql("SELECT code FROM aadauth.check_configuration()")?;
    ensure(codes.contains("pam-file-of-another-library"), || codes)
}

/// On 15 Entra admins administered every role by CREATEROLE; since 16 they need more, and are told what.
fn administered_again(servers: &Servers, server: &Server) -> Result<()> {
    let rig = &servers.rig;
    let alter = || {
        rig.attempt(server, "alice@contoso.com", &rig.alice()?)
            .psql("", "ALTER ROLE reporting VALID UNTIL 'infinity'")
    };
    ensure(!alter()?.success, || "an admin may alter it".to_owned())?;
    let finding = |column: &str| {
        server.sql(&format!(
            "SELECT {column} FROM aadauth.check_configuration() WHERE code = 'role-without-administrator'"
        ))
    };
    let remedy = finding("remedy")?;
    let (grant, _) = remedy.split_once(';').ok_or_else(|| remedy.clone())?;
    server.sql(grant)?;
    let left = finding("place")?;
    ensure(left.is_empty(), || left)?;
    let altered = alter()?;
    ensure(altered.success, || format!("{altered:?}"))
}

/// The message is in a file that pg_upgrade names.
fn without_library(servers: &Servers) -> Result<()> {
    let mut old = servers.rig.server("old-with-extension", |plan| plan)?;
    old.stop()?;
    let new = not_preloaded(servers, "new-without-library")?;
    let output = pg_upgrade(&old, &new, "--check")?;
    let printed = said(&output);
    ensure(
        !output.status.success() && printed.contains("loadable_libraries.txt"),
        || printed.clone(),
    )?;
    let mut found = Command::new("find");
    found.arg(new.data().join("pg_upgrade_output.d")).args([
        "-name",
        "loadable_libraries.txt",
        "-exec",
        "cat",
        "{}",
        ";",
    ]);
    let found = checked(&mut found)?;
    for words in [
        "aadauth must be loaded when the server starts",
        "Add aadauth to shared_preload_libraries in the new cluster's postgresql.conf",
    ] {
        ensure(found.contains(words), || found.clone())?;
    }
    Ok(())
}

/// Where the extension is in no database any more, nothing checks: the roles can't be restored.
fn labels_alone(servers: &Servers) -> Result<()> {
    let rig = &servers.rig;
    let mut old = rig.server("old-with-labels", |plan| plan)?;
    rig.person(&old, "someone")?;
    old.sql("DROP EXTENSION aadauth CASCADE")?;
    old.stop()?;
    let new = not_preloaded(servers, "new-for-labels")?;
    let checked = pg_upgrade(&old, &new, "--check")?;
    ensure(checked.status.success(), || said(&checked))?;
    let output = pg_upgrade(&old, &new, "")?;
    ensure(!output.status.success(), || said(&output))?;
    let log = new.data().join("pg_upgrade_output.d");
    let mut found = Command::new("grep");
    found.arg("-rh").arg("is not loaded").arg(log);
    let found = pg_test::process::checked(&mut found)?;
    ensure(
        found.contains("ERROR:  security label provider \"pgaadauth"),
        || found,
    )
}

fn not_preloaded(servers: &Servers, name: &str) -> Result<Server> {
    let plan: Plan = servers.newer.plan(&servers.rig, name)?;
    // Without the library, PostgreSQL would not accept an aadauth line.
    plan.unset("shared_preload_libraries")
        .hba(&[])
        .set_up(servers.rig.run())
}

/// Runs the command of docs/upgrades.md, with the places of these servers in place of Debian's.
fn pg_upgrade(old: &Server, new: &Server, more: &str) -> Result<Output> {
    let text = fs::read_to_string(source().join("docs/upgrades.md"))?;
    let command = text
        .split("```")
        .find(|block| block.contains("bin/pg_upgrade "))
        .ok_or("docs/upgrades.md has no pg_upgrade")?;
    let (_, command) = command
        .split_once("sudo -u postgres ")
        .ok_or_else(|| command.to_owned())?;
    let place = |path: &Path| path.display().to_string();
    let command = command
        .trim()
        .replace("/usr/lib/postgresql/15/bin", &place(old.binaries()))
        .replace("/usr/lib/postgresql/17/bin", &place(new.binaries()))
        .replace("/var/lib/postgresql/15/main", &place(&old.data()))
        .replace("/var/lib/postgresql/17/main", &place(&new.data()))
        .replace("/etc/postgresql/15/main", &place(&old.data()))
        .replace("/etc/postgresql/17/main", &place(&new.data()))
        .replace(" --check", "");
    let mut bash = as_postgres("bash")?;
    bash.arg("-c")
        .arg(format!(
            "{command} {more} --username=postgres --old-port={} --new-port={}",
            old.port(),
            new.port()
        ))
        // Where it puts its sockets and scripts.
        .current_dir(new.socket());
    Ok(bash.output()?)
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
