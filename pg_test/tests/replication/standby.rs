//! Standbys whose tokens expire.

use std::fs;
use std::path::Path;

use pg_test::Result;
use pg_test::process::{Owned, checked};
use pg_test::rig::{Rig, ensure};
use pg_test::server::Server;
use rustix::process::Signal;

use crate::Test;
use crate::page::{self, shell};
use crate::site::{Site, await_rows, plan, sender, streaming};

pub const TESTS: &[Test] = &[
    ("over_three_lifetimes", three_lifetimes),
    ("a_token_as_pgpassword_is_stored", stored),
];

const ALICE: (&str, &str) = ("alice@contoso.com", "a11ce000-0000-4000-8000-000000000001");

fn three_lifetimes(rig: &Rig) -> Result<()> {
    let mut site = Site::start(rig, "standby")?;
    rig.map(&site.primary, ALICE.0, ALICE.1, "user")?;
    let standby = start(&site, "standby1", &site.primary, &site.passfile)?;
    let other_passfile = site.link_passfile("other-passfile")?;
    let cascaded = start(&site, "standby2", &standby, &other_passfile)?;
    let of_cascaded = sender(&standby, "standby2", 0)?;
    site.copy_passfile(&other_passfile)?;
    let _receiver = receive(&site)?;
    sender(&site.primary, "standby1", 0)?;
    // An INSERT returns when its rows are on the standby.
    site.primary.configure(&[
        ("synchronous_standby_names", Some("standby1")),
        ("synchronous_commit", Some("remote_apply")),
    ])?;
    let mut rows = 0;
    for _ in 0..3 {
        for application in ["standby1", "received"] {
            rows += 1000;
            break_after_expiry(&site, application, rows)?;
        }
        await_rows(&standby, rows)?;
    }
    await_rows(&cascaded, rows)?;
    let mark = cascaded.log_length()?;
    of_cascaded.end(&standby)?;
    cascaded.wait_for_log(mark, "The access token has expired")?;
    site.make(rows + 1)?;
    await_rows(&standby, rows + 1)?;
    ensure(streaming(&standby, "standby2")?.is_none(), || {
        "it follows with a token that has expired".to_owned()
    })?;
    await_rows(&cascaded, rows)?;
    site.link_passfile("other-passfile")?;
    await_rows(&cascaded, rows + 1)?;
    for server in [&standby, &cascaded] {
        rig.accepted(server, ALICE.0, &rig.alice()?)?;
    }
    Ok(())
}

/// Waits until the token of a connection has expired, breaks the connection, and sees it come back with another token;
/// meanwhile makes rows, up to `rows` of them.
fn break_after_expiry(site: &Site, application: &str, rows: usize) -> Result<()> {
    let before = sender(&site.primary, application, 0)?;
    before.await_expiry()?;
    site.make(rows - 500)?;
    let still = streaming(&site.primary, application)?.map(|sender| sender.process);
    ensure(still == Some(before.process), || {
        format!("{application} did not go on: {before:?}, {still:?}")
    })?;
    before.end(&site.primary)?;
    site.make(rows)?;
    let after = sender(&site.primary, application, before.process)?;
    ensure(after.expires_at > before.expires_at, || {
        format!("{application} has the old token: {before:?}, {after:?}")
    })
}

/// pg_basebackup stores the token in the standby's connection string, as it does with any password.
fn stored(rig: &Rig) -> Result<()> {
    let site = Site::start(rig, "stored")?;
    let passfile = fs::read_to_string(&site.passfile)?;
    let token = passfile.trim_end().rsplit(':').next().unwrap_or_default();
    let standby = plan(rig, "standby3")?.start_with(rig.run(), |to| {
        let here = [("/var/lib/postgresql/15/main", to)];
        let command = page::block(page::STANDBY, &here)?;
        let command = command.replace(&format!("passfile={}", page::PASSFILE), "");
        let mut command = shell(&command, site.primary.port(), &site.authorities())?;
        checked(command.env("PGPASSWORD", token)).map(drop)
    })?;
    let settings = fs::read_to_string(standby.data().join("postgresql.auto.conf"))?;
    ensure(token.len() > 1024 && settings.contains(token), || settings)?;
    let cut = "unterminated quoted string in connection info string";
    standby.wait_for_log(0, cut).map(drop)
}

/// Makes a standby as the page says, and starts it.
pub fn start(site: &Site, name: &str, from: &Server, passfile: &Path) -> Result<Server> {
    let standby = plan(site.rig, name)?.start_with(site.rig.run(), |data| {
        let here = [
            ("/var/lib/postgresql/15/main", data),
            (page::PASSFILE, passfile),
            ("standby1", Path::new(name)),
        ];
        let command = page::block(page::STANDBY, &here)?;
        checked(&mut shell(&command, from.port(), &site.authorities())?)?;
        let settings = fs::read_to_string(data.join("postgresql.auto.conf"))?;
        ensure(
            settings.contains("passfile=") && !settings.contains("password="),
            || settings,
        )
    })?;
    site.rig.await_keys(&standby)?;
    Ok(standby)
}

/// `pg_receivewal`, with the page's connection string.
fn receive(site: &Site) -> Result<Owned> {
    let here = [
        (page::PASSFILE, site.passfile.as_path()),
        ("standby1", Path::new("received")),
    ];
    let command = page::block(page::STANDBY, &here)?;
    let (_, connection) = command.split_once("--dbname=").ok_or("no --dbname")?;
    let to = site.rig.run().for_server("received")?;
    let command = format!(
        "exec pg_receivewal --directory={} --dbname={connection}",
        to.display()
    );
    let mut command = shell(&command, site.primary.port(), &site.authorities())?;
    command.stderr(fs::File::create(to.with_extension("log"))?);
    Owned::start("pg_receivewal", &mut command, Signal::INT)
}
