//! What clients who are already in notice of a storm of logins: PgBouncer has one thread for everybody.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::process::signal;
use pg_test::rig::{Rig, ensure};
use pg_test::wait::until;
use rustix::process::Signal;

use crate::Test;
use crate::pgbouncer::{ELSEWHERE, Pooled, SESSION};

pub const TESTS: &[Test] = &[
    ("established_clients_beside_wrong_ones", wrong_clients),
    (
        "established_clients_of_another_server_while_ours_hangs",
        hanging_server,
    ),
];

/// More than PgBouncer's queue has places.
const CLIENTS: usize = 64;
const TIME: Duration = Duration::from_secs(4);

fn wrong_clients(rig: &Rig) -> Result<()> {
    let pooled = Pooled::start(rig, "pooled-storm", |plan| {
        // As it is by default: what comes in floods is counted.
        plan.unset("aadauth.audit_single_refusals")
    })?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let token = rig.token_of(&person)?;
    let traffic = Traffic {
        pooled: &pooled,
        database: SESSION,
        role: &person.role,
        token: &token,
    };
    let quiet = traffic.beside(0, "")?;
    traffic.pooled.configure("deadline = 2000\nwake = on")?;
    let storm = traffic.beside(CLIENTS, "password")?;
    traffic.pooled.configure("deadline = 2000\nwake = signal")?;
    let with_signal = traffic.beside(CLIENTS, "password")?;
    println!(
        "established clients, quiet: {quiet:?}\n{CLIENTS} wrong ones: {storm:?}\nwith the signal: {with_signal:?}"
    );
    ensure(with_signal.slowest < TIME / 2, || {
        format!("{with_signal:?}")
    })
}

/// The first login waits for the deadline; without the refusals at once that follow, each would.
fn hanging_server(rig: &Rig) -> Result<()> {
    let pooled = Pooled::start(rig, "pooled-hanging", |plan| plan)?;
    let person = rig.person(&pooled.server, "pooled_elsewhere")?;
    rig.map(
        &rig.server,
        &person.role,
        &person.object_id.to_string(),
        "user",
    )?;
    let token = rig.token_of(&person)?;
    pooled.configure("deadline = 100\nwake = signal")?;
    until("the server is asked", || {
        let outcome = pooled.sign_in(SESSION, &person.role, &token)?.outcome;
        Ok(outcome.is_in().then_some(()))
    })?;
    let traffic = Traffic {
        pooled: &pooled,
        database: ELSEWHERE,
        role: &person.role,
        token: &token,
    };
    let mut processes = pooled.server.children("")?;
    processes.push(pooled.server.postmaster()?);
    let measured = traffic.beside_while(CLIENTS, &token, || {
        processes
            .iter()
            .try_for_each(|process| signal(*process, Signal::STOP))
    });
    for process in &processes {
        signal(*process, Signal::CONT)?;
    }
    let measured = measured?;
    println!(
        "established clients of another server while ours hangs, {CLIENTS} logins at a time: {measured:?}"
    );
    ensure(measured.slowest < TIME / 2 && measured.let_in == 0, || {
        format!("{measured:?}")
    })?;
    until("the server is asked again", || {
        let outcome = pooled.sign_in(SESSION, &person.role, &token)?.outcome;
        Ok(outcome.is_in().then_some(()))
    })
}

/// Four clients who are in, each with 50 queries a second.
struct Traffic<'a> {
    pooled: &'a Pooled<'a>,
    database: &'static str,
    role: &'a str,
    token: &'a str,
}

/// How long queries took, and how many logins there were beside them.
#[derive(Debug)]
struct Measured {
    #[allow(dead_code, reason = "printed")]
    percentile_99: Duration,
    slowest: Duration,
    #[allow(dead_code, reason = "printed")]
    refused: usize,
    let_in: usize,
}

impl Traffic<'_> {
    fn beside(&self, clients: usize, secret: &str) -> Result<Measured> {
        self.beside_while(clients, secret, || Ok(()))
    }

    /// Runs the queries beside so many clients who sign in again and again, after `begin`.
    fn beside_while(
        &self,
        clients: usize,
        secret: &str,
        begin: impl FnOnce() -> Result<()>,
    ) -> Result<Measured> {
        let sessions: Result<Vec<_>> = (0..4)
            .map(|_| {
                let mut session = self.pooled.session(self.database, self.role, self.token)?;
                // PgBouncer has a server connection for each from here on.
                session.query("SELECT 1")?;
                Ok(session)
            })
            .collect();
        let (stop, let_in, refused) = (
            AtomicBool::new(false),
            AtomicUsize::new(0),
            AtomicUsize::new(0),
        );
        let sessions = sessions?;
        begin()?;
        let mut times = std::thread::scope(|scope| -> Result<Vec<Duration>> {
            for _ in 0..clients {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        // PgBouncer may also close a connection that has waited too long.
                        let sign_in = self.pooled.sign_in(SESSION, self.role, secret);
                        let is_in = sign_in.is_ok_and(|sign_in| sign_in.outcome.is_in());
                        let count = if is_in { &let_in } else { &refused };
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let queries: Vec<_> = sessions
                .into_iter()
                .map(|mut session| {
                    scope.spawn(move || -> Result<Vec<Duration>> {
                        let (began, mut times) = (Instant::now(), Vec::new());
                        while began.elapsed() < TIME {
                            let asked = Instant::now();
                            session.query("SELECT 1")?;
                            times.push(asked.elapsed());
                            sleep(Duration::from_millis(20).saturating_sub(asked.elapsed()));
                        }
                        Ok(times)
                    })
                })
                .collect();
            let times: Vec<_> = queries.into_iter().map(|query| query.join()).collect();
            stop.store(true, Ordering::Relaxed);
            let mut all = Vec::new();
            for times in times {
                all.extend(times.map_err(|_| "a client panicked")??);
            }
            Ok(all)
        })?;
        times.sort_unstable();
        Ok(Measured {
            percentile_99: times[times.len() * 99 / 100],
            slowest: times[times.len() - 1],
            refused: refused.into_inner(),
            let_in: let_in.into_inner(),
        })
    }
}
