//! A primary, and beside it the password file that `aadauth-token` renews, as docs/replication.md has them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pg_test::Result;
use pg_test::place::{give_to_server, target};
use pg_test::plan::Plan;
use pg_test::process::{Owned, as_postgres};
use pg_test::rig::Rig;
use pg_test::server::Server;
use pg_test::wait::{until, until_within};
use rustix::process::Signal;

use crate::page;

/// Its tokens live for this long.
const AUDIENCE: &str = "api://aada0000-0000-4000-8000-000000000052";
const LIFETIME: Duration = Duration::from_secs(60);

/// Of the identity that the page maps.
pub const OBJECT_ID: &str = "0a7b0000-0000-4000-8000-000000000031";

/// The table whose rows are counted, in the database `app`.
pub const MADE: &str = "CREATE TABLE made (number int PRIMARY KEY)";

pub struct Site<'a> {
    pub rig: &'a Rig,
    pub primary: Server,
    pub passfile: PathBuf,
    _service: Owned,
}

/// A process of the server that sends changes, and until when the token is good that it was opened with.
#[derive(Debug)]
pub struct Sender {
    pub process: u32,
    pub expires_at: SystemTime,
}

impl<'a> Site<'a> {
    pub fn start(rig: &'a Rig, name: &str) -> Result<Site<'a>> {
        let plan = plan(rig, &format!("{name}-primary"))?.set("wal_level", "logical");
        let primary = rig.start_prepared(plan)?;
        primary.sql(&page::block(page::PRIMARY, &[])?)?;
        primary.sql("CREATE DATABASE app")?;
        primary.sql_in("app", MADE)?;
        let place = rig.run().for_server(&format!("{name}-passfile"))?;
        let passfile = place.join("passfile");
        let service = service(rig, &passfile)?;
        until("there is a password file", || {
            Ok(passfile.exists().then_some(()))
        })?;
        Ok(Site {
            rig,
            primary,
            passfile,
            _service: service,
        })
    }

    /// Makes rows in the primary, so that there are `all` numbers from 1.
    pub fn make(&self, all: usize) -> Result<()> {
        let insert = format!(
            "INSERT INTO made SELECT generate_series((SELECT count(*) FROM made) + 1, {all})"
        );
        self.primary.sql_in("app", &insert).map(drop)
    }

    /// Gives the password file another name, in place of a file that has it.
    pub fn link_passfile(&self, name: &str) -> Result<PathBuf> {
        let link = self.passfile.with_file_name(name);
        if link.exists() {
            fs::remove_file(&link)?;
        }
        symlink(&self.passfile, &link)?;
        Ok(link)
    }

    /// Makes a link to the password file a copy of it, which nobody renews.
    pub fn copy_passfile(&self, link: &Path) -> Result<()> {
        fs::remove_file(link)?;
        fs::copy(&self.passfile, link)?;
        give_to_server(link)
    }

    pub fn authorities(&self) -> PathBuf {
        self.rig.emulator.authorities()
    }
}

/// A server that takes tokens of a minute, and not a second longer.
pub fn plan(rig: &Rig, name: &str) -> Result<Plan> {
    let plan = rig.plan(name)?;
    let audiences = format!("{}, {AUDIENCE}", plan.settings["aadauth.audience"]);
    Ok(plan
        .set("aadauth.audience", &audiences)
        .set("aadauth.clock_skew", "0")
        .set("wal_retrieve_retry_interval", "500ms")
        // libpq looks there for certificates.
        .environment("HOME", "/nonexistent"))
}

/// `aadauth-token` on a machine with the identity.
fn service(rig: &Rig, passfile: &Path) -> Result<Owned> {
    let program = target().join("release/aadauth-token");
    let command = page::service(&[
        ("/usr/bin/aadauth-token", &program),
        (page::PASSFILE, passfile),
        (":5432:", Path::new(":*:")),
    ])?;
    let log = fs::File::create(passfile.with_extension("log"))?;
    let mut shell = as_postgres("bash")?;
    shell
        .args(["-euc", &format!("exec {command}")])
        .env("AADAUTH_AUDIENCE", AUDIENCE)
        .env(
            "AZURE_POD_IDENTITY_AUTHORITY_HOST",
            rig.emulator.managed_identity_host(),
        )
        .stderr(log);
    Owned::start("aadauth-token", &mut shell, Signal::TERM)
}

/// The process that sends changes to the application of this name, once there is one other than `before`.
pub fn sender(server: &Server, application: &str, before: u32) -> Result<Sender> {
    until(&format!("{application} follows"), || {
        Ok(streaming(server, application)?.filter(|sender| sender.process != before))
    })
}

/// The process that sends changes to the application of this name now.
pub fn streaming(server: &Server, application: &str) -> Result<Option<Sender>> {
    let row = server.sql(&format!(
        "SELECT pid, extract(epoch FROM token_expires_at)::bigint
         FROM pg_stat_replication JOIN aadauth.sessions USING (pid)
         WHERE application_name = '{application}' AND state = 'streaming'"
    ))?;
    let Some((process, expires_at)) = row.split_once('|') else {
        return Ok(None);
    };
    Ok(Some(Sender {
        process: process.parse()?,
        expires_at: moment(expires_at)?,
    }))
}

impl Sender {
    pub fn await_expiry(&self) -> Result<()> {
        await_moment(self.expires_at)
    }

    /// Breaks the connection.
    pub fn end(&self, server: &Server) -> Result<()> {
        server
            .sql(&format!("SELECT pg_terminate_backend({})", self.process))
            .map(drop)
    }
}

/// Waits for the moment at which a token expires.
pub fn await_moment(expires_at: SystemTime) -> Result<()> {
    until_within(LIFETIME * 2, "the token expires", || {
        Ok((SystemTime::now() > expires_at).then_some(()))
    })
}

/// A moment that the server has in seconds since 1970.
pub fn moment(seconds: &str) -> Result<SystemTime> {
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.parse()?))
}

/// Waits until the copy has exactly the numbers from 1 to `all`.
pub fn await_rows(copy: &Server, all: usize) -> Result<()> {
    let sum = all * (all + 1) / 2;
    until(&format!("{} has {all} rows", copy.name()), || {
        let has = copy.sql_in("app", "SELECT count(*), sum(number) FROM made")?;
        Ok((has == format!("{all}|{sum}")).then_some(()))
    })
}
