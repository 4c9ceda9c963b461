//! Clients that sign in and are refused, as fast as the server lets them.

use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entra_emulator::Deviation;
use fastrand::Rng;
use pg_test::Result;
use pg_test::rig::Rig;
use pg_test::server::Server;
use pg_test::wire::{Connection, Outcome, Request, connect_from};
use rustls::ClientConfig;

use crate::ledger::{Answer, Attempt};

/// How many sign in at the same time.
pub const CLIENTS: u64 = 8;

/// The lines of `pg_hba.conf`, so that clients come by TCP and by the local socket.
pub const LINES: [&str; 2] = [
    "local all all pam pamservice=aadauth-{major}",
    "hostssl all all all pam pamservice=aadauth-{major}",
];

/// Clients come from 127.0.0.2 and the next ones. With these few, the refusals of one minute fall into far
/// fewer kinds than the server can count by themselves. The flood of invented names has more addresses.
const ADDRESSES: u8 = 4;

/// How the names begin that no role has.
const NOBODY: &str = "nobody";

/// What the clients need to know of the server.
pub struct Load {
    port: u16,
    socket: PathBuf,
    tls: Arc<ClientConfig>,
    keys: Vec<Key>,
}

/// A role, and what to sign in to it with.
struct Key {
    role: String,
    role_exists: bool,
    secret: Secret,
}

enum Secret {
    Token(String),
    Password(String),
    /// None: the client disconnects when it is asked.
    Leave,
}

impl Load {
    /// Makes roles, and secrets that are right, and wrong in several ways.
    ///
    /// # Errors
    /// A role can't be made.
    pub fn prepare(rig: &Rig, server: &Server) -> Result<Load> {
        let mut keys = Vec::new();
        let mut key = |role: &str, secret: Secret| {
            keys.push(Key {
                role: role.to_owned(),
                role_exists: !role.starts_with(NOBODY),
                secret,
            });
        };
        let people = (0..4)
            .map(|number| rig.person(server, &format!("person{number}")))
            .collect::<Result<Vec<_>>>()?;
        let foreign = Deviation::named("foreign-key-known-kid").ok_or("no such deviation")?;
        for (number, person) in people.iter().enumerate() {
            let other = &people[(number + 1) % people.len()];
            let token = || rig.user("alice@contoso.com").object_id(person.object_id);
            // Twice, since most should get in.
            for _ in 0..2 {
                key(&person.role, Secret::Token(token().text()?));
            }
            key(&person.role, Secret::Token(rig.token_of(other)?));
            key(
                &person.role,
                Secret::Token(
                    token()
                        .audience("api://aada0000-0000-4000-8000-000000000051")
                        .text()?,
                ),
            );
            key(
                &person.role,
                Secret::Token(token().deviation(foreign).text()?),
            );
            key(&person.role, Secret::Token("no token".to_owned()));
        }
        // A flood, of which the server counts what it doesn't record one by one.
        for _ in 0..8 {
            key(&people[0].role, Secret::Token("no token".to_owned()));
        }
        for number in 0..2 {
            let role = format!("local{number}");
            server.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'right'"))?;
            key(&role, Secret::Password("right".to_owned()));
            key(&role, Secret::Password("wrong".to_owned()));
            key(
                &format!("{NOBODY}{number}"),
                Secret::Password("any".to_owned()),
            );
        }
        // A role of its own: its attempts get no answer, and the counts of others shall be exact.
        rig.person(server, "hesitant")?;
        key("hesitant", Secret::Leave);
        Ok(Load {
            port: server.port(),
            socket: server.socket().join(format!(".s.PGSQL.{}", server.port())),
            tls: Arc::clone(&rig.tls),
            keys,
        })
    }

    /// Makes attempts until `stop` is set.
    pub fn run(&self, name: &str, seed: u64, stop: &AtomicBool) -> Vec<Attempt> {
        let mut rng = Rng::with_seed(seed);
        let mut attempts = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let mark = format!("crash-{name}-{}", attempts.len());
            // A flood of names, each another one.
            let invented = Key {
                role: format!("{NOBODY} {name} {}", attempts.len()),
                role_exists: false,
                secret: Secret::Password("any".to_owned()),
            };
            let is_flood = rng.u8(0..4) > 0;
            let key = if is_flood {
                Some(&invented)
            } else {
                rng.choice(&self.keys)
            };
            // Mostly from one address; the flood comes from anywhere else, too.
            let address = match (rng.bool(), is_flood) {
                (true, _) => Some(Ipv4Addr::new(127, 0, 0, 2)),
                (false, true) => Some(Ipv4Addr::new(127, 1, rng.u8(..), rng.u8(..))),
                (false, false) => match rng.u8(0..=ADDRESSES) {
                    0 => None,
                    host => Some(Ipv4Addr::new(127, 0, 0, 1 + host)),
                },
            };
            match key.and_then(|key| self.attempt(key, address, mark)) {
                Some(attempt) => attempts.push(attempt),
                // Nobody listens: the server was killed. Not every moment of its start is to be
                // spent on refused connections.
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        attempts
    }

    /// One attempt that must succeed, over the local socket.
    pub fn sign_in(&self, mark: &str) -> Option<Attempt> {
        self.attempt(self.keys.first()?, None, mark.to_owned())
    }

    /// `None` when the server does not listen, so that it has not heard of the attempt.
    fn attempt(&self, key: &Key, address: Option<Ipv4Addr>, mark: String) -> Option<Attempt> {
        let parameters = [
            ("user", key.role.as_str()),
            ("database", "postgres"),
            ("application_name", mark.as_str()),
        ];
        let answer = match address {
            Some(address) => {
                let socket = connect_from(address, self.port).ok()?;
                Connection::over_tcp(socket, Some(&self.tls), &parameters)
            }
            None => {
                let socket = UnixStream::connect(&self.socket).ok()?;
                Connection::over_unix(socket, &parameters)
            }
        }
        .and_then(|connection| key.secret.present(connection));
        Some(Attempt {
            mark,
            role: key.role.clone(),
            role_exists: key.role_exists,
            address: address.map_or_else(String::new, |address| address.to_string()),
            // A connection that breaks is no answer.
            answer: answer.unwrap_or(Answer::Nothing),
        })
    }
}

impl Secret {
    /// Goes as far as to the server's decision.
    fn present(&self, mut connection: Connection) -> Result<Answer> {
        let outcome = match (connection.request()?, self) {
            (Request::Refused(refusal), _) => Outcome::Refused(refusal),
            (Request::Password, Secret::Token(token)) => {
                connection.password(token.as_bytes())?;
                connection.decision()?
            }
            (Request::Sasl(_), Secret::Password(password)) => {
                match connection.prove(password.as_bytes(), || Ok(()))? {
                    Some(outcome) => outcome,
                    None => connection.decision()?,
                }
            }
            (Request::Password, Secret::Leave) | (Request::Closed, _) => Outcome::Closed,
            (other, _) => return Err(format!("the server asked for {other:?}").into()),
        };
        Ok(match outcome {
            Outcome::In => Answer::Accepted,
            Outcome::Closed => Answer::Nothing,
            Outcome::Refused(refusal) => match refusal.sqlstate.as_str() {
                // cannot_connect_now, too_many_connections (postmaster.c, canAcceptConnections).
                "57P03" | "53300" => Answer::TurnedAway,
                // The server ends: sent before the event of an interrupted attempt is written.
                code if code.starts_with("57") => Answer::Nothing,
                _ => Answer::Refused(refusal.message),
            },
        })
    }
}
