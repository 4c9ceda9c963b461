//! The audit through crashes: clients sign in through PgBouncer while the module's backend, PgBouncer, or the server are
//! killed with SIGKILL, and answers are lost. Who was let in has an event, who must not be let in is not, and no event is lost or there twice.
//!
//! Each good attempt comes from an address of its own, by which the audit tells it from others.

mod balance;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use fastrand::Rng;
use pg_test::Result;
use pg_test::kill;
use pg_test::rig::{Person, Rig, ensure};
use pg_test::server::Server;
use pg_test::wait::until;
use pg_test::wire::{Connection, Outcome, connect_from};
use rustls::ClientConfig;

use crate::Test;
use crate::pgbouncer::{Pooled, ROLE, SESSION, TRANSACTION};
use crate::relay::Relay;
use crate::sign_ins::nearly;
use balance::{Answer, Attempt, Balance, Row, acknowledged};

pub const TESTS: &[Test] = &[
    ("nothing_is_lost_and_nobody_wrongly_let_in", killed),
    ("the_comparison_notices", balance::notices),
];

const CLIENTS: u8 = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    /// The backend that answers the module; the server ends all others, too.
    Backend,
    PgBouncer,
    Postmaster,
    /// The postmaster and all its children.
    Everything,
    /// What the server says to the module next, with their connection.
    Answer,
}

const VICTIMS: [Victim; 5] = [
    Victim::Answer,
    Victim::Backend,
    Victim::PgBouncer,
    Victim::Postmaster,
    Victim::Everything,
];

/// How often each was killed.
type Kills = BTreeMap<Victim, u64>;

/// The pause before a kill, in milliseconds.
const PAUSE: std::ops::Range<u64> = 0..1500;

fn killed(rig: &Rig) -> Result<()> {
    let (time, seed) = (kill::time(20)?, kill::seed()?);
    println!("{time:?}, seed {seed} (AADAUTH_CRASH_SECONDS, AADAUTH_CRASH_SEED)");
    // Nothing may depend on when transactions get to the disk.
    let mut pooled = Pooled::start(rig, "pooled-crash", |plan| {
        plan.set("synchronous_commit", "off")
    })?;
    let load = Load::prepare(rig, &pooled)?;
    pooled.server.sql("CHECKPOINT")?;
    pooled.configure_through(load.relay.port, "deadline = 2000")?;
    let began = Instant::now();
    let (kills, mut attempts) = load.beside_kills(&mut pooled, time, seed)?;
    let took = began.elapsed();

    load.until_in(&mut attempts)?;
    let broken = kills
        .iter()
        .filter(|(victim, _)| **victim != Victim::PgBouncer);
    let broken = broken.map(|(_, count)| count).sum();
    let compare = |pooled: &Pooled<'_>, attempts: &[Attempt]| -> Result<Balance> {
        let logged = acknowledged(&pooled.log()?);
        Ok(Balance::compare(
            attempts,
            &rows(&pooled.server)?,
            &logged,
            broken,
        ))
    };
    let mut problem = None;
    let agreed = until("the audit agrees with what clients saw", || {
        problem = compare(&pooled, &attempts)?.check().err();
        Ok(problem.is_none().then_some(()))
    });
    agreed.map_err(|error| match problem {
        Some(problem) => format!("{error}\n{problem}").into(),
        None => error,
    })?;
    // Nor does anything come again.
    pooled.server.restart()?;
    rig.await_keys(&pooled.server)?;
    load.until_in(&mut attempts)?;
    let balance = compare(&pooled, &attempts)?;
    println!("in {} s, killed: {kills:?}\n{balance}", took.as_secs());
    balance.check()?;
    ensure(
        balance.logins > 0 && balance.acknowledged > 0 && balance.kept_out > 0,
        || "nobody got in, or nobody was refused".to_owned(),
    )
}

/// All events of the module's questions, once the audit worker has recorded them.
fn rows(server: &Server) -> Result<Vec<Row>> {
    let rows = server.sql(
        "SELECT event_id, host(client_address), outcome, coalesce(reason, ''), count
         FROM aadauth.sign_in_audit WHERE method = 'pooler' AND aadauth.await_sign_ins()",
    )?;
    rows.lines().map(Row::parse).collect()
}

struct Load {
    port: u16,
    tls: Arc<ClientConfig>,
    roles: Vec<Credentials>,
    /// Between the module and the server.
    relay: Relay,
    /// How many attempts with a good credential were made, and how many clients got in.
    good: AtomicU64,
    logins: AtomicU64,
}

struct Credentials {
    role: String,
    good: String,
    bad: Vec<String>,
}

impl Load {
    fn prepare(rig: &Rig, pooled: &Pooled<'_>) -> Result<Load> {
        let people = ["pooled_one", "pooled_two"].map(|role| rig.person(&pooled.server, role));
        let people = people.into_iter().collect::<Result<Vec<Person>>>()?;
        let mut roles = Vec::new();
        for (number, person) in people.iter().enumerate() {
            let good = rig.token_of(person)?;
            let token = || rig.user("alice@contoso.com").object_id(person.object_id);
            let bad = vec![
                rig.token_of(&people[1 - number])?,
                token().expires_in(-7200).text()?,
                nearly(&good),
                "password".to_owned(),
            ];
            roles.push(Credentials {
                role: person.role.clone(),
                good,
                bad,
            });
        }
        Ok(Load {
            port: pooled.port,
            tls: Arc::clone(&rig.tls),
            roles,
            relay: Relay::start(pooled.server.port())?,
            good: AtomicU64::new(0),
            logins: AtomicU64::new(0),
        })
    }

