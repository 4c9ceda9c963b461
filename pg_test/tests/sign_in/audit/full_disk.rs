//! A spool that can't grow: by a full disk, or by its limit.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use pg_test::Result;
use pg_test::process::{checked, postgres_account};
use pg_test::server::Server;
use pg_test::wire::Outcome;

use super::ledger::{Ledger, expect_sum, sum};
use crate::rig::{Person, Rig, ensure};

/// A small disk of its own for a server's spool, with room for the aggregate tables of two starts.
pub struct Disk(PathBuf);

impl Disk {
    /// Makes the disk and moves a stopped server's spool there.
    pub fn give_to(server: &Server, place: PathBuf) -> Result<Disk> {
        fs::create_dir(&place)?;
        let (user, group) = postgres_account()?;
        let options = format!("size=4m,mode=0700,uid={user},gid={group}");
        checked(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
                .arg(&place),
        )?;
        let disk = Disk(place);
        let spool = spool(server);
        fs::remove_dir_all(&spool)?;
        std::os::unix::fs::symlink(&disk.0, &spool)?;
        Ok(disk)
    }

    /// Fills it to the last byte.
    pub fn fill(&self) -> Result<()> {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(self.ballast())?;
        loop {
            match file.write_all(&[0; 512]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub fn make_room(&self) -> Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn spool(server: &Server) -> PathBuf {
    server.data().join("aadauth/spool")
}

/// Bytes of the files with events.
fn used(spool: &Path) -> Result<u64> {
    let mut used = 0;
    for entry in fs::read_dir(spool)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|end| end == "jsonl") {
            used += entry.metadata()?.len();
        }
    }
    Ok(used)
}

/// A server with its spool on a disk of its own, and a person who may sign in. What local roles do is not
/// recorded: the tests' own statements would be among it.
fn start(rig: &Rig, name: &str, failure: &str) -> Result<(Server, Person, Disk)> {
    let mut server = rig.server(name, |plan| {
        plan.set("aadauth.audit_local_sign_ins", "off")
            .set("aadauth.audit_failure", failure)
    })?;
    let person = rig.person(&server, "someone")?;
    server.stop()?;
    let disk = Disk::give_to(&server, rig.run().path().join(format!("{name}-disk")))?;
    server.start()?;
    rig.await_keys(&server)?;
    Ok((server, person, disk))
}

/// Whether what the clients saw is what the table has, in rows and counts.
fn expect_equation(server: &Server, seen: &Ledger) -> Result<()> {
    expect_sum(server, "outcome = 'authenticated'", seen.count(true)?)?;
    expect_sum(server, "outcome = 'refused'", seen.count(false)?)?;
    expect_sum(server, "outcome = 'interrupted'", 0)?;
    let twice =
        "SELECT count(*) FROM (SELECT FROM aadauth.sign_in_audit WHERE application_name <> ''
                 GROUP BY application_name HAVING count(*) > 1) AS t";
    let twice = server.sql(twice)?;
    ensure(twice == "0", || format!("{twice} are there twice"))
}

/// Good and bad tokens, and somebody else's.
fn mixture(rig: &Rig, person: &Person) -> Result<[String; 3]> {
    let stranger = rig.user("mallory@contoso.com").text()?;
    Ok([rig.token_of(person)?, "no token".to_owned(), stranger])
}

pub fn allowed(rig: &Rig) -> Result<()> {
    let (mut server, person, disk) = start(rig, "full-disk", "allow")?;
    let secrets = mixture(rig, &person)?;
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    let (seen, mark) = (Ledger::default(), server.log()?.len());
    seen.sign_in_often(rig, &server, "someone", &secrets, 5)?;
    seen.expect_each(&server)?;
    disk.fill()?;
    // A page of the file that is there may still have room.
    seen.sign_in_often(rig, &server, "someone", &secrets, 30)?;
    ensure(seen.count(true)? == 35, || {
        "a full disk keeps people out".to_owned()
    })?;
    expect_equation(&server, &seen)?;
    let unrecorded = "role = '(not recorded)' AND reason = 'audit-unavailable'";
    let counted = sum(
        &server,
        &format!("{unrecorded} AND outcome = 'authenticated'"),
    )?;
    ensure(counted > 10, || format!("{counted} counted"))?;
    // Nothing is made up about them.
    let explained = server.sql(&format!(
        "SELECT replace(explained::text, E'\\n', ' ') FROM aadauth.explain_sign_in(
            (SELECT event_id FROM aadauth.sign_in_audit WHERE {unrecorded} LIMIT 1)) AS explained"
    ))?;
    ensure(
        explained.lines().count() == 1
            && explained.contains("could not be written")
            && !explained.contains("socket"),
        || explained,
    )?;
    // Refusals are counted as what they are.
    expect_sum(&server, "reason = 'token-malformed'", 35)?;
    let of_stranger = "reason = 'object-id-mismatch' AND upn = 'mallory@contoso.com'";
    expect_sum(&server, of_stranger, 35)?;
    disk.make_room()?;
    let after = Ledger::default();
    after.sign_in_often(rig, &server, "someone", &secrets, 5)?;
    after.expect_each(&server)?;
    let log = server.log_since(mark)?;
    for (text, most) in [("cannot be written: ", 2), ("are written again", 2)] {
        let said = log.lines().filter(|line| line.contains(text)).count();
        ensure((1..=most).contains(&said), || {
            format!("said {said} times {text:?}: {log}")
        })?;
    }
    // Read again from the tables of an earlier start, nothing is counted twice.
    server.restart()?;
    let condition = "outcome IN ('authenticated', 'refused')";
    let all = seen.count(true)? + seen.count(false)? + 15;
    expect_sum(&server, condition, all)?;
    after.sign_in_often(rig, &server, "someone", &secrets, 1)?;
    after.expect_each(&server)?;
    expect_sum(&server, condition, all + 3)
}

