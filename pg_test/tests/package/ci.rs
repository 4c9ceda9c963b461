//! The image for tests of applications, by the last steps of packaging/Dockerfile, and an application beside it as
//! packaging/compose.yaml has it. The application's files are this machine's.

use std::collections::BTreeMap;
use std::fs;

use pg_test::Result;
use pg_test::client::Printed;
use pg_test::document::block_with;
use pg_test::place::{RunDirectory, node, python, source};
use pg_test::rig::ensure;
use pg_test::wait::until;

use crate::Test;
use crate::compose::Compose;
use crate::container::{Container, DOCKERFILE, STAGE};
use crate::prepared::Prepared;

pub const TESTS: &[Test] = &[
    ("applications_for_azure_sign_in", applications_sign_in),
    ("nothing_leads_to_it_from_outside", not_from_outside),
    (
        "own_statements_run_once_and_it_ends_cleanly",
        statements_and_end,
    ),
];

const DOCUMENT: &str = "docs/ci.md";

fn applications_sign_in(prepared: &Prepared) -> Result<()> {
    let run = RunDirectory::create()?;
    let container = Container::of_last_steps(prepared, &run)?;
    container.start("")?;
    sign_in_as_applications(&container)
}

/// What was written for Azure signs in, with Microsoft's libraries as they are: as a user and as a managed identity.
pub fn sign_in_as_applications(container: &Container) -> Result<()> {
    let compose = Compose::read()?;
    for (path, expected) in [
        ("services.db.build.target", STAGE),
        ("services.db.build.dockerfile", DOCKERFILE),
        ("services.app.network_mode", "service:db"),
        ("services.app.depends_on.db.condition", "service_healthy"),
    ] {
        let path: Vec<&str> = path.split('.').collect();
        let found = compose.text(&path)?;
        ensure(found == expected, || format!("{path:?} is {found}"))?;
    }
    let app_service = compose.environment("app")?;
    let user = with(
        &app_service,
        &[
            ("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential"),
            ("PGUSER", "alice@contoso.com"),
        ],
    );
    let mut machine = app_service.clone();
    machine.remove("IDENTITY_ENDPOINT").ok_or("no endpoint")?;
    machine.remove("IDENTITY_HEADER").ok_or("no secret")?;
    let line = documented("AZURE_POD_IDENTITY_AUTHORITY_HOST")?;
    let (name, address) = line.trim().split_once(": ").ok_or("no address")?;
    machine.insert(name.to_owned(), address.to_owned());

    for (environment, expected) in [
        (&user, "alice@contoso.com"),
        (&app_service, "batch"),
        (&machine, "batch"),
    ] {
        for (program, script) in [(python(), "app.py"), (node(), "app.js")] {
            let script = source().join("pg_test/tests/package/ci").join(script);
            let words = [&program.to_string_lossy(), &*script.to_string_lossy()];
            let printed = container.beside(&compose, &words, environment)?;
            ensure(printed.success && printed.output == expected, || {
                format!("{words:?} in {environment:?}: {printed:?}")
            })?;
        }
    }
    // A user whom the database does not know, and one who is not whom they say.
    for (role, reason) in [
        ("mallory@contoso.com", "authentication failed"),
        ("alice@contoso.com", "belongs to another principal"),
    ] {
        let changes = [("EMULATOR_USER", "mallory@contoso.com"), ("PGUSER", role)];
        let printed = as_documented(container, &compose, &with(&user, &changes))?;
        ensure(!printed.success && printed.error.contains(reason), || {
            format!("not refused: {printed:?}")
        })?;
    }
    let printed = as_documented(container, &compose, &user)?;
    ensure(
        printed.success && printed.output == "alice@contoso.com",
        || format!("{printed:?}"),
    )
}

