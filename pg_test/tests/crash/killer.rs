//! Kills the server's processes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use pg_test::Result;
use pg_test::kill;
use pg_test::server::Server;

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    Backend,
    AuditWorker,
    NetworkWorker,
    SessionWorker,
    Postmaster,
    /// The postmaster and all its children.
    Everything,
}

impl Victim {
    pub const ALL: [Victim; 6] = [
        Victim::Backend,
        Victim::AuditWorker,
        Victim::NetworkWorker,
        Victim::SessionWorker,
        Victim::Postmaster,
        Victim::Everything,
    ];
}

/// How often each was killed.
pub type Kills = BTreeMap<Victim, u64>;

/// The pause between a recovery and the next kill, in milliseconds: some kills come when the server has hardly
/// begun, others when it has been at work for a while.
const PAUSE: std::ops::Range<u64> = 0..2000;

/// Kills each in turn, in random order, and brings the server back, until the time is over and each was killed.
///
/// # Errors
/// The server doesn't come back.
pub fn kill_in_turn(server: &mut Server, mut rng: Rng, time: Duration) -> Result<Kills> {
    let start = Instant::now();
    let mut kills = Kills::new();
    let mut turn = Vec::new();
    while start.elapsed() < time || kills.len() < Victim::ALL.len() {
        std::thread::sleep(Duration::from_millis(rng.u64(PAUSE)));
        if turn.is_empty() {
            turn.extend(Victim::ALL);
            rng.shuffle(&mut turn);
        }
        let Some(victim) = turn.pop() else { continue };
        kill_one(server, victim, &mut rng)?;
        *kills.entry(victim).or_default() += 1;
    }
    Ok(kills)
}

fn kill_one(server: &mut Server, victim: Victim, rng: &mut Rng) -> Result<()> {
    let title = match victim {
        Victim::Postmaster => return kill::postmaster(server),
        Victim::Everything => return kill::everything(server),
        // A client's backend: its title has the client's address.
        Victim::Backend if rng.bool() => "(",
        Victim::Backend => "[local]",
        Victim::AuditWorker => "aadauth audit worker",
        Victim::NetworkWorker => "aadauth network worker",
        Victim::SessionWorker => "aadauth session worker",
    };
    kill::child(server, title, rng)
}
