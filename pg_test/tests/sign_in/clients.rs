//! Unmodified clients and Microsoft's own library.

use std::ffi::OsStr;
use std::path::Path;

use pg_test::Result;
use pg_test::emulator::{AUDIENCE, AUDIENCE_V2, AUDIENCE_V2_ID, TENANT, program};
use pg_test::place::{pg_config_says, source, target};

use crate::Test;
use crate::rig::{Rig, ensure};

pub const TESTS: &[Test] = &[
    ("psql", psql),
    ("psycopg", |rig| python(rig, "psycopg_signs_in.py")),
    ("asyncpg", |rig| python(rig, "asyncpg_signs_in.py")),
    ("node_pg", node_pg),
    ("tokio_postgres", tokio_postgres),
    ("azure_identity_with_a_client_secret", azure_identity_secret),
    (
        "azure_identity_as_a_managed_identity",
        azure_identity_managed,
    ),
    ("the_azure_cli", |rig| azure_cli(rig, "")),
    ("the_azure_cli_with_a_browser", |rig| {
        let browser = clients().join("browser");
        // Python splits it as a shell does, and waits for no program that ends in &.
        azure_cli(rig, &format!("sh {} %s &", browser.display()))
    }),
    ("a_token_of_12_kilobytes", a_token_of_12_kilobytes),
    ("a_token_as_large_as_the_setting_allows", largest_token),
    ("a_v2_token", v2_token),
    ("replication_connections", replication),
    ("a_group_member_under_the_group_roles_name", group_member),
];

const WHO: &str =
    "SELECT session_user || ' ' || (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())";

fn psql(rig: &Rig) -> Result<()> {
    let printed = rig
        .attempt(&rig.server, "alice@contoso.com", &rig.alice()?)
        .psql("", WHO)?;
    ensure(
        printed.success && printed.output == "alice@contoso.com true",
        || format!("{printed:?}"),
    )
}

fn python(rig: &Rig, script: &str) -> Result<()> {
    let attempt = rig.attempt(&rig.server, "alice@contoso.com", &rig.alice()?);
    let printed = attempt.script(&interpreter(), &clients().join(script), &[])?;
    ensure(
        printed.success && printed.output == "alice@contoso.com true",
        || format!("{printed:?}"),
    )
}

fn node_pg(rig: &Rig) -> Result<()> {
    let attempt = rig.attempt(&rig.server, "alice@contoso.com", &rig.alice()?);
    let modules = target().join("node/node_modules");
    let printed = attempt.script(
        Path::new("node"),
        &clients().join("pg_signs_in.js"),
        &[("NODE_PATH", modules.as_os_str())],
    )?;
    ensure(
        printed.success && printed.output == "alice@contoso.com true",
        || format!("{printed:?}"),
    )
}

fn tokio_postgres(rig: &Rig) -> Result<()> {
    let attempt = rig.attempt(&rig.server, "alice@contoso.com", &rig.alice()?);
    let answer = attempt.tokio_postgres(&rig.tls, WHO)?;
    ensure(answer == "alice@contoso.com true", || answer)
}

fn azure_identity_secret(rig: &Rig) -> Result<()> {
    azure_identity(
        rig,
        "reporting",
        &[
            (
                "AZURE_CLIENT_ID",
                OsStr::new("4e904700-0000-4000-8000-000000000020"),
            ),
            ("AZURE_CLIENT_SECRET", OsStr::new("reporting-secret")),
        ],
    )
}

fn azure_identity_managed(rig: &Rig) -> Result<()> {
    let host = rig.emulator.managed_identity_host();
    azure_identity(
        rig,
        "vm-app",
        &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", OsStr::new(&host))],
    )
}

fn azure_identity(rig: &Rig, role: &str, credential: &[(&str, &OsStr)]) -> Result<()> {
    let authority = rig.emulator.authority();
    let authorities = rig.emulator.authorities();
    let mut environment = credential.to_vec();
    environment.push(("AZURE_AUTHORITY_HOST", OsStr::new(&authority)));
    environment.push(("AZURE_TENANT_ID", OsStr::new(TENANT)));
    environment.push(("REQUESTS_CA_BUNDLE", authorities.as_os_str()));
    environment.push((
        "SCOPE",
        OsStr::new("api://aada0000-0000-4000-8000-000000000050/.default"),
    ));
    let printed = rig.attempt(&rig.server, role, "").script(
        &interpreter(),
        &clients().join("azure_identity_signs_in.py"),
        &environment,
    )?;
    ensure(
        printed.success && printed.output == format!("{role} true"),
        || format!("{printed:?}"),
    )
}