/// On the loopback interface only, and for one tenant only, whatever the options say.
fn not_from_outside(prepared: &Prepared) -> Result<()> {
    let run = RunDirectory::create()?;
    let mut container = Container::of_last_steps(prepared, &run)?;
    container.run("echo 0.0.0.0 localhost >/etc/hosts")?;
    // Another server's data.
    let others = ("PGDATA".to_owned(), "/tmp/others".to_owned());
    container.settings.environment.extend([others]);
    container.start(
        "-c listen_addresses='*' -c aadauth.tenant_id=00000000-0000-4000-8000-000000000001 \
         -c aadauth.authority_host= -c log_statement=all",
    )?;
    ensure(container.sql("SHOW log_statement")? == "all", || {
        "options are not passed on".to_owned()
    })?;
    let data = container.sql("SHOW data_directory")?;
    ensure(data == "/srv/postgresql/data", || data.clone())?;
    let tenant = container.sql("SHOW aadauth.tenant_id")?;
    ensure(tenant.starts_with("6b1f0c7e-"), || tenant.clone())?;
    let authority = container.sql("SHOW aadauth.authority_host")?;
    ensure(authority == "https://localhost:8443", || authority.clone())?;

    // Hexadecimal, in the order of the machine's bytes; state 0A listens.
    let table = container.run("cat /proc/net/tcp; cat /proc/net/tcp6 2>/dev/null || true")?;
    let listening: Vec<&str> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(3) == Some(&"0A"))
        .filter_map(|fields| fields.get(1).copied())
        .collect();
    let port = |port: u16| format!(":{port:04X}");
    for wanted in [5432, 8443, 8444] {
        ensure(
            listening.iter().any(|one| one.ends_with(&port(wanted))),
            || format!("nothing listens on {wanted}: {listening:?}"),
        )?;
    }
    let loopback = ["0100007F:", "00000000000000000000000001000000:"];
    let outside = (listening.iter()).find(|one| !loopback.iter().any(|own| one.starts_with(own)));
    ensure(outside.is_none(), || {
        format!("another address than loopback: {listening:?}")
    })?;
    ensure(container.log()?.contains("FOR TESTS ONLY"), || {
        "it does not say what it is for".to_owned()
    })
}

fn statements_and_end(prepared: &Prepared) -> Result<()> {
    let run = RunDirectory::create()?;
    let container = Container::of_last_steps(prepared, &run)?;
    let mounts = Compose::read()?.mounts("db")?;
    let sql = (mounts.iter().find(|mount| mount.read_only)).ok_or("no place for statements")?;
    let place = container.machine.path(&sql.inside);
    fs::create_dir_all(&place)?;
    fs::write(place.join("own.sql"), documented("CREATE DATABASE")?)?;
    container.start("")?;
    let made = "SELECT count(*) FROM pg_database JOIN pg_roles ON datdba = pg_roles.oid WHERE datname = 'app'
         AND rolname = 'mallory@contoso.com'";
    let made = || container.sql(made);
    ensure(made()? == "1", || "the statements were not run".to_owned())?;

    ensure(container.end()? == "0", || "it did not end well".to_owned())?;
    let log = container.log()?;
    ensure(log.contains("database system is shut down"), || log.clone())?;
    // It would fail if it ran the statements again.
    container.start("")?;
    ensure(made()? == "1", || "the data are gone".to_owned())?;
    let stale = container.log()?;
    ensure(!stale.contains("was not properly shut down"), || {
        stale.clone()
    })?;

    container.run("kill -KILL $(sed -n 's/^  \"pid\": //p' /run/entra/emulator.json)")?;
    let status = until("it ends with the emulator", || container.status())?;
    ensure(status == "1", || status.clone())
}

/// The database's line of Azure's articles, as the document has it.
fn as_documented(
    container: &Container,
    compose: &Compose,
    environment: &BTreeMap<String, String>,
) -> Result<Printed> {
    let block = documented("export PGPASSWORD")?;
    container.beside(compose, &["sh", "-ec", &block], environment)
}

fn documented(begin: &str) -> Result<String> {
    let text = fs::read_to_string(source().join(DOCUMENT))?;
    Ok(block_with(&text, begin)?.text)
}

fn with(
    environment: &BTreeMap<String, String>,
    changes: &[(&str, &str)],
) -> BTreeMap<String, String> {
    let mut environment = environment.clone();
    let changes = changes.iter();
    environment.extend(changes.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    environment
}
