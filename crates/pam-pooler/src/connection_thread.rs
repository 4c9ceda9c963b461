//! The thread that owns the connection to the server.

use std::fmt;
use std::time::Duration;

use crate::exchange::{Answer, Exchange, Health, Question, Reply, Stop};
use crate::log;
use crate::settings::Settings;

/// How long the connection may be idle before it is probed: a firewall that has forgotten it would cost a login.
const IDLE: Duration = Duration::from_secs(15);

/// How often a server that does not answer is tried.
const RETRY: Duration = Duration::from_millis(250);

/// For the first query of a connection, when the server's caches are empty.
const FIRST_LOOK_UP: Duration = Duration::from_secs(2);

/// Why the server gave no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// None has been looked up, or it does not exist any more (SQLSTATE 42883).
    UnknownFunction,
    /// The connection is good.
    Error(String),
    /// The connection is not.
    Broken(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::UnknownFunction => f.write_str("aadauth.pooler_check has been replaced"),
            Failure::Error(reason) | Failure::Broken(reason) => f.write_str(reason),
        }
    }
}

/// A connection to the server, as the connection thread uses it.
pub trait Connection {
    /// Whether the server has not closed it, as far as can be seen without asking.
    fn is_open(&self) -> bool;

    /// Looks the function up.
    ///
    /// # Errors
    /// There is no function to trust, or no answer within `limit`.
    fn look_up(&mut self, limit: Duration) -> Result<(), Failure>;

    /// Calls the function; only [`Connection::stop`] limits how long this takes.
    ///
    /// # Errors
    /// The server gives no verdict.
    fn ask(&mut self, question: &Question) -> Result<Reply, Failure>;

    fn stop(&self) -> Stop;
}

/// Opens connections.
pub trait Connect {
    type Connection: Connection;

    /// # Errors
    /// The server cannot be reached, or refuses; the reason.
    fn connect(&self, settings: &Settings) -> Result<Self::Connection, String>;
}

/// Answers questions, and keeps the connection, for as long as the process runs.
pub fn run<C: Connect>(exchange: &Exchange, connect: &C) {
    let mut thread = ConnectionThread {
        exchange,
        connect,
        connection: None,
    };
    loop {
        thread.step(IDLE, RETRY);
    }
}

struct ConnectionThread<'a, C: Connect> {
    exchange: &'a Exchange,
    connect: &'a C,
    /// With the connection string that it was opened with.
    connection: Option<(C::Connection, String)>,
}

impl<C: Connect> ConnectionThread<'_, C> {
    fn step(&mut self, idle: Duration, retry: Duration) {
        let pause = match self.exchange.health() {
            Health::Bad(_) => retry,
            Health::Good | Health::Untried => idle,
        };
        match self.exchange.next(pause) {
            Some((number, question)) => self.answer(number, &question),
            None => self.probe(),
        }
    }

    /// Asks the server. A connection that turns out to be broken is replaced once, and so is a function.
    fn answer(&mut self, number: u64, question: &Question) {
        let mut result = self.ask(number, question);
        if matches!(result, Err(Failure::Broken(_))) && self.exchange.is_awaited(number) {
            self.close();
            result = self.ask(number, question);
        }
        let (answer, health): (Answer, Health) = match result {
            Ok(reply) => (Ok(reply), Health::Good),
            // The gate counts only answers that did not come.
            Err(failure @ (Failure::Error(_) | Failure::UnknownFunction)) => {
                (Err(failure.to_string()), Health::Good)
            }
            Err(Failure::Broken(reason)) => {
                self.close();
                (Err(reason.clone()), Health::Bad(reason))
            }
        };
        if !self.exchange.answer(number, answer, health) {
            // Nobody waited for it any more, and the socket has been shut down.
            self.close();
        }
    }

    fn ask(&mut self, number: u64, question: &Question) -> Result<Reply, Failure> {
        let exchange = self.exchange;
        let connection = self.open()?;
        // From here on, the PAM thread can shut the socket down. Before, it may have given up.
        if !exchange.is_awaited(number) {
            return Err(Failure::Error("too late".to_owned()));
        }
        match connection.ask(question) {
            Err(Failure::UnknownFunction) => {
                connection.look_up(FIRST_LOOK_UP)?;
                connection.ask(question)
            }
            result => result,
        }
    }

    /// Finds out whether the server answers within the deadline, and says so.
    fn probe(&mut self) {
        let health = match self.look_up_in_time() {
            Ok(()) => Health::Good,
            Err(failure) => {
                if matches!(failure, Failure::Broken(_)) {
                    self.close();
                }
                Health::Bad(failure.to_string())
            }
        };
        if health != self.exchange.health() {
            match &health {
                Health::Bad(reason) => log::warning(&format!("refusing all logins: {reason}")),
                Health::Good | Health::Untried => log::notice("the server answers"),
            }
        }
        self.exchange.set_health(health);
    }

    fn look_up_in_time(&mut self) -> Result<(), Failure> {
        let deadline = self.exchange.settings().deadline;
        let is_new = self.connection.is_none();
        let connection = self.open()?;
        if is_new {
            connection.look_up(FIRST_LOOK_UP)?;
        }
        connection.look_up(deadline)
    }

    /// The connection; a new one if there is none, the server has closed it, or the settings have changed.
    fn open(&mut self) -> Result<&mut C::Connection, Failure> {
        let settings = self.exchange.settings();
        let kept = match self.connection.take() {
            Some((connection, server)) if server == settings.server && connection.is_open() => {
                Some((connection, server))
            }
            _ => None,
        };
        let ready = match kept {
            Some(kept) => kept,
            None => {
                self.exchange.set_stop(None);
                let connection = self.connect.connect(&settings).map_err(Failure::Broken)?;
                self.exchange.set_stop(Some(connection.stop()));
                (connection, settings.server.clone())
            }
        };
        Ok(&mut self.connection.insert(ready).0)
    }

    fn close(&mut self) {
        self.exchange.set_stop(None);
        self.connection = None;
    }
}

#[cfg(test)]
mod tests;
