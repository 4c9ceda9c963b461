//! `pg_dumpall`, and its restoration on a fresh server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pg_test::Result;
use pg_test::plan::Plan;
use pg_test::process::checked;
use pg_test::rig::{Rig, Subject, ensure};
use pg_test::server::Server;

use crate::{Servers, Test, mappings};

pub const TESTS: &[Test] = &[
    ("it_is_restored_on_a_fresh_server", on_the_same),
    ("it_is_restored_on_a_newer_server", on_a_newer),
    ("azures_roles_are_restored", azure),
    ("without_the_library_no_role_is_mapped", without_library),
];

/// What a minor release from before November 2026 says of a dump of a later one: it knows no option that numbers
/// what columns were changed by, and does without.
const OF_A_LATER_MINOR_RELEASE: &str = "unrecognized parameter \"pg_attver\"";

fn on_the_same(servers: &Servers) -> Result<()> {
    let rig = &servers.rig;
    let program = rig.server.binaries().join("pg_dumpall");
    restored(rig, "same", &program, rig.plan("same-to")?)
}

/// As PostgreSQL advises, with the newer version's `pg_dumpall`.
fn on_a_newer(servers: &Servers) -> Result<()> {
    let Servers { rig, newer } = servers;
    let program = newer.binaries().join("pg_dumpall");
    restored(rig, "newer", &program, newer.plan(rig, "newer-to")?)
}

fn restored(rig: &Rig, name: &str, pg_dumpall: &Path, to: Plan) -> Result<()> {
    let from = rig.server(&format!("{name}-from"), |plan| plan)?;
    mappings::create(&from)?;
    mappings::check(rig, &from)?;
    mappings::drain(&from)?;
    let file = dump(&from, pg_dumpall)?;
    let expected = mappings::records(&from)?;
    drop(from);

    // The workers wait meanwhile, as docs/upgrades.md says.
    let mut to = rig.start_plan(to.set("aadauth.database", "none"))?;
    let said = restore(&to, &file)?;
    let mut errors = errors(&said);
    errors.retain(|error| *error != OF_A_LATER_MINOR_RELEASE);
    ensure(errors == ["role \"postgres\" already exists"], || {
        said.clone()
    })?;
    let records = mappings::records(&to)?;
    ensure(records == expected, || {
        format!("{expected}\nbecame\n{records}")
    })?;
    to.configure(&[("aadauth.database", None)])?;
    to.restart()?;
    rig.await_keys(&to)?;
    mappings::check(rig, &to)?;
    let records = mappings::records(&to)?;
    ensure(
        expected
            .lines()
            .all(|line| records.lines().any(|other| other == line)),
        || format!("{expected}\nbecame\n{records}"),
    )
}

/// What `pg_dumpall` writes, in a file that the server's account can read.
fn dump(server: &Server, pg_dumpall: &Path) -> Result<PathBuf> {
    let text = checked(&mut server.client(pg_dumpall)?)?;
    readable(server, &text)
}

fn readable(server: &Server, text: &str) -> Result<PathBuf> {
    let file = server.socket().parent().ok_or("no directory")?;
    let file = file.join(format!("{}.sql", server.name()));
    fs::write(&file, text)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    Ok(file)
}

/// Runs a script, going on after errors, and returns what psql said.
fn restore(server: &Server, file: &Path) -> Result<String> {
    let mut psql = server.client("psql")?;
    psql.args(["-XAtq", "-d", "postgres", "-f"]).arg(file);
    let output = psql.output()?;
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn errors(said: &str) -> Vec<&str> {
    let errors = said.lines().filter_map(|line| line.split_once("ERROR:  "));
    errors.map(|(_, error)| error).collect()
}

/// What `pg_dumpall --roles-only --no-role-passwords` writes on Azure, without the roles of its makers.
fn azure(servers: &Servers) -> Result<()> {
    let rig = &servers.rig;
    let server = rig.server("azure-to", |plan| plan)?;
    let file = readable(&server, include_str!("azure-roles.sql"))?;
    let said = restore(&server, &file)?;
    ensure(
        errors(&said) == ["role \"azure_pg_admin\" already exists"],
        || said.clone(),
    )?;
    let listed = server.sql(
        "SELECT rolname, principaltype, ismfa, isadmin FROM pgaadauth_list_principals(false) ORDER BY 1",
    )?;
    let expected = "alice@contoso.com|user|0|1\nanalysts|group|0|0\n\
                    carol@contoso.com|user|1|0\nreporting|service|0|0";
    ensure(listed == expected, || listed.clone())?;
    // The names that Azure's labels leave out were found when they were set.
    let bare = server.sql(
        "SELECT label FROM pg_shseclabel WHERE objoid = '\"alice@contoso.com\"'::regrole AND provider = 'pgaadauth'",
    )?;
    ensure(bare == "aadauth,admin", || bare.clone())?;
    let alice = rig.alice()?;
    let reporting = rig
        .emulator
        .token(Subject::ServicePrincipal("reporting".to_owned()))
        .text()?;
    rig.accepted(&server, "alice@contoso.com", &alice)?;
    rig.accepted(&server, "reporting", &reporting)?;
    rig.accepted(
        &server,
        "carol@contoso.com",
        &rig.user("carol@contoso.com").text()?,
    )?;
    let printed = rig.attempt(&server, "alice@contoso.com", &alice).psql(
        "",
        "SELECT pgaadauth_create_principal_with_oid('newcomer', gen_random_uuid()::text, 'user', false, false)",
    )?;
    ensure(printed.success, || format!("{printed:?}"))
}

fn without_library(servers: &Servers) -> Result<()> {
    let rig = &servers.rig;
    let server = rig.start_plan(Plan::new("azure-stock")?)?;
    let file = readable(&server, include_str!("azure-roles.sql"))?;
    let said = restore(&server, &file)?;
    let expected = [
        "security label provider \"pgaadauth\" is not loaded",
        "security label provider \"pgaadauth-int\" is not loaded",
    ];
    let errors = errors(&said);
    ensure(
        errors.len() == 8 && errors.iter().all(|error| expected.contains(error)),
        || said.clone(),
    )?;
    let labels = server.sql("SELECT count(*) FROM pg_shseclabel")?;
    ensure(labels == "0", || format!("{labels} labels"))
}
