//! Dumps and restores during which the token expires.

use std::fs;
use std::path::PathBuf;

use pg_test::Result;
use pg_test::process::{Owned, checked, signal};
use pg_test::rig::{Rig, ensure};
use pg_test::server::Server;
use pg_test::wait::until;
use pg_test::wire::Connection;
use rustix::process::Signal;

use crate::Test;
use crate::page::{self, shell};
use crate::site::{Site, await_moment, moment};

pub const TESTS: &[Test] = &[
    ("it_expires_once_all_connections_are_open", all_open),
    ("it_expires_before_all_are_open", before_all_are_open),
    ("it_expires_during_a_restore", during_restore),
];

fn all_open(rig: &Rig) -> Result<()> {
    let site = site(rig, "all-open")?;
    // Large enough that the connections are still open when they are counted.
    site.primary.sql_in(
        "app",
        "CREATE TABLE large AS SELECT repeat(md5(i::text), 10) FROM generate_series(1, 400000) AS i",
    )?;
    let mut dump = Run::start(&site, "all-open", &dump(&site, "all-open")?)?;
    until("all connections are open", || {
        Ok((sessions(&site.primary)? == 5).then_some(()))
    })?;
    signal(dump.process.id(), Signal::STOP)?;
    await_expiry(&site.primary)?;
    signal(dump.process.id(), Signal::CONT)?;
    dump.end()?.map_err(Into::into)
}

fn before_all_are_open(rig: &Rig) -> Result<()> {
    let site = site(rig, "before-open")?;
    let mut session = site.primary.superuser_in("app")?;
    session.query("BEGIN")?;
    session.query("LOCK TABLE made")?;
    let mut first = Run::start(&site, "before-open", &dump(&site, "before-open")?)?;
    await_waiting(&site.primary, 1)?;
    await_expiry(&site.primary)?;
    session.query("COMMIT")?;
    first.fails_to_connect_again()?;
    // The file has had another token for a while.
    checked(&mut shell(
        &dump(&site, "after-expiry")?,
        site.primary.port(),
        &site.authorities(),
    )?)
    .map(drop)
}

fn during_restore(rig: &Rig) -> Result<()> {
    let site = site(rig, "restore")?;
    site.primary
        .sql_in("app", "CREATE INDEX made_index ON made (number)")?;
    site.primary
        .sql_in("app", "GRANT SELECT ON made TO PUBLIC")?;
    let command = dump(&site, "restore")?;
    checked(&mut shell(
        &command,
        site.primary.port(),
        &site.authorities(),
    )?)?;
    let mut held = hold_index(&site.primary, "with_jobs")?;
    let mut one_held = hold_index(&site.primary, "with_one")?;
    let mut jobs = Run::start(&site, "jobs", &restore(&site, "with_jobs", "--jobs=4")?)?;
    let mut one = Run::start(&site, "one", &restore(&site, "with_one", "")?)?;
    await_waiting(&site.primary, 2)?;
    await_expiry(&site.primary)?;
    held.query("SELECT pg_advisory_unlock(1)")?;
    one_held.query("SELECT pg_advisory_unlock(1)")?;
    jobs.fails_to_connect_again()?;
    one.end()??;
    for database in ["with_jobs", "with_one"] {
        let restored = site.primary.sql_in(
            database,
            "SELECT count(*), to_regclass('made_index') IS NOT NULL, has_table_privilege('pg_monitor', 'made', 'SELECT')
             FROM made",
        )?;
        ensure(restored == "1000|t|t", || format!("{database}: {restored}"))?;
    }
    Ok(())
}

/// A primary with rows, and a role that may dump them.
fn site<'a>(rig: &'a Rig, name: &str) -> Result<Site<'a>> {
    let site = Site::start(rig, name)?;
    site.make(1000)?;
    site.primary.sql("GRANT pg_read_all_data TO replica")?;
    Ok(site)
}

/// The page's command.
fn dump(site: &Site, name: &str) -> Result<String> {
    page::block(
        page::DUMP,
        &[
            ("/var/backups/app", &place(site, name)),
            (page::PASSFILE, &site.passfile),
        ],
    )
}

/// The same connection, to another database.
fn restore(site: &Site, database: &str, jobs: &str) -> Result<String> {
    let dump = dump(site, "restore")?;
    let (_, connection) = dump.split_once("--dbname=").ok_or("no --dbname")?;
    Ok(format!(
        "exec pg_restore --no-owner {jobs} {} --dbname={}",
        place(site, "restore").display(),
        connection.replace("dbname=app", &format!("dbname={database}"))
    ))
}

fn place(site: &Site, name: &str) -> PathBuf {
    site.passfile.with_file_name(format!("dump-{name}"))
}

/// A database in which CREATE INDEX waits until the session that is returned lets it.
fn hold_index(server: &Server, database: &str) -> Result<Connection> {
    server.sql(&format!("CREATE DATABASE {database} OWNER replica"))?;
    let mut session = server.superuser_in(database)?;
    session.query("SELECT pg_advisory_lock(1)")?;
    session.query(
        "CREATE FUNCTION wait() RETURNS event_trigger LANGUAGE plpgsql
         AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(1); END'",
    )?;
    session.query(
        "CREATE EVENT TRIGGER wait ON ddl_command_start WHEN TAG IN ('CREATE INDEX')
         EXECUTE FUNCTION wait()",
    )?;
    Ok(session)
}

fn sessions(server: &Server) -> Result<usize> {
    Ok(server
        .sql("SELECT count(*) FROM aadauth.sessions")?
        .parse()?)
}

fn await_waiting(server: &Server, wanted: usize) -> Result<()> {
    let query = "SELECT count(*) FROM pg_stat_activity
         WHERE usename = 'replica' AND wait_event_type = 'Lock'";
    until("the locks are waited for", || {
        Ok((server.sql(query)? == wanted.to_string()).then_some(()))
    })
}

/// Waits until the tokens of all sessions have expired.
fn await_expiry(server: &Server) -> Result<()> {
    let last = "SELECT extract(epoch FROM max(token_expires_at))::bigint FROM aadauth.sessions";
    await_moment(moment(&server.sql(last)?)?)
}

/// A program that runs beside the test.
struct Run {
    process: Owned,
    stderr: PathBuf,
}

impl Run {
    fn start(site: &Site, name: &str, command: &str) -> Result<Run> {
        let stderr = site.passfile.with_file_name(format!("{name}.stderr"));
        let mut shell = shell(command, site.primary.port(), &site.authorities())?;
        shell.stderr(fs::File::create(&stderr)?);
        Ok(Run {
            process: Owned::start(name, &mut shell, Signal::TERM)?,
            stderr,
        })
    }

    /// Waits for its end; what it said if it failed.
    fn end(&mut self) -> Result<std::result::Result<(), String>> {
        let child = self.process.child();
        let status = until("it ends", || Ok(child.try_wait()?))?;
        let said = fs::read_to_string(&self.stderr)?;
        Ok(match status.success() {
            true => Ok(()),
            false => Err(said),
        })
    }

    fn fails_to_connect_again(&mut self) -> Result<()> {
        let said = self.end()?.err().ok_or("it has not failed")?;
        ensure(said.contains("The access token has expired"), || said)
    }
}
