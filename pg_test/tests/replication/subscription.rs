//! Subscriptions whose tokens expire.

use pg_test::Result;
use pg_test::place::major;
use pg_test::rig::{Rig, ensure};
use pg_test::server::Server;
use pg_test::wait::until;

use crate::Test;
use crate::page::{self, reach};
use crate::site::{MADE, Site, await_rows, plan, sender};

pub const TESTS: &[Test] = &[
    ("over_three_lifetimes", three_lifetimes),
    ("an_owner_who_is_no_superuser", other_owner),
];

/// The publisher ends each connection with its token.
fn three_lifetimes(rig: &Rig) -> Result<()> {
    let mut site = Site::start(rig, "subscription")?;
    site.primary
        .configure(&[("aadauth.session_expiry", Some("token"))])?;
    site.make(500)?;
    let subscriber = start(&site, "subscriber")?;
    let mut rows = 500;
    let mut before = sender(&site.primary, "app", 0)?;
    for _ in 0..3 {
        before.await_expiry()?;
        rows += 500;
        site.make(rows)?;
        let after = sender(&site.primary, "app", before.process)?;
        ensure(after.expires_at > before.expires_at, || {
            format!("it has the old token: {before:?}, {after:?}")
        })?;
        await_rows(&subscriber, rows)?;
        before = after;
    }
    // A table's first copy is a connection of its own.
    let later = "CREATE TABLE later AS SELECT generate_series(1, 1000) AS number";
    site.primary.sql_in("app", later)?;
    site.primary
        .sql_in("app", "GRANT SELECT ON later TO replica")?;
    subscriber.sql_in("app", "CREATE TABLE later (number int)")?;
    subscriber.sql_in("app", "ALTER SUBSCRIPTION app REFRESH PUBLICATION")?;
    until("the new table is copied", || {
        let count = subscriber.sql_in("app", "SELECT count(*) FROM later")?;
        Ok((count == "1000").then_some(()))
    })?;
    let stored = subscriber.sql("SELECT subconninfo FROM pg_subscription")?;
    ensure(
        stored.contains("passfile=") && !stored.contains("eyJ"),
        || stored,
    )
}

fn other_owner(rig: &Rig) -> Result<()> {
    let site = Site::start(rig, "owner")?;
    let subscriber = start(&site, "owner-subscriber")?;
    let before = sender(&site.primary, "app", 0)?;
    subscriber.sql_in(
        "app",
        "CREATE ROLE clerk LOGIN; GRANT CREATE ON DATABASE app TO clerk;
         ALTER TABLE made OWNER TO clerk",
    )?;
    let given = subscriber.sql_in("app", "ALTER SUBSCRIPTION app OWNER TO clerk");
    if major()?.parse::<u32>()? < 16 {
        let refused = given.err().ok_or("it has another owner")?.to_string();
        return ensure(refused.contains("must be a superuser"), || refused);
    }
    given?;
    before.end(&site.primary)?;
    subscriber.wait_for_log(0, "password is required")?;
    subscriber.sql_in(
        "app",
        "ALTER SUBSCRIPTION app SET (password_required = false)",
    )?;
    site.make(500)?;
    sender(&site.primary, "app", before.process)?;
    await_rows(&subscriber, 500)
}

/// A server that subscribes as the page says.
pub fn start(site: &Site, name: &str) -> Result<Server> {
    site.primary
        .sql_in("app", &page::block(page::PUBLISHER, &[])?)?;
    let mut plan = plan(site.rig, name)?;
    for (variable, value) in reach(site.primary.port(), &site.authorities()) {
        plan = plan.environment(variable, &value);
    }
    let subscriber = site.rig.start_prepared(plan)?;
    subscriber.sql("CREATE DATABASE app")?;
    subscriber.sql_in("app", MADE)?;
    let here = [(page::PASSFILE, site.passfile.as_path())];
    subscriber.sql_in("app", &page::block(page::SUBSCRIBER, &here)?)?;
    Ok(subscriber)
}