    /// Makes attempts while processes are killed, until the time is over and each of them was.
    fn beside_kills(
        &self,
        pooled: &mut Pooled<'_>,
        time: Duration,
        seed: u64,
    ) -> Result<(Kills, Vec<Attempt>)> {
        let stop = AtomicBool::new(false);
        scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let rng = Rng::with_seed(seed.wrapping_add(u64::from(client) + 1));
                    let stop = &stop;
                    scope.spawn(move || self.run(client, rng, stop))
                })
                .collect();
            let kills = self.kill_in_turn(pooled, Rng::with_seed(seed), time);
            stop.store(true, Ordering::Relaxed);
            let mut attempts = Vec::new();
            for client in clients {
                attempts.extend(client.join().map_err(|_| "a client panicked")?);
            }
            Ok((kills?, attempts))
        })
    }

    fn kill_in_turn(&self, pooled: &mut Pooled<'_>, mut rng: Rng, time: Duration) -> Result<Kills> {
        let began = Instant::now();
        let mut kills = Kills::new();
        let mut turn = Vec::new();
        while began.elapsed() < time || kills.len() < VICTIMS.len() {
            // Every other kill comes when clients get in again, the others at any time.
            if rng.bool() {
                self.await_login()?;
            }
            sleep(Duration::from_millis(rng.u64(PAUSE)));
            if turn.is_empty() {
                turn.extend(VICTIMS);
                rng.shuffle(&mut turn);
            }
            let Some(victim) = turn.pop() else { continue };
            match victim {
                Victim::Backend => {
                    let title = format!("postgres: {ROLE} ");
                    kill::child(&mut pooled.server, &title, &mut rng)?;
                }
                Victim::Answer => {
                    self.await_login()?;
                    self.relay.lose_next_answer();
                    until("an answer is lost", || {
                        Ok(self.relay.has_lost_it().then_some(()))
                    })?;
                }
                Victim::PgBouncer => pooled.kill_and_start()?,
                Victim::Postmaster => kill::postmaster(&mut pooled.server)?,
                Victim::Everything => kill::everything(&mut pooled.server)?,
            }
            *kills.entry(victim).or_default() += 1;
        }
        Ok(kills)
    }

    fn await_login(&self) -> Result<()> {
        let before = self.logins.load(Ordering::Relaxed);
        until("somebody gets in again", || {
            Ok((self.logins.load(Ordering::Relaxed) > before).then_some(()))
        })
    }

    fn run(&self, client: u8, mut rng: Rng, stop: &AtomicBool) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        let credentials = &self.roles[usize::from(client) % self.roles.len()];
        while !stop.load(Ordering::Relaxed) {
            let attempt = if rng.u8(0..4) > 0 {
                self.good(credentials)
            } else {
                let secret = &credentials.bad[rng.usize(..credentials.bad.len())];
                let address = Ipv4Addr::new(127, 200, 0, client + 1);
                self.attempt(credentials, address, secret, false)
            };
            if !matches!(&attempt, Some(attempt) if attempt.answer == Answer::In) {
                // Not every moment of a start is to be spent on refusals.
                sleep(Duration::from_millis(10));
            }
            attempts.extend(attempt);
        }
        attempts
    }

    /// Makes good attempts until one gets in: everything works again.
    fn until_in(&self, attempts: &mut Vec<Attempt>) -> Result<()> {
        until("a good credential is let in", || {
            let attempt = self.good(&self.roles[0]);
            let is_in = matches!(&attempt, Some(attempt) if attempt.answer == Answer::In);
            attempts.extend(attempt);
            Ok(is_in.then_some(()))
        })
    }

    fn good(&self, credentials: &Credentials) -> Option<Attempt> {
        let number = self.good.fetch_add(1, Ordering::Relaxed);
        let [.., high, middle, low] = number.to_be_bytes();
        let address = Ipv4Addr::new(127, 10 + high, middle, low);
        self.attempt(credentials, address, &credentials.good, true)
    }

    /// `None` when PgBouncer does not listen, so that it has not heard of the attempt.
    fn attempt(
        &self,
        credentials: &Credentials,
        address: Ipv4Addr,
        secret: &str,
        is_good: bool,
    ) -> Option<Attempt> {
        let socket = connect_from(address, self.port).ok()?;
        let sign_in = || -> Result<Outcome> {
            let database = if secret.len().is_multiple_of(2) {
                SESSION
            } else {
                TRANSACTION
            };
            let parameters = [("user", credentials.role.as_str()), ("database", database)];
            let mut connection = Connection::over_tcp(socket, Some(&self.tls), &parameters)?;
            connection.request()?;
            connection.password(secret.as_bytes())?;
            connection.outcome()
        };
        let answer = match sign_in() {
            Ok(Outcome::In) => Answer::In,
            Ok(Outcome::Refused(_)) => Answer::Refused,
            // A connection that breaks is no answer.
            Ok(Outcome::Closed) | Err(_) => Answer::Nothing,
        };
        if answer == Answer::In {
            self.logins.fetch_add(1, Ordering::Relaxed);
        }
        Some(Attempt {
            address: address.to_string(),
            is_good,
            answer,
        })
    }
}