pub fn refused(rig: &Rig) -> Result<()> {
    let (mut server, person, disk) = start(rig, "full-disk-refuse", "refuse")?;
    server.sql("CREATE ROLE local LOGIN PASSWORD 'local password'")?;
    let token = rig.token_of(&person)?;
    let seen = Ledger::default();
    seen.sign_in(rig, &server, "someone", &token)?;
    seen.expect_each(&server)?;
    disk.fill()?;
    let (mut refusals, mut let_in) = (0, 0);
    while refusals < 10 {
        match seen.sign_in(rig, &server, "someone", &token)? {
            Some(Outcome::In) => let_in += 1,
            Some(Outcome::Refused(refusal)) => {
                let reason = entra_token::Reason::AuditUnavailable;
                let text = entra_token::client_text(reason, "someone", None);
                ensure(
                    refusal.message == text
                        && refusal.sqlstate == entra_token::sqlstate(reason)
                        && refusal.detail.is_none(),
                    || format!("{refusal:?}"),
                )?;
                refusals += 1;
            }
            other => return Err(format!("{other:?}").into()),
        }
        ensure(let_in < 50, || "a full disk lets people in".to_owned())?;
    }
    let local = rig
        .attempt(&server, "local", "local password")
        .psql("", "SELECT 1")?;
    // Off: their attempts are not recorded.
    ensure(local.success, || local.error.clone())?;
    server.configure(&[("aadauth.audit_local_sign_ins", Some("on"))])?;
    let mark = server.log()?.len();
    let local = rig
        .attempt(&server, "local", "local password")
        .psql("", "SELECT 1")?;
    ensure(!local.success, || "a local role got in".to_owned())?;
    server.wait_for_log(mark, "Reason: audit-unavailable")?;
    // The way in when everything else fails.
    ensure(server.sql_in_new_session("SELECT 1")? == "1", || {
        "no answer".to_owned()
    })?;
    server.configure(&[("aadauth.audit_local_sign_ins", None)])?;
    disk.make_room()?;
    ensure(
        seen.sign_in(rig, &server, "someone", &token)? == Some(Outcome::In),
        || "still refused".to_owned(),
    )?;
    let someone = |outcome: &str| format!("role = 'someone' AND outcome = '{outcome}'");
    expect_sum(&server, &someone("authenticated"), seen.count(true)?)?;
    expect_sum(&server, &someone("refused"), seen.count(false)?)?;
    let counted =
        "reason = 'audit-unavailable' AND outcome = 'refused' AND client_address = '127.0.0.1'";
    expect_sum(&server, &format!("{counted} AND role = 'someone'"), 10)?;
    expect_sum(&server, &format!("{counted} AND role = 'local'"), 1)
}

pub fn limit(rig: &Rig) -> Result<()> {
    const LIMIT: u64 = 256 * 1024;
    let mut server = rig.server("spool-limit", |plan| {
        plan.set("aadauth.audit_local_sign_ins", "off")
            .set("aadauth.audit_spool_limit", "256kB")
    })?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    server.sql("CREATE DATABASE bare")?;
    server.configure(&[("aadauth.database", Some("bare"))])?;
    server.wait_for_log(0, "extension aadauth is not installed in database \"bare\"")?;
    let seen = Ledger::default();
    // Attempts without a valid token fill half of it, and no more.
    let mark = server.log()?.len();
    while !server
        .log_since(mark)?
        .contains("events of refused sign-ins cannot be written")
    {
        seen.sign_in_often(rig, &server, "someone", &["no token"; 2], 20)?;
        ensure(seen.count(false)? < 2_000, || "no limit".to_owned())?;
    }
    let half = used(&spool(&server))?;
    ensure(
        (LIMIT / 2 - 2_000..=LIMIT / 2 + 2_000).contains(&half),
        || format!("{half} bytes of refusals"),
    )?;
    // An attempt with one still leaves an event.
    let good = Ledger::default();
    good.sign_in_often(rig, &server, "someone", &[token.as_str(); 2], 10)?;
    ensure(used(&spool(&server))? > half + 20 * 300, || {
        "good sign-ins find no room".to_owned()
    })?;
    let mark = server.log()?.len();
    while !server
        .log_since(mark)?
        .contains("events of sign-ins cannot be written")
    {
        seen.sign_in_often(rig, &server, "someone", &[token.as_str(); 2], 20)?;
        ensure(seen.count(true)? < 2_000, || "no limit".to_owned())?;
    }
    seen.sign_in_often(rig, &server, "someone", &[token.as_str(), "no token"], 10)?;
    let all = used(&spool(&server))?;
    ensure(all <= LIMIT + 2_000 && all > LIMIT - 2_000, || {
        format!("{all} bytes")
    })?;
    // With a database, all of it gets there, and there is room again.
    server.configure(&[("aadauth.database", None)])?;
    good.expect_each(&server)?;
    expect_sum(
        &server,
        "outcome = 'authenticated'",
        seen.count(true)? + good.count(true)?,
    )?;
    expect_sum(&server, "outcome = 'refused'", seen.count(false)?)?;
    let after = Ledger::default();
    after.sign_in_often(rig, &server, "someone", &[token.as_str(), "no token"], 3)?;
    after.expect_each(&server)
}
