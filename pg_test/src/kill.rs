//! Killing a server's processes with SIGKILL at random, for tests of what is left afterwards.

use std::time::Duration;

use fastrand::Rng;
use rustix::process::Signal;

use crate::Result;
use crate::process::signal;
use crate::server::Server;
use crate::wait::{until, until_within};

/// For how long a test kills: `AADAUTH_CRASH_SECONDS`, or this.
///
/// # Errors
/// It is not a number.
pub fn time(default: u64) -> Result<Duration> {
    let seconds = setting("AADAUTH_CRASH_SECONDS")?.unwrap_or(default);
    Ok(Duration::from_secs(seconds))
}

/// The seed of what is random: `AADAUTH_CRASH_SEED`, or any.
///
/// # Errors
/// It is not a number.
pub fn seed() -> Result<u64> {
    Ok(setting("AADAUTH_CRASH_SEED")?.unwrap_or_else(|| Rng::new().u64(..)))
}

fn setting(name: &str) -> Result<Option<u64>> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(
            text.parse().map_err(|_| format!("{name}: not a number"))?,
        )),
        Err(_) => Ok(None),
    }
}

/// Kills one of the server's processes whose title contains `title`, and waits until the server has recovered.
///
/// # Errors
/// There is none, or the server does not recover.
pub fn child(server: &mut Server, title: &str, rng: &mut Rng) -> Result<()> {
    // Backends come and go: one that was about to end when the signal came is no kill.
    let mark = server.log_length()?;
    until(&format!("a process with {title:?} is killed"), || {
        let found = server.children(title)?;
        let Some(process) = rng
            .choice(found)
            .filter(|process| signal(*process, Signal::KILL).is_ok())
        else {
            return Ok(None);
        };
        let death = format!("(PID {process}) was terminated by signal 9");
        let noticed = until_within(Duration::from_secs(5), "the server notices", || {
            Ok(server.log_since(mark)?.contains(&death).then_some(()))
        });
        Ok(noticed.ok())
    })?;
    server.recovered(mark)
}

/// Kills the postmaster, and starts the server again.
///
/// # Errors
/// It does not start.
pub fn postmaster(server: &mut Server) -> Result<()> {
    server.stop_with(Signal::KILL)?;
    start(server)
}

/// Kills the postmaster and all its children, and starts the server again.
///
/// # Errors
/// It does not start.
pub fn everything(server: &mut Server) -> Result<()> {
    let children = server.children("")?;
    server.stop_with(Signal::KILL)?;
    for child in children {
        // It may have noticed that the postmaster has gone.
        let _ = signal(child, Signal::KILL);
    }
    start(server)
}

/// Starts the server again, which fails as long as a process of the last one is there.
fn start(server: &mut Server) -> Result<()> {
    until("the server starts again", || match server.start() {
        Ok(()) => Ok(Some(())),
        Err(error) if error.to_string().contains("pre-existing shared memory") => Ok(None),
        Err(error) => Err(error),
    })
}