/// With the program `browser`, or by a device code without one; with tokens of version 1, which name the application by its URI, and of version 2, which name it by its id.
fn azure_cli(rig: &Rig, browser: &str) -> Result<()> {
    let authority = rig.emulator.authority();
    let authorities = rig.emulator.authorities();
    let psql = Path::new(&pg_config_says("--bindir")?).join("psql");
    let first = AUDIENCE.strip_prefix("api://").ok_or(AUDIENCE)?;
    let applications = format!("{first} {AUDIENCE_V2_ID}");
    let printed = rig.attempt(&rig.server, "alice@contoso.com", "").script(
        Path::new("sh"),
        &clients().join("azure_cli_signs_in"),
        &[
            ("AZ", azure_cli_program().as_os_str()),
            ("BROWSER", OsStr::new(browser)),
            ("AUTHORITY", OsStr::new(&authority)),
            ("TENANT", OsStr::new(TENANT)),
            ("REQUESTS_CA_BUNDLE", authorities.as_os_str()),
            ("EMULATOR", program().as_os_str()),
            ("EMULATOR_STATE", rig.emulator.state().as_os_str()),
            ("APPLICATIONS", OsStr::new(&applications)),
            ("PSQL", psql.as_os_str()),
        ],
    )?;
    let signed_in = "alice@contoso.com true\nalice@contoso.com true";
    ensure(printed.success && printed.output == signed_in, || {
        format!("{printed:?}")
    })
}

/// Where `.ci/prerequisites all` installs it.
pub fn azure_cli_program() -> std::path::PathBuf {
    target().join("tools/az/bin/az")
}

fn a_token_of_12_kilobytes(rig: &Rig) -> Result<()> {
    let token = rig.user("alice@contoso.com").size(12 * 1024).text()?;
    ensure(token.len() >= 12 * 1024 - 1, || {
        format!("the token has {} bytes", token.len())
    })?;
    let printed = rig
        .attempt(&rig.server, "alice@contoso.com", &token)
        .psql("", WHO)?;
    ensure(printed.success, || format!("{printed:?}"))
}

/// The default of `aadauth.max_token_size` is 16 kB.
fn largest_token(rig: &Rig) -> Result<()> {
    let token = rig.user("alice@contoso.com").size(16 * 1024).text()?;
    rig.accepted(&rig.server, "alice@contoso.com", &token)?;
    let token = rig.user("alice@contoso.com").size(16 * 1024 + 2).text()?;
    rig.refused(&rig.server, "alice@contoso.com", &token, "token-too-large")
}

fn v2_token(rig: &Rig) -> Result<()> {
    let token = rig.user("alice@contoso.com").audience(AUDIENCE_V2).text()?;
    rig.accepted(&rig.server, "alice@contoso.com", &token)
        .map(drop)
}

fn replication(rig: &Rig) -> Result<()> {
    let server = rig.server("replication", |plan| plan)?;
    let person = rig.person(&server, "replicator")?;
    server.sql("ALTER ROLE replicator REPLICATION")?;
    let attempt = rig.attempt(&server, &person.role, &rig.token_of(&person)?);
    for replication in ["replication=true", "replication=database"] {
        let printed = attempt.psql(replication, "IDENTIFY_SYSTEM")?;
        ensure(printed.success && !printed.output.is_empty(), || {
            format!("{printed:?}")
        })?;
    }
    let refused = rig
        .attempt(&server, &person.role, "not a token")
        .psql("replication=true", "IDENTIFY_SYSTEM")?;
    ensure(!refused.success && refused.output.is_empty(), || {
        format!("{refused:?}")
    })
}

fn group_member(rig: &Rig) -> Result<()> {
    rig.accepted(&rig.server, "dba", &rig.alice()?)?;
    let outsider = rig.user("mallory@contoso.com").text()?;
    // The token of a user without groups has no such claim, as if groups had never been configured.
    rig.refused(&rig.server, "dba", &outsider, "groups-unknown")
}

fn interpreter() -> std::path::PathBuf {
    target().join("venv/bin/python")
}

fn clients() -> std::path::PathBuf {
    source().join("pg_test/clients")
}
