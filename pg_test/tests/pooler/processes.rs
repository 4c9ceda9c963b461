//! Two PgBouncers on one port, one that takes another's place, and one that reads its files again.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pg_test::Result;
use pg_test::place::give_to_server;
use pg_test::process::{Owned, signal};
use pg_test::rig::{Rig, ensure};
use pg_test::wait::until;
use pg_test::wire::Outcome;
use rustix::process::Signal;

use crate::Test;
use crate::pgbouncer::{Pooled, ROLE, SESSION, documented};
use crate::sign_ins::Crowd;
use crate::version::{DRAINS, NO_TAKEOVER, RELOADS_IN_PLACE, is_at_least};

pub const TESTS: &[Test] = &[
    ("two_share_a_port", two),
    ("one_takes_the_place_of_another", replaced),
    ("one_ends_with_its_clients_beside_another", drained),
    ("files_are_read_again_while_clients_sign_in", reload),
];

/// A second PgBouncer, with the files of the first but for what two cannot share.
struct Second {
    process: Owned,
    log: PathBuf,
}

impl Second {
    fn start(pooled: &Pooled<'_>) -> Result<Second> {
        let home = &pooled.home;
        let own = home.join("second");
        fs::create_dir(&own)?;
        give_to_server(&own)?;
        let mut ini = fs::read_to_string(home.join("pgbouncer.ini"))?;
        for name in ["logfile = ", "pidfile = ", "unix_socket_dir = "] {
            let shared = format!("{name}{}", home.display());
            ensure(ini.contains(&shared), || {
                format!("{shared:?} is not in\n{ini}")
            })?;
            ini = ini.replace(&shared, &format!("{name}{}", own.display()));
        }
        let file = own.join("pgbouncer.ini");
        fs::write(&file, ini)?;
        let second = Second {
            process: pooled.run(&file, "")?,
            log: own.join("pgbouncer.log"),
        };
        until("the second PgBouncer listens", || {
            Ok(second.log()?.contains("process up").then_some(()))
        })?;
        Ok(second)
    }

    fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log).unwrap_or_default())
    }
}

/// Each has a connection of its own to the server, and wakes itself up.
fn two(rig: &Rig) -> Result<()> {
    let settings = documented("so_reuseport")?;
    let pooled = Pooled::start_with(rig, "pooled-two", |plan| plan, &settings)?;
    let mut second = Second::start(&pooled)?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    Crowd {
        pooled: &pooled,
        role: &person.role,
        good: &rig.token_of(&person)?,
        bad: &["password".to_owned()],
    }
    .sign_in(4, 50)?;
    for log in [pooled.log()?, second.log()?] {
        let refused = log.matches("refused: role").count();
        let logged_in = log.matches(" logged in").count();
        ensure(refused > 10 && logged_in > 10, || {
            format!("one of the two refused {refused} and let {logged_in} in")
        })?;
    }
    let backends = pooled.server.sql(&format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{ROLE}'"
    ))?;
    ensure(backends == "2", || {
        format!("{backends} connections of modules")
    })?;
    second.process.end(Signal::TERM).map(drop)
}

/// `-R`, which 1.26 does not have: the new process asks the old one for its sockets. Sessions with TLS end; no login is
/// refused, and then all is as before.
fn replaced(rig: &Rig) -> Result<()> {
    let mut pooled = Pooled::start(rig, "pooled-replaced", |plan| plan)?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let good = rig.token_of(&person)?;
    let mut session = pooled.session(SESSION, &person.role, &good)?;
    let ini = pooled.home.join("pgbouncer.ini");
    let (mut new, tally) = beside(&pooled, &person.role, &good, |tally| {
        tally.until_more(20)?;
        let mut new = pooled.run(&ini, "-R")?;
        until("the new PgBouncer has taken over, or ended", || {
            let is_up = pooled.log()?.matches("process up").count() == 2;
            Ok((is_up || !new.is_running()?).then_some(()))
        })?;
        tally.until_more(20)?;
        Ok(new)
    })?;
    let has_taken_over = new.is_running()?;
    ensure(has_taken_over != is_at_least(NO_TAKEOVER), || {
        format!("-R works: {has_taken_over}")
    })?;
    if has_taken_over {
        let mut old = std::mem::replace(&mut pooled.pgbouncer, new);
        until("the old PgBouncer ends", || {
            Ok((!old.is_running()?).then_some(()))
        })?;
    }
    let (let_in, (refused, lost, wrongly_in)) = tally.counted();
    println!("beside -R, {let_in} good ones were let in, {lost} logins lost");
    // One of each client's may be on its way.
    ensure(refused == 0 && wrongly_in == 0 && lost <= 2, || {
        format!("{refused} good ones were refused, {wrongly_in} wrong ones let in, {lost} lost")
    })?;
    ensure(session.query("SELECT 1").is_err() == has_taken_over, || {
        "a session with TLS was kept, against docs/pgbouncer.md".to_owned()
    })?;
    Crowd {
        pooled: &pooled,
        role: &person.role,
        good: &good,
        bad: &["password".to_owned()],
    }
    .sign_in(4, 10)
}

