//! `ALTER EXTENSION aadauth UPDATE`.

use std::process::Command;
use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::place::source;
use pg_test::process::checked;
use pg_test::rig::ensure;
use pg_test::server::Server;

use crate::{Servers, Test, catalog, people};

pub const TESTS: &[Test] = &[
    ("released_scripts_are_as_they_were", released),
    ("every_released_version_is_updated", updated),
    ("it_is_created_in_a_moment", created),
];

/// Versions that were released before this one.
const RELEASED: &[&str] = &["0.1"];

fn released(_: &Servers) -> Result<()> {
    let mut sums = Command::new("sha256sum");
    sums.args(["--strict", "--check", "released.sha256"])
        .current_dir(source().join("sql"));
    let checked = checked(&mut sums)?;
    for version in RELEASED {
        ensure(
            checked.contains(&format!("aadauth--{version}.sql: OK")),
            || format!("sql/released.sha256 lacks {version}"),
        )?;
    }
    Ok(())
}

/// The library works with the SQL of each version, since restarting comes before ALTER EXTENSION; the update
/// keeps what was recorded, and leaves the same objects as a fresh installation.
fn updated(servers: &Servers) -> Result<()> {
    let rig = &servers.rig;
    let fresh = rig.server("fresh", |plan| plan)?;
    let expected = catalog::describe(&fresh)?;
    let current =
        fresh.sql("SELECT default_version FROM pg_available_extensions WHERE name = 'aadauth'")?;
    let others = fresh.sql(
        "SELECT version FROM pg_available_extension_versions WHERE name = 'aadauth' AND NOT installed ORDER BY 1",
    )?;
    ensure(others.lines().eq(RELEASED.iter().copied()), || {
        format!("versions before {current}: {others}")
    })?;
    for version in RELEASED {
        let server = rig.start_plan(rig.plan(&format!("from-{version}"))?)?;
        server.sql(&format!("CREATE EXTENSION aadauth VERSION '{version}'"))?;
        rig.await_keys(&server)?;
        people::settle(&server)?;
        server.sql(
            "INSERT INTO aadauth.group_sync_changes (run, group_role, tenant_id, group_id, action)
             VALUES (1, 'dba', gen_random_uuid(), gen_random_uuid(), 'granted')",
        )?;
        people::check(rig, &server)?;
        ensure(codes(&server)?.contains("extension-version"), || {
            format!("nothing says that {version} is not the library's version")
        })?;

        people::drain(&server)?;
        let before = people::records(&server)?;
        server.sql("ALTER EXTENSION aadauth UPDATE")?;
        let after = people::records(&server)?;
        ensure(before == after, || {
            format!("{version}: {}", catalog::difference(&before, &after))
        })?;
        people::check(rig, &server)?;
        ensure(!codes(&server)?.contains("extension-version"), || {
            format!("{version} was not updated")
        })?;
        server.sql(
            "DROP SCHEMA kept CASCADE;
             DROP ROLE dba, reporting, leaver, local, \"carol@contoso.com\", \"alice@contoso.com\"",
        )?;
        let actual = catalog::describe(&server)?;
        ensure(actual == expected, || {
            format!(
                "{version}, updated, is not a fresh {current}:\n{}",
                catalog::difference(&expected, &actual)
            )
        })?;
    }
    Ok(())
}

fn codes(server: &Server) -> Result<String> {
    server.sql("SELECT code FROM aadauth.check_configuration()")
}

/// Well under a second where nothing else is done; docs/benchmarks.md has the figure. The bound is one that a
/// loaded machine keeps, too.
fn created(servers: &Servers) -> Result<()> {
    let server = servers.rig.start_plan(servers.rig.plan("created")?)?;
    let start = Instant::now();
    server.sql("CREATE EXTENSION aadauth")?;
    let took = start.elapsed();
    ensure(took < Duration::from_secs(10), || {
        format!("CREATE EXTENSION took {took:?}")
    })
}
