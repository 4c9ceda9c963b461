//! `ALTER EXTENSION aadauth UPDATE`.

use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::rig::ensure;
use pg_test::server::Server;

use crate::{Servers, Test, catalog, fixture, mappings};

pub const TESTS: &[Test] = &[
    ("only_the_current_version_is_installed", installed),
    ("an_earlier_version_is_updated", updated),
    ("it_is_created_in_a_moment", created),
];

/// No version before 1.0 was published.
fn installed(servers: &Servers) -> Result<()> {
    let versions = servers.rig.server.sql(
        "SELECT name, version FROM pg_available_extension_versions WHERE name ~ 'aadauth' ORDER BY 1, 2",
    )?;
    ensure(versions == "aadauth|1.0\npgaadauth|1.0", || versions)
}

/// The library works with the SQL of an earlier version, since restarting comes before ALTER EXTENSION; the update
/// keeps what was recorded, and leaves the same objects as a fresh installation.
fn updated(servers: &Servers) -> Result<()> {
    const VERSION: &str = fixture::VERSION;
    let rig = &servers.rig;
    let fresh = rig.server("fresh", |plan| plan)?;
    let expected = catalog::describe(&fresh)?;
    let current =
        fresh.sql("SELECT default_version FROM pg_available_extensions WHERE name = 'aadauth'")?;
    drop(fresh);

    let server = rig.start_plan(fixture::plan(rig, "earlier", &current)?)?;
    server.sql(&format!("CREATE EXTENSION aadauth VERSION '{VERSION}'"))?;
    rig.await_keys(&server)?;
    mappings::create(&server)?;
    server.sql(
        "INSERT INTO aadauth.group_sync_changes (run, group_role, tenant_id, group_id, action)
         VALUES (1, 'dba', gen_random_uuid(), gen_random_uuid(), 'granted')",
    )?;
    mappings::check(rig, &server)?;
    ensure(codes(&server)?.contains("extension-version"), || {
        format!("nothing says that {VERSION} is not the library's version")
    })?;

    mappings::drain(&server)?;
    let before = mappings::records(&server)?;
    let objects = catalog::difference(&expected, &catalog::describe(&server)?);
    for changed in [
        "retired",
        ") later;",
        "TABLE aadauth.sessions TO PUBLIC",
        "As an earlier version",
    ] {
        ensure(objects.contains(changed), || {
            format!("{changed} is no difference of {VERSION}:\n{objects}")
        })?;
    }
    server.sql("ALTER EXTENSION aadauth UPDATE")?;
    let after = mappings::records(&server)?;
    ensure(before == after, || catalog::difference(&before, &after))?;
    mappings::check(rig, &server)?;
    ensure(!codes(&server)?.contains("extension-version"), || {
        format!("{VERSION} was not updated")
    })?;
    server.sql(
        "DROP SCHEMA kept CASCADE;
         DROP ROLE dba, reporting, leaver, local, \"carol@contoso.com\", \"alice@contoso.com\"",
    )?;
    let actual = catalog::describe(&server)?;
    ensure(actual == expected, || {
        format!(
            "{VERSION}, updated, is not a fresh {current}:\n{}",
            catalog::difference(&expected, &actual)
        )
    })
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