/// Does something while two clients, a good one and a wrong one, sign in again and again.
fn beside<T>(
    pooled: &Pooled<'_>,
    role: &str,
    good: &str,
    work: impl FnOnce(&Tally) -> Result<T>,
) -> Result<(T, Tally)> {
    let tally = Tally::default();
    let done = std::thread::scope(|scope| {
        for secret in [good, "password"] {
            let tally = &tally;
            scope.spawn(move || tally.count(pooled, role, secret, secret == good));
        }
        let done = work(&tally);
        tally.done.store(true, Ordering::Relaxed);
        done
    })?;
    Ok((done, tally))
}

/// What became of the logins of clients who go on until it is done.
#[derive(Default)]
struct Tally {
    done: AtomicBool,
    let_in: AtomicUsize,
    refused: AtomicUsize,
    lost: AtomicUsize,
    wrongly_in: AtomicUsize,
}

impl Tally {
    fn count(&self, pooled: &Pooled<'_>, role: &str, secret: &str, is_good: bool) {
        while !self.done.load(Ordering::Relaxed) {
            let outcome = pooled
                .sign_in(SESSION, role, secret)
                .map(|sign_in| sign_in.outcome);
            let count = match (is_good, outcome) {
                (true, Ok(Outcome::In)) => &self.let_in,
                (true, Ok(Outcome::Refused(_))) => &self.refused,
                (false, Ok(Outcome::In)) => &self.wrongly_in,
                (false, Ok(Outcome::Refused(_))) => continue,
                (_, Ok(Outcome::Closed) | Err(_)) => &self.lost,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until as many more were let in.
    fn until_more(&self, number: usize) -> Result<()> {
        let before = self.let_in.load(Ordering::Relaxed);
        until("clients are let in", || {
            Ok((self.let_in.load(Ordering::Relaxed) >= before + number).then_some(()))
        })
    }

    /// Good ones let in; good ones refused, connections that ended without an answer, and wrong ones let in.
    fn counted(self) -> (usize, (usize, usize, usize)) {
        let others = (
            self.refused.into_inner(),
            self.lost.into_inner(),
            self.wrongly_in.into_inner(),
        );
        (self.let_in.into_inner(), others)
    }
}

/// SIGTERM, from 1.23 on: the old process keeps the clients that it has, and a second one gets all others. Before, it
/// ends at once.
fn drained(rig: &Rig) -> Result<()> {
    let mut pooled = Pooled::start_with(
        rig,
        "pooled-drained",
        |plan| plan,
        &documented("so_reuseport")?,
    )?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let good = rig.token_of(&person)?;
    let mut session = pooled.session(SESSION, &person.role, &good)?;
    let second = Second::start(&pooled)?;
    ensure(listeners(pooled.port)? == 2, || "not two listen".to_owned())?;
    signal(pooled.pgbouncer.id(), Signal::TERM)?;
    until("only one PgBouncer listens", || {
        Ok((listeners(pooled.port)? == 1).then_some(()))
    })?;
    Crowd {
        pooled: &pooled,
        role: &person.role,
        good: &good,
        bad: &["password".to_owned()],
    }
    .sign_in(4, 20)?;
    ensure(second.log()?.matches(" logged in").count() >= 40, || {
        "not all went to the second one".to_owned()
    })?;
    let works = session.query("SELECT 1").is_ok();
    ensure(works == is_at_least(DRAINS), || {
        format!("the session works: {works}")
    })?;
    drop(session);
    let process = &mut pooled.pgbouncer;
    until("the first PgBouncer has ended", || {
        Ok((!process.is_running()?).then_some(()))
    })
}

/// How many sockets listen on a port of IPv4 (proc(5)).
fn listeners(port: u16) -> Result<usize> {
    let sockets = fs::read_to_string("/proc/net/tcp")?;
    let line = format!(":{port:04X} 00000000:0000 0A ");
    Ok(sockets.matches(&line).count())
}

/// SIGHUP, as `RELOAD` and `systemctl reload`: no login is refused, and the module keeps its connection.
fn reload(rig: &Rig) -> Result<()> {
    let pooled = Pooled::start(rig, "pooled-reload", |plan| plan)?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let good = rig.token_of(&person)?;
    let of_pool = || pooled.query(SESSION, &person.role, &good, "SELECT pg_backend_pid()");
    let from_pool = of_pool()?;
    let backend = pooled.standing_backend()?;
    let ((), tally) = beside(&pooled, &person.role, &good, |tally| {
        for number in 1..=10 {
            signal(pooled.pgbouncer.id(), Signal::HUP)?;
            until("PgBouncer reads its file", || {
                let log = pooled.log()?;
                Ok((log.matches("re-reading config").count() == number).then_some(()))
            })?;
            tally.until_more(10)?;
        }
        Ok(())
    })?;
    let (let_in, others) = tally.counted();
    ensure(others == (0, 0, 0), || {
        format!("beside {let_in} good ones {others:?}")
    })?;
    ensure(pooled.standing_backend()? == backend, || {
        "the connection was not kept".to_owned()
    })?;
    let is_kept = of_pool()? == from_pool;
    ensure(is_kept == is_at_least(RELOADS_IN_PLACE), || {
        format!("the connection of the pool was kept: {is_kept}")
    })
}
